"""The cost of a tick of the schedule in an experiment with 1,536 batches, all of them explained and scored.

The tables are made here with a few rows per batch, because what matters is the number of files. The very first
tick reads all of them; later ones, in any process, read only those that have changed.

    python -m benchmarks.ticks
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.graph.build import build_definitions
from assets.graph.partitions import BatchKey
from assets.graph.schedules import BATCHES
from benchmarks.explorer_lake import SAE, write_config
from benchmarks.figures import Figure, cpu_s, measured, publish
from pipeline.asking.unfinished import unfinished_batches
from pipeline.config import load_config
from pipeline.lake import Lake
from pipeline.sources import recorded_lake
from pipeline.tables import TABLES

N_BATCHES = 1536
SIZE = 64
"""Features per batch."""
SELECTED = 8
"""Selected features per batch."""
CHANGED = 8
"""Batches that are remade between two ticks."""


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_config(Path(folder), N_BATCHES * SIZE, SIZE)
        lake = recorded_lake(load_config(str(path)))
        select_features(lake, N_BATCHES)
        for batch in range(N_BATCHES):
            write_batch(lake, batch)
        n_files = sum(1 for _ in lake.root.rglob("*.parquet"))
        home = str(Path(folder) / "dagster")
        ever = measured(_first_tick, path, home).result
        first, warm, changed, one = measured(_later_ticks, path, home).result
    size = f"{N_BATCHES:,} batches in {n_files:,} files"
    publish(
        "ticks",
        [
            Figure("tick_s", warm, "s", target=1, note=f"CPU time, {size}, none changed"),
            Figure("tick_after_batches_s", changed, "s", target=1, note=f"{CHANGED} of them were just remade"),
            Figure("process_tick_s", first, "s", target=1, note="first of a process, after earlier processes"),
            Figure("first_tick_s", ever, "s", note="the very first one, which reads all of them"),
            Figure("one_batch_s", one, "s", note="a worker checks whether its own batch is unfinished"),
        ],
    )


def _first_tick(path: Path, home: str) -> float:
    """CPU seconds of the very first tick."""
    Path(home).mkdir()
    with _ticking(path, home) as (tick, instance):
        for batch in range(N_BATCHES):
            tags = {"dagster/partition": BatchKey(SAE, batch).partition}
            instance.add_run(dg.DagsterRun(BATCHES, status=dg.DagsterRunStatus.SUCCESS, tags=tags))
        return cpu_s(tick)


def _later_ticks(path: Path, home: str) -> tuple[float, float, float, float]:
    """CPU seconds of a process's first tick, its second, one after batches were made, and of one check."""
    config = load_config(str(path))
    with _ticking(path, home) as (tick, _):
        first, warm = cpu_s(tick), cpu_s(tick)
        for batch in range(CHANGED):
            write_batch(recorded_lake(config), batch)
        changed = cpu_s(tick)
    return first, warm, changed, cpu_s(lambda: unfinished_batches(recorded_lake(config), {(SAE, 7)}))


@contextmanager
def _ticking(path: Path, home: str) -> Iterator[tuple[Callable[[], None], dg.DagsterInstance]]:
    """A function that runs a tick, and the Dagster instance that it queries."""
    definitions = build_definitions(load_config(str(path)))
    schedule = definitions.resolve_schedule_def("next_feature_batches")
    with dg.DagsterInstance.local_temp(home) as instance:

        def tick() -> None:
            context = dg.build_schedule_context(
                instance,
                repository_def=definitions.get_repository_def(),
                scheduled_execution_time=datetime.now(UTC),
            )
            outcome = schedule.evaluate_tick(context)
            assert outcome.skip_message == "0 batches are unfinished, 0 under way, 0 parked after 3 failures"

        yield tick, instance


def write_batch(lake: Lake, batch: int) -> None:
    """Write the tables of a finished batch: each selected feature explained by each explainer, and scored."""
    features = _selected(batch)
    for part in lake.parts("explanations"):
        rows = [_explanation(feature, part) for feature in features]
        lake.write("explanations", _table("explanations", rows), sae=SAE, batch=batch, part=part)
    explained = [_explanation(feature, part) for feature in features for part in lake.parts("explanations")]
    for part in lake.parts("predictions"):
        asked = {"scorer": part, "role": "test"}
        rows = [{**each, **asked, "question_id": f"{each['explanation_id']}-{part}"} for each in explained]
        lake.write("predictions", _table("predictions", rows), sae=SAE, batch=batch, part=part)
    rows = [{**each, "scorer": scorer} for each in explained for scorer in lake.config.scoring.scorers]
    lake.write("scores", _table("scores", rows), sae=SAE, batch=batch)
    for name in ("examples", "fuzzing_pairs", "score_details"):  # only the existence of their files matters
        lake.write(name, _table(name, []), sae=SAE, batch=batch)


def select_features(lake: Lake, n_batches: int) -> None:
    """Write the selection: some features of each batch."""
    rows = [
        {"sae": SAE, "feature": feature, "batch": batch, "place": feature + 1, "priority": 0}
        for batch in range(n_batches)
        for feature in _selected(batch)
    ]
    lake.write("selected_features", _table("selected_features", rows), sae=SAE)


def _selected(batch: int) -> range:
    return range(batch * SIZE, batch * SIZE + SELECTED)


def _explanation(feature: int, explainer: str | None) -> dict[str, Any]:
    return {
        "explanation_id": f"{SAE}-{feature}-{explainer}",
        **{"sae": SAE, "feature": feature, "explainer": explainer, "is_chosen": True, "status": "ok"},
    }


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with all the columns of a table; missing ones are null."""
    return pa.Table.from_pylist(rows, TABLES[name].schema)


if __name__ == "__main__":
    main()
