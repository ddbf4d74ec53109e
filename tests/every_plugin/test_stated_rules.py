"""Explanations from a file that are rules: proved on every test token, as a feature's chosen rule is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import ANIMAL, COLOUR, STOP, rows_of

from pipeline.lake import Lake
from pipeline.rules.score import score_rule
from pipeline.rules.write import write_stated_rule_scores
from pipeline.tables.versions import Versions

SAE = "hand-set"
RULES = {STOP: "the token is ' stop'", COLOUR: "token is ' red' and previous is not ' the'"}
NO_RULES = {ANIMAL: "names of animals", 3: "the token is ' platypus'"}


@pytest.fixture
def lake(copied_lake: Any, tmp_path: Path) -> Lake:
    path = tmp_path / "words.csv"
    lines = (f'{SAE},{feature},"{words}"' for feature, words in (RULES | NO_RULES).items())
    path.write_text("\n".join(["sae,feature,explanation", *lines]))
    explaining = {"explainers": ["rule", "imported"], "imported": {"path": str(path)}}
    return copied_lake()(explaining=explaining, scoring={"scorers": ["detection"]})


def test_a_rule_in_a_file_is_scored_as_make_rule_scores_it(lake: Lake, score: Callable[[Lake], None]) -> None:
    published = write_stated_rule_scores(lake, SAE)
    assert published.figures == {"explanations": 4, "of_these_no_rules": 2}
    score(lake)
    rows = rows_of(lake, "from scores where scorer = 'rule_exact' and explainer = 'imported'")
    assert {row["feature"] for row in rows} == RULES.keys()
    for row in rows:
        _, proved = score_rule(lake, SAE, row["feature"], RULES[row["feature"]])
        [made] = proved.filter(role="test").to_dicts()
        told = {name: row[name] for name in ("precision", "recall", "f1", "balanced_accuracy", "reason")}
        assert told == {name: made[name] for name in told}
        assert (row["ci_low"], row["ci_high"]) == (made["balanced_accuracy_low"], made["balanced_accuracy_high"])
    assert next(row["f1"] for row in rows if row["feature"] == STOP) == 1.0
    mined = rows_of(lake, "from scores where scorer = 'rule_exact' and explainer = 'rule'")
    assert {row["feature"] for row in mined} >= {STOP}, "the chosen rules are scored beside them"


def test_a_rule_that_names_no_token_is_said(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    write_stated_rule_scores(lake, SAE)
    [record] = [each for each in caplog.records if each.name == "pipeline.rules.write"]
    assert record.getMessage().startswith(
        "stated_rule_scores: not proved, but judged as words: feature 3: rule “the token is ' platypus'”, "
        "character 14: no token is ' platypus'"
    )


def test_another_file_is_another_version_and_without_one_there_is_one_version_for_all(
    lake: Lake, tmp_path: Path
) -> None:
    def version(**explaining: Any) -> str:
        changed = lake.config.explaining.model_copy(update=explaining)
        config = lake.config.model_copy(update={"explaining": changed})
        return Versions(config, lake.hashes).of("stated_rule_scores", SAE)

    before, none = version(), version(explainers=("rule",))
    assert before != none == version(explainers=("rule",), n_examples=7) and before == version(n_examples=7)
    (tmp_path / "words.csv").write_text("sae,feature,explanation\n")
    assert version() != before
