"""The sensor that takes in documents added to the corpus, off by default."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg

from assets.graph.history import ended_runs
from assets.graph.keys import asset_key
from assets.graph.missing import is_there, partition_keys, tables_of
from assets.graph.schedules import FAILURES_UNTIL_PARKED
from assets.graph.ticks import Requests, requests_or_reason
from assets.processes import end_dead_runs
from pipeline.config import Config
from pipeline.tables import Group

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from pipeline.lake import Lake

JOBS_OF_A_GENERATION: tuple[Group, ...] = ("corpus", "cache", "prepare")
"""The jobs that bring the lake up to date with new documents, in their order. None of them sends LLM requests."""

_SETTLED_SECONDS = 60.0
"""How long an added file must be unchanged before the sensor asks for it: one that is still being copied would be
recorded as it is, and be a changed document when it is whole."""

_PATIENCE_SECONDS = 600.0
"""The age of an added file at which the sensor no longer waits for later ones: they may come without end."""


def new_documents(config: Config, jobs: "Sequence[UnresolvedAssetJobDefinition]") -> dg.SensorDefinition:
    """A sensor without state of its own: it compares the corpus's files with what the lake has.

    A run of `corpus` takes new documents in. Then the sensor requests what their generation lacks, job after job:
    a shard's run passes only the new documents through the subject model. Batches scored before are left alone. A
    partition that failed three times is left until somebody runs it by hand.
    """

    @dg.sensor(
        name="new_documents",
        jobs=jobs,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Take in documents that were added to the corpus, cache them, and update all statistics.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> Requests:
        from pipeline.sources import recorded_lake

        end_dead_runs(context.instance)
        yield from requests_or_reason(lambda: _next(recorded_lake(config), context.instance))

    return sensor


def _next(lake: "Lake", instance: dg.DagsterInstance) -> Requests:
    """The next runs: of the first job whose tables lack something of the last generation, or for new documents."""
    from pipeline.lake import Lake
    from pipeline.sources import new_documents

    if not lake.has("documents", generation=0):
        yield dg.SkipReason("the corpus has not been read yet; run the experiment first")
        return
    for job in JOBS_OF_A_GENERATION if lake.generation else ():
        if missing := _missing(lake, job):
            yield from _ask_for(lake, job, missing, instance)
            return
    found = new_documents(lake.config)
    ages = [time.time() - changed for changed in found.times]
    if any(0 <= age < _SETTLED_SECONDS for age in ages) and max(ages) < _PATIENCE_SECONDS:
        yield dg.SkipReason("a file was added to the corpus less than a minute ago and may still be written")
    elif found.names:
        more = replace(lake.hashes, generations=(*lake.hashes.generations, "more"))
        grown = Lake(lake.config, more)
        tables = [table.name for table in tables_of(lake.config, "corpus")]
        changed = [name for name in tables if _folders(lake, name) != _folders(grown, name)]
        yield from _ask_for(lake, "corpus", {None: changed}, instance, found.stamp)
    else:
        unasked = f"; hub datasets cannot be checked: {', '.join(found.unasked)}" if found.unasked else ""
        yield dg.SkipReason(f"no documents added since generation {lake.generation} of the corpus{unasked}")


def _missing(lake: "Lake", job: str) -> dict[str | None, list[str]]:
    """The tables that each partition of a job lacks, except those that every run makes again."""
    tables = [table for table in tables_of(lake.config, job) if not table.is_always_made]
    lacking = {
        key: [table.name for table in tables if not is_there(lake, table, key)]
        for key in partition_keys(lake.config, job)
    }
    return {key: names for key, names in lacking.items() if names}


def _ask_for(
    lake: "Lake",
    job: str,
    missing: Mapping[str | None, Sequence[str]],
    instance: dg.DagsterInstance,
    documents: str = "",
) -> Requests:
    """A run for each partition that lacks something; `documents` identifies those to take in, if any."""
    ended = ended_runs(instance, lake.config, job)
    again = [table.name for table in tables_of(lake.config, job) if table.is_always_made]
    parked = [key for key in missing if ended.failures[key or ""] >= FAILURES_UNTIL_PARKED]
    if len(parked) == len(missing):  # Dagster accepts run requests or a skip reason, not both
        names = ", ".join(key or job for key in parked)
        yield dg.SkipReason(f"{job}: parked after {FAILURES_UNTIL_PARKED} failures; run these by hand: {names}")
    for key in (each for each in missing if each not in parked):
        # Dagster launches each run key only once. So that a run under way is not requested again, and one is after
        # it failed, was cancelled or made tables of other settings, the key names what there is to make.
        folders = [folder for name in missing[key] for folder in _folders(lake, name)]
        what = hashlib.sha256("\0".join([str(lake.root), documents, *folders]).encode()).hexdigest()
        yield dg.RunRequest(
            run_key=f"{job} {key} {what} {ended.all[key or '']}",
            job_name=job,
            partition_key=key,
            asset_selection=[asset_key(lake.config, table) for table in (*missing[key], *again)],
        )


def _folders(lake: "Lake", table: str) -> list[str]:
    return [lake.folder(table, sae).name for sae in lake.config.sae_names]
