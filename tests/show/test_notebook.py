"""A lake from a notebook, and what fires on a text."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from runs import materialise_all
from tiny import ALWAYS, ANIMAL, COLOUR, STOP

import pipeline
from pipeline.config import Config
from pipeline.errors import CorpusError, LakeError

Experiment = Callable[..., Config]


def test_a_text_without_a_lake_shows_what_fires_and_on_which_tokens(make_experiment: Experiment) -> None:
    rows = pipeline.fires(make_experiment(), " the red fox and the blue stop")
    found = {row["feature"]: (row["activation"], row["tokens"]) for row in rows.to_dicts()}
    assert found[STOP] == (4.0, [" stop"])
    assert found[COLOUR] == (3.0, [" red", " blue"])
    assert found[ANIMAL][1] == [" fox"]
    # Position 0 is left out, and so the first token of the text.
    assert found[ALWAYS][1] == [" red", " fox", " and", " the", " blue", " stop"]
    assert rows["activation"].to_list() == sorted(rows["activation"], reverse=True)
    assert rows["words"].null_count() == rows.height


def test_control_tokens_spelled_in_a_text_are_read_as_text(make_experiment: Experiment) -> None:
    rows = pipeline.fires(make_experiment(), " the<eos> fox")
    tokens = rows.filter(feature=ALWAYS)["tokens"].item().to_list()
    assert "<eos>" not in tokens and "".join(tokens) == "<eos> fox"


def test_a_text_of_one_token_is_refused(make_experiment: Experiment) -> None:
    with pytest.raises(CorpusError, match="fewer than two tokens"):
        pipeline.fires(make_experiment(), "s")


@pytest.mark.whole
def test_a_lake_answers_sql_tells_a_feature_and_what_fires_in_words(make_experiment: Experiment) -> None:
    config = make_experiment(heuristics={"min_firings": 50})
    with dg.DagsterInstance.ephemeral() as instance:
        materialise_all(config, instance)
    lake = pipeline.open_lake(config.lake_folder)
    assert lake.sql("select count(*) as n from saes where sae = $sae", sae="hand-set").item() == 1
    card = lake.feature("hand-set", STOP)
    assert card.statistics["top_tokens"][0]["text"] == " stop"
    assert card.route["route"] == "rule"
    assert card.logits["path"] == "residual"
    assert (len(card.logits["promoted"]), len(card.logits["suppressed"])) == (10, 10)
    assert repr(card).startswith(f"feature {STOP} of hand-set: route rule (")
    assert "rule_exact 1.00): the token is ' stop'" in repr(card) and repr(card).count("\n") < 12
    n_active, n_contexts = (card.scrambled[name].to_list() for name in ("n_active", "n_contexts"))
    assert n_active == n_contexts != []  # it reads the embedding, where no context matters
    assert lake.feature("hand-set", ALWAYS).scrambled.is_empty()  # no unigram candidate
    assert set(card.explanations["explainer"]) >= {"rule"}
    assert set(card.scores["scorer"]) >= {"rule_exact", "detection", "fuzzing"}
    assert card.examples.height > 0
    told = pipeline.fires(config, "we stop").filter(feature=STOP).row(0, named=True)
    assert (told["route"], told["words"]) == ("rule", "the token is ' stop'")
    with pytest.raises(LakeError, match="no feature 99 of SAE 'hand-set'"):
        lake.feature("hand-set", 99)


def test_a_folder_without_a_lake_is_named(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="no lake at"):
        pipeline.open_lake(tmp_path)
