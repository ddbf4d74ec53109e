"""What of an experiment is left to do, as steps: one partition of one job each."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from assets.graph.build import JOBS
from assets.graph.lakes import open_lake
from assets.graph.missing import missing_tables, partition_keys, tables_of
from assets.graph.partitions import BatchKey, batch_partitions_key
from assets.graph.schedules import BATCHES
from pipeline.config import Config
from pipeline.errors import ConfigError

ASKING = {"pilot", BATCHES}
"""Jobs that ask language models. Their estimates are one: a pilot asks about the batches that come after it."""


class Step(NamedTuple):
    """One materialisation: a job, one of its partitions (None if it has none), and the tables to make."""

    job: str
    partition: str | None
    tables: tuple[str, ...]


class Part(NamedTuple):
    """What one of many workers makes: a job, and the number of one of its partitions; None for all of them."""

    job: str
    nth: int | None = None


def missing_steps(config: Config, part: Part | None = None, jobs: Collection[str] = JOBS) -> Iterator[Step]:
    """The steps that are left, in the order of the data. Each is determined after the one before it was made.

    Of the batches only the first of each SAE are made (`selection.batches_per_run`), or all those a part names.
    The tables over all batches come once, at the end: with a thousand batches each takes longer than a batch. A
    worker that makes one batch of many leaves them out.
    """
    for job in (part.job,) if part else [job for job in JOBS if job in jobs]:
        n_taken = config.selection.batches_per_run
        keys = _keys_of_part(config, part) if part else partitions_of(config, job, n_taken)
        n_made = 0
        for key in _unfinished(config, keys) if job == BATCHES else keys:
            if tables := _missing(config, job, key):
                yield Step(job, key, tables)
                n_made += 1
        is_to_end = job == BATCHES and (part is None or part.nth is None)
        if is_to_end and (tables := _outdated_tables_over_all(config, all_are=n_made > 0)):
            yield Step(job, None, tables)


def _keys_of_part(config: Config, part: Part) -> list[str | None]:
    keys = partitions_of(config, part.job)
    if part.nth is None:
        return keys
    if not 0 <= part.nth < len(keys):
        raise ConfigError(f"job '{part.job}' has {len(keys)} partitions, numbered from 0; there is no {part.nth}")
    return [keys[part.nth]]


def partitions_of(config: Config, job: str, most_batches: int | None = None) -> list[str | None]:
    """The partitions of a job in the order in which they are made; [None] if it has none.

    Batches are those with a selected feature, by priority, and at most `most_batches` of each SAE.
    """
    if job != BATCHES:
        return partition_keys(config, job)
    batches = open_lake(config).query("selected_batches")
    if most_batches is not None:
        batches = batches.group_by("sae", maintain_order=True).head(most_batches)
    return [BatchKey(sae, batch).partition for sae, batch in batches.select("sae", "batch").iter_rows()]


def _unfinished(config: Config, keys: Collection[str | None]) -> Iterator[str]:
    """The unfinished ones of some batches: looked up together, and each again when its turn comes.

    Another worker may have made it in the meantime.
    """
    from pipeline.asking import unfinished

    lake = open_lake(config)
    for key in unfinished.unfinished_batches(lake, [batch_partitions_key(key) for key in keys if key]):
        if unfinished.is_unfinished(lake, *key):
            yield BatchKey(*key).partition


def _missing(config: Config, job: str, key: str | None) -> tuple[str, ...]:
    """The tables of a job's partition to make: all of them for an unfinished batch or an open pilot."""
    from pipeline.pilot.write import is_pilot_open

    lake = open_lake(config)
    if job == BATCHES or (job == "pilot" and key and is_pilot_open(lake, key)):
        return tuple(table.name for table in tables_of(config, job) if table.unit != "nothing")
    return missing_tables(lake, job, key)


def _outdated_tables_over_all(config: Config, *, all_are: bool) -> tuple[str, ...]:
    """The tables over all batches that are missing, or older than a batch that another worker has made.

    After a batch of our own `all_are` outdated, whatever the times of files say: a clock may have been set back.
    """
    tables = [table for table in tables_of(config, BATCHES) if table.unit == "nothing"]
    lake = open_lake(config)
    folders = [lake.fetched(lake.folder("scores", sae)) for sae in config.sae_names]
    scores = (path for folder in folders for path in folder.rglob("*/*.parquet"))
    if not (newest := max((path.stat().st_mtime_ns for path in scores), default=0)):
        return ()
    return tuple(
        table.name
        for table in tables
        if all_are or not lake.has(table.name) or lake.path(table.name).stat().st_mtime_ns < newest
    )


def check_job(job: str) -> None:
    """Raise ConfigError if there is no job of that name."""
    if job not in JOBS:
        raise ConfigError(f"there is no job '{job}'; the jobs are {', '.join(JOBS)}")
