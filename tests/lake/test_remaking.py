"""What a changed setting, plug-in or program makes again, in words, before a run and where rows are looked for."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.config import Config
from pipeline.lake import Lake, open_catalog, remaking
from pipeline.lake.paths import MADE_FROM, SCHEMA_FILE
from pipeline.lake.remaking import hidden_sentence, remaking_sentence
from pipeline.tables import TABLES
from pipeline.tables.definitions import code_of
from pipeline.tables.stages import STAGES
from pipeline.tables.versions import SourceHashes

Make = Callable[..., Config]
SAE = "hand-set"
HASHES = SourceHashes("the corpus", {SAE: "its weights"})
TABLES_OF_A_BATCH = "predictions", "scores"


def lake_of(config: Config, hashes: SourceHashes = HASHES) -> Lake:
    """The lake as a run finds it when it begins."""
    lake = Lake(config, hashes)
    lake.refresh_catalog()
    return lake


def make(lake: Lake, *tables: str) -> None:
    """Publish a batch of some tables, without rows in it, and everything that every run makes."""
    always = (name for name, table in TABLES.items() if table.is_always_made and table.partition == "sae")
    for name in always:
        lake.write(name, TABLES[name].schema.empty_table(), sae=SAE)
    for name in tables:
        for part in lake.parts(name):
            lake.write(name, TABLES[name].schema.empty_table(), sae=SAE, batch=0, part=part)


def hidden(lake: Lake) -> str | None:
    with open_catalog(lake.root) as connection:
        return hidden_sentence(connection, lake.root)


def test_a_changed_setting_is_named_with_both_values_until_its_tables_are_made(make_experiment: Make) -> None:
    before = lake_of(make_experiment(scoring={"n_questions": 20}))
    assert remaking_sentence(before) is None, "nothing was made before"
    make(before, *TABLES_OF_A_BATCH)
    assert remaking_sentence(lake_of(before.config)) is None
    assert hidden(before) is None

    now = lake_of(make_experiment(scoring={"n_questions": 10}, budget={"max_requests": 3}))
    reason = (
        "Changed since they were made: scoring.n_questions (10, was default); with the earlier values a run shows "
        "the earlier rows."
    )
    assert remaking_sentence(now) == (
        f"Made again: predictions, scores. {reason} Recorded answers are not paid for again."
    )
    assert hidden(now) == f"Without rows until a run makes them again: predictions, scores. {reason}"

    make(now, "predictions")
    assert str(hidden(now)).startswith("Without rows until a run makes them again: scores. ")
    make(now, "scores")
    assert remaking_sentence(now) is None and hidden(now) is None
    assert remaking_sentence(lake_of(before.config)) is None and hidden(before) is None, "as it was"


def test_what_the_program_changed_is_not_said_to_be_a_setting(
    make_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(lake_of(make_experiment()), *TABLES_OF_A_BATCH)
    monkeypatch.setitem(STAGES, "predictions", replace(STAGES["predictions"], version=99))
    sentence = remaking_sentence(lake_of(make_experiment()))
    assert sentence == (
        "Made again: predictions, scores. Changed since they were made: latentlake or a plug-in. Recorded answers "
        "are not paid for again."
    )


def test_other_documents_are_no_setting_either(make_experiment: Make) -> None:
    make(lake_of(make_experiment()), "scores")
    sentence = remaking_sentence(lake_of(make_experiment(), SourceHashes("another corpus", HASHES.saes)))
    assert sentence and "The documents or files that they are made from have changed since." in sentence


def test_a_version_that_does_not_say_what_it_was_made_from_is_told_of_without_a_cause(
    make_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("pipeline.lake.files.MADE_FROM", b"unknown")
        make(lake_of(make_experiment()), "scores")
    sentence = remaking_sentence(lake_of(make_experiment(scoring={"n_questions": 10})))
    assert sentence and "Made again: scores. " in sentence and "which one was not recorded" in sentence


def test_a_new_scorers_own_answers_are_made_for_the_first_time(make_experiment: Make) -> None:
    make(lake_of(make_experiment(scoring={"scorers": ["detection"]})), *TABLES_OF_A_BATCH)
    make(lake_of(make_experiment(scoring={"scorers": ["detection"], "n_questions": 10})), *TABLES_OF_A_BATCH)
    now = lake_of(make_experiment(scoring={"scorers": ["detection", "fuzzing"], "n_questions": 10}))
    sentence = remaking_sentence(now)
    assert sentence and sentence.startswith("Made again: scores. Changed since they were made: scoring.scorers ")


def test_another_explainer_is_a_setting_and_no_change_of_the_program(make_experiment: Make) -> None:
    make(lake_of(make_experiment(explaining={"explainers": ["rule"]})), "explanations")
    sentence = remaking_sentence(lake_of(make_experiment(explaining={"explainers": ["rule", "keywords"]})))
    assert (
        sentence and "Made again: explanations. Changed since they were made: explaining.explainers " in sentence
    )
    assert "latentlake or a plug-in" not in sentence


def test_many_tables_are_counted(make_experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remaking, "_MOST_NAMED", 8)
    made = ["feature_stats", "feature_rules", "feature_routes", "examples", "explanations", *TABLES_OF_A_BATCH]
    lake = lake_of(make_experiment())
    for name in made[:3]:
        lake.write(name, TABLES[name].schema.empty_table(), sae=SAE)
    make(lake, *made[3:])
    change = " Changed since they were made: seed (5, was default);"
    sentence = remaking_sentence(lake_of(make_experiment(seed=5)))
    assert sentence and sentence.startswith(f"Made again: {', '.join(made)}.{change}")
    lake.write("feature_tokens", TABLES["feature_tokens"].schema.empty_table(), sae=SAE)
    make(lake, "score_details")
    sentence = remaking_sentence(lake_of(make_experiment(seed=5)))
    assert sentence and sentence.startswith(f"Made again: 9 tables, from feature_tokens to score_details.{change}")


def test_a_versions_empty_file_says_what_it_was_made_from(make_experiment: Make) -> None:
    lake = lake_of(make_experiment(scoring={"n_questions": 10}))
    path = lake.folder("predictions", SAE, "detection") / SCHEMA_FILE
    with open_catalog(lake.root) as connection:
        query = "select decode(value) from parquet_kv_metadata($path) where decode(key) = $key"
        [(text,)] = connection.execute(query, {"path": str(path), "key": MADE_FROM.decode()}).fetchall()
    assert '"scoring.n_questions": 10' in text and '"part": "detection"' in text
    assert "base_url" not in text, "a server is no setting of a version"
    assert code_of(lake.config, "predictions", "detection") in text


def test_a_catalog_with_a_table_that_is_no_more_is_looked_at_all_the_same(
    make_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(lake_of(make_experiment()), *TABLES_OF_A_BATCH)
    now = lake_of(make_experiment(seed=1))
    others = {name: stage for name, stage in STAGES.items() if name != "predictions"}
    monkeypatch.setattr(remaking, "STAGES", others)  # a copy: an entry put back would come last
    assert str(hidden(now)).startswith("Without rows until a run makes them again: scores. ")
