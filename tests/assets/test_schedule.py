"""The schedule of feature batches: what a tick takes, and that another experiment's runs are not its own."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.graph.build import build_definitions
from assets.graph.history import lake_tag
from assets.graph.lakes import forget_lakes
from assets.graph.partitions import BatchKey
from assets.graph.schedules import BATCHES, FAILURES_UNTIL_PARKED
from benchmarks.explorer_lake import SAE, write_config
from benchmarks.ticks import SIZE, select_features
from pipeline.config import Config, load_config
from pipeline.errors import LakeError
from pipeline.sources import recorded_lake
from pipeline.tables import TABLES

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
N_BATCHES = 6


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """An experiment with six selected batches, none of them explained, whose pilot is done."""
    config = load_config(str(write_config(tmp_path, N_BATCHES * SIZE, SIZE)))
    lake = recorded_lake(config)
    select_features(lake, N_BATCHES)
    for part in lake.parts("scorer_rhos"):
        lake.write("scorer_rhos", TABLES["scorer_rhos"].schema.empty_table(), sae=SAE, part=part)
    return config


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def tick(config: Config, instance: dg.DagsterInstance) -> Any:
    definitions = build_definitions(config)
    context = dg.build_schedule_context(
        instance, repository_def=definitions.get_repository_def(), scheduled_execution_time=datetime.now(UTC)
    )
    return definitions.resolve_schedule_def("next_feature_batches").evaluate_tick(context)


def taken(config: Config, instance: dg.DagsterInstance) -> list[int]:
    """The numbers of the batches that a tick takes."""
    requests = tick(config, instance).run_requests or ()
    return [int(request.partition_key.split("|")[0]) for request in requests]


def add_run(instance: dg.DagsterInstance, batch: int, status: dg.DagsterRunStatus, tags: dict[str, str]) -> None:
    tags = {"dagster/partition": BatchKey(SAE, batch).partition, **tags}
    instance.add_run(dg.DagsterRun(BATCHES, status=status, tags=tags))


def test_two_batches_are_under_way_at_most(config: Config, instance: dg.DagsterInstance) -> None:
    assert taken(config, instance) == [0, 1]
    add_run(instance, 0, STARTED, lake_tag(config))
    assert taken(config, instance) == [1]
    add_run(instance, 1, dg.DagsterRunStatus.STARTING, lake_tag(config))
    assert taken(config, instance) == []
    assert "6 batches are unfinished, 2 under way" in tick(config, instance).skip_message


def test_runs_of_another_experiment_are_not_its_own(config: Config, instance: dg.DagsterInstance) -> None:
    other = {"latentlake/lake": "/another/lake"}
    for _ in range(FAILURES_UNTIL_PARKED):
        add_run(instance, 0, FAILURE, other)
    add_run(instance, 1, STARTED, other)
    assert taken(config, instance) == [0, 1]
    for _ in range(FAILURES_UNTIL_PARKED):
        add_run(instance, 0, FAILURE, lake_tag(config))
    assert taken(config, instance) == [1, 2]


def test_the_last_batch_of_a_tick_makes_the_tables_over_all(config: Config, instance: dg.DagsterInstance) -> None:
    first, last = tick(config, instance).run_requests
    assert {key.path[-1] for key in last.asset_selection} - {key.path[-1] for key in first.asset_selection} == {
        "summary",
        "scorer_agreements",
        "explainer_comparisons",
    }
    assert dg.AssetKey([config.name, "scores"]) in first.asset_selection


def test_no_batch_is_taken_before_the_pilot(config: Config, instance: dg.DagsterInstance) -> None:
    lake = recorded_lake(config)
    lake.path("scorer_rhos", sae=SAE, part=lake.parts("scorer_rhos")[0]).unlink()
    forget_lakes()
    assert f"materialise the job pilot first, for: {SAE}" in tick(config, instance).skip_message


def test_batches_of_another_size_are_the_reason_of_a_tick_and_no_stack_trace(
    config: Config, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(config: Config) -> None:
        raise LakeError("the batches of the lake have another size")

    monkeypatch.setattr("pipeline.sources.recorded_lake", refuse)
    assert tick(config, instance).skip_message == "the batches of the lake have another size"


def test_runs_of_every_job_carry_the_lake(config: Config) -> None:
    definitions = build_definitions(config)
    jobs = [definitions.resolve_job_def(name) for name in ("corpus", BATCHES, "report")]
    assert [job.run_tags["latentlake/lake"] for job in jobs] == [str(config.lake_folder)] * 3


def test_tables_over_all_batches_are_remade_after_a_batch_even_beside_others(
    config: Config, instance: dg.DagsterInstance
) -> None:
    """The automation conditions, as the sensor of the UI evaluates them."""
    definitions, over_all = build_definitions(config), ["explainer_comparisons", "scorer_agreements", "summary"]
    cursor = None

    def requested() -> list[str]:
        nonlocal cursor
        found = dg.evaluate_automation_conditions(defs=definitions, instance=instance, cursor=cursor)
        cursor = found.cursor
        return sorted(each.key.path[-1] for each in found.results if not each.true_subset.is_empty)

    def made(table: str, partition: str | None = None) -> None:
        event = dg.AssetMaterialization([config.name, table], partition=partition)
        instance.report_runless_asset_event(event)

    def make_batch(batch: int) -> None:
        for table in ("examples", "explanations", "predictions", "scores"):
            made(table, BatchKey(SAE, batch).partition)

    assert requested() == []
    made("feature_routes", SAE)
    make_batch(0)
    assert requested() == [*over_all[:1], "report", *over_all[1:]]
    for table in (*over_all, "report"):
        made(table)
    assert requested() == []
    add_run(instance, 2, STARTED, lake_tag(config))
    make_batch(1)
    assert requested() == [*over_all[:1], "report", *over_all[1:]]
