"""`make demo LLM=…` from end to end: another model in int8 makes only its own tables, beside the default's."""

from pathlib import Path

import dagster as dg
import pytest
from runs import materialise_all
from tiny import rows_of, write_experiment, write_larger_subject

from assets.run.experiment import missing_steps
from pipeline.config import Config, load_config

ALWAYS_MADE = {"selected_features", "estimate"}


def to_make(config: Config) -> set[str]:
    """The tables that a run would make."""
    return {table for step in missing_steps(config) for table in step.tables}


def test_another_model_makes_its_own_tables_beside_those_of_the_default(
    tmp_path: Path, tiny_subject: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_larger_subject(tmp_path / "other", tiny_subject, is_tied=True)
    path = write_experiment(
        tmp_path,
        subject={"model": str(tiny_subject)},
        explaining={"explainers": ["default", "rule"]},
        scoring={"scorers": ["detection"]},
        selection={"quotas": {"llm": 2, "rule": 2}},
    )
    tables = tmp_path / "lake" / "tiny"
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        materialise_all(load_config(path), instance)
        before = {file: file.stat().st_mtime_ns for file in tables.glob("*/*/*.parquet")}
        monkeypatch.setenv("LATENTLAKE_LLM", str(other))
        config = load_config(path)
        lake = materialise_all(config, instance)
        assert to_make(config) <= ALWAYS_MADE
    assert before == {file: file.stat().st_mtime_ns for file in before}
    made = {file.parents[1].name for file in set(tables.glob("*/*/*.parquet")) - before.keys()}
    assert {"explanations", "predictions"} <= made
    assert not made & {"documents", "activations", "feature_stats", "feature_routes", "examples"}
    asked = rows_of(lake, "select distinct model from llm_requests join predictions using (request_id)")
    assert asked == [{"model": str(other)}]
    monkeypatch.delenv("LATENTLAKE_LLM")
    assert to_make(load_config(path)) <= ALWAYS_MADE, "the default's tables are there as they were"
    assert [each.name for each in (tmp_path / "lake" / "models").iterdir() if each.name.endswith("-int8")]
