"""The sensor that takes documents which were added to the corpus, off by default."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg

from assets.graph.failures import failures_for_people
from assets.graph.missing import is_there, partition_keys, tables_of
from assets.graph.schedules import FAILURES_UNTIL_PARKED, ended_runs
from pipeline.config import Config
from pipeline.tables import Group
from pipeline.tables.versions import SourceHashes

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from pipeline.lake import Lake

JOBS_OF_A_GENERATION: tuple[Group, ...] = ("corpus", "cache", "prepare")
"""The jobs that bring the lake up to date with new documents, in their order. None of them asks an LLM."""

Requests = Iterator[dg.RunRequest | dg.SkipReason]


def new_documents(config: Config, jobs: "Sequence[UnresolvedAssetJobDefinition]") -> dg.SensorDefinition:
    """A sensor without state of its own: it lists the corpus's files, and asks the lake what is missing of them.

    New documents are taken by a run of `corpus`. Then it asks for what their generation lacks, job after job: a
    shard's run passes only them through the subject model. Batches that were scored before are left alone, and a
    partition that has failed three times until somebody runs it by hand.
    """

    @dg.sensor(
        name="new_documents",
        jobs=jobs,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Take documents that were added to the corpus, cache them, and update all statistics.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> Requests:
        from pipeline.sources import recorded_lake

        with failures_for_people():
            yield from list(_next(recorded_lake(config), context.instance))

    return sensor


def _next(lake: "Lake", instance: dg.DagsterInstance) -> Requests:
    """What is to be run now: the first job of the last generation that lacks something, or new documents."""
    from pipeline.sources import new_documents

    if not lake.has("documents", generation=0):
        yield dg.SkipReason("the corpus has not been read yet; run the experiment first")
        return
    for job in JOBS_OF_A_GENERATION if lake.generation else ():
        if missing := _missing(lake, job):
            yield from _ask_for(lake, job, missing, instance)
            return
    found = new_documents(lake.config)
    if found.names:
        grown = type(lake)(lake.config, _grown(lake.hashes))
        tables = [table.name for table in tables_of(lake.config, "corpus")]
        changed = [name for name in tables if _folders(lake, name) != _folders(grown, name)]
        yield from _ask_for(lake, "corpus", {None: changed}, instance, found.stamp)
    else:
        unasked = f"; of the hub it cannot tell: {', '.join(found.unasked)}" if found.unasked else ""
        yield dg.SkipReason(f"no documents behind those of generation {lake.generation} of the corpus{unasked}")


def _missing(lake: "Lake", job: str) -> dict[str | None, list[str]]:
    """The tables that a job's partitions lack, but for those that every run makes again."""
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
    """A run for each partition that lacks something; `documents` is a stamp of those that the run is to take."""
    failed, _ = ended_runs(instance, job)
    again = [table.name for table in tables_of(lake.config, job) if table.is_always_made]
    parked = [key for key in missing if failed[key or ""] >= FAILURES_UNTIL_PARKED]
    if len(parked) == len(missing):  # Dagster takes requests or a reason to skip, not both
        names = ", ".join(key or job for key in parked)
        yield dg.SkipReason(f"{job}: parked after {FAILURES_UNTIL_PARKED} failures, run them by hand: {names}")
    for key in (each for each in missing if each not in parked):
        # Dagster launches a run key once ever: what is under way is not asked for again, what has failed is.
        yield dg.RunRequest(
            run_key=f"{lake.folder('documents').name} {job} {key} {documents} {failed[key or '']}",
            job_name=job,
            partition_key=key,
            asset_selection=_keys(lake, [*missing[key], *again]),
        )


def _grown(hashes: SourceHashes) -> SourceHashes:
    """The hashes of the corpus with one more generation."""
    return replace(hashes, generations=(*hashes.generations, "more"))


def _folders(lake: "Lake", table: str) -> list[str]:
    return [lake.folder(table, sae).name for sae in lake.config.sae_names]


def _keys(lake: "Lake", tables: Iterable[str]) -> list[dg.AssetKey]:
    return [dg.AssetKey([lake.config.name, table]) for table in tables]
