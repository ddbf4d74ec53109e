"""`latentlake run`: an experiment's materialisations, one after another in one process.

They go to the Dagster instance that the UI shows, with the subject model loaded once. What has been
published in its current version is not made again; a run that was killed goes on where it was. Of many workers
each makes a part: one partition of one job.
"""

import os
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg
from rich.console import Console
from rich.markup import escape
from sqlalchemy.exc import OperationalError

from assets.graph.build import JOBS, build_definitions
from assets.graph.declare import BatchKey, batch_partitions_key, open_lake
from assets.graph.missing import is_there, missing_tables, partition_keys, tables_of
from assets.graph.schedules import BATCHES, unfinished_batches
from assets.run.dagster_home import POSTGRES_VARIABLE, use_dagster_home
from assets.run.processes import end_dead_runs, process_tag
from assets.share import REPORT_JOB
from assets.stopping import raise_if_asked, stops_noted
from pipeline.config import LLM_VARIABLE, Config, load_config
from pipeline.errors import ConfigError, LakeError

if TYPE_CHECKING:
    from pipeline.lake import Lake

ASKING = {"pilot", BATCHES}
"""Jobs that ask language models; what a pilot asks is of the batches that come after it."""
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Step(NamedTuple):
    """One materialisation: a job, one of its partitions (None: it has none), and the tables to make."""

    job: str
    partition: str | None
    tables: tuple[str, ...]


class Part(NamedTuple):
    """What one of many workers makes: a job, and the number of its partition; None: all of them."""

    job: str
    nth: int | None = None


def run(path: str, part: Part | None = None, on: str | None = None) -> int:
    """Run the experiment of the config at `path`, or a part of it, here or on the Ray cluster `on`; the exit code.

    Raises LatentlakeError if its input is wrong, or if a part needs what is not made yet.
    """
    console = Console()
    started = time.monotonic()
    config = load_config(path)
    if part:
        _check_job(part.job)
    if on:
        from assets.run.on_ray import checked_address, materialise_on

        on = checked_address(on)  # before the preflight, which takes longer and writes
    with console.status("preflight: config, corpus, subject model, hookpoints, SAEs"):
        # Of many workers only those who read the corpus take what was added to it.
        lake = open_lake(config, takes_new=not part or part.job == "corpus")
    use_dagster_home()
    console.print(f"[bold]{config.name}[/] into {escape(str(lake.root))}", highlight=False, soft_wrap=True)
    if config.has_auto_precision:
        console.print(
            f"language models in {lake.hashes.dtype}, the faster type where this lake was first run (dtype: auto)",
            highlight=False,
        )
    from pipeline.asking.roles import find_local_models, oracle_sentence

    find_local_models(config)
    if said := oracle_sentence(config):
        console.print(said, style="bold", highlight=False)
    try:
        if not (materialise_on(on, config, path, console, part) if on else materialise(config, console, part)):
            return 1
    except OperationalError as error:
        where = f"'{os.environ['DAGSTER_HOME']}'"
        cure = "make room there, or let DAGSTER_HOME name another folder"
        if os.environ.get(POSTGRES_VARIABLE):
            where, cure = "Postgres", "see whether it answers"
        raise LakeError(
            f"Dagster's history in {where} cannot be read or written ({error.orig}); {cure}, and run again to "
            "go on"
        ) from None
    if part:
        console.print(f"Done in {time.monotonic() - started:.0f} s.", highlight=False)
        return 0
    _print_end(lake, path, console, started)
    return 0


def _print_end(lake: "Lake", path: str, console: Console, started: float) -> None:
    """Print what a whole run found, what is left as it was, and what comes next."""
    from pipeline.show.closing import print_closing_table

    config = lake.config
    print_closing_table(lake, console)
    if stale := lake.query("stale_batches").height:
        console.print(
            f"\n{stale:,} batches are of the corpus before documents were added (column generation); they stay so "
            "until they are materialised in the UI, or selection.remake_stale is set",
            highlight=False,
        )
    _print_next_steps(config, path, console, time.monotonic() - started)
    _print_what_is_left(config, console)


def _print_what_is_left(config: Config, console: Console) -> None:
    """Print why batches are unfinished: the budget is spent, or a run takes no more of them."""
    from pipeline.asking.spending import spent_budget

    unfinished = unfinished_batches(config)
    n_taken = config.selection.batches_per_run
    first = "first" if n_taken == 1 else f"first {n_taken:,}"
    if beyond := {key.partition for key in unfinished} - {*_keys(config, BATCHES, n_taken)}:
        console.print(
            f"\n{len(beyond):,} more batches of features are selected; a run takes the {first} of each "
            "SAE. selection.batches_per_run takes more, and the schedule next_feature_batches in the UI all",
            highlight=False,
        )
    if unfinished and (stopped := spent_budget(config)):
        console.print(f"\n[bold]Stopped:[/] {escape(stopped)}", highlight=False)


def list_partitions(path: str, job: str) -> None:
    """Print the partitions of a job, one a line, in the order in which they are numbered."""
    _check_job(job)
    for key in _keys(load_config(path), job):
        print(key or "all")


def _check_job(job: str) -> None:
    if job not in JOBS:
        raise ConfigError(f"there is no job '{job}'; the jobs are {', '.join(JOBS)}")


def make_report(path: str) -> int:
    """Write the report of the experiment of the config at `path`; the exit code. Raises LatentlakeError."""
    from pipeline.sources import recorded_lake

    console = Console()
    config = load_config(path)
    lake = recorded_lake(config)
    lake.require("feature_routes")  # where no feature is selected there is no summary
    use_dagster_home()
    with dg.DagsterInstance.get() as instance:
        job = build_definitions(config).resolve_job_def(REPORT_JOB)
        result = job.execute_in_process(instance=instance, run_config=_QUIET, raise_on_error=False)
    if not result.success:
        print_failures(result.all_events)
        return 1
    console.print(f"report: {escape(str(lake.root / 'report' / 'report.html'))}", highlight=False, soft_wrap=True)
    return 0


def materialise(
    config: Config, console: Console, part: Part | None = None, jobs: Collection[str] = JOBS
) -> bool:
    """Make every table of some jobs that is not there yet, or those of a part; whether all went well.

    Raises:
        LakeError: The disk is too small.
        KeyboardInterrupt: It was stopped, by Ctrl-C or SIGTERM.
    """
    definitions = build_definitions(config)
    announced: set[str] = set()
    with dg.DagsterInstance.get() as instance:
        end_dead_runs(instance)
        for step in missing_steps(config, part, jobs):
            raise_if_asked()
            if step.job not in announced:
                announce(config, step.job, console)
                announced |= ASKING if step.job in ASKING else {step.job}
            where = f" {step.partition}" if step.partition else ""
            console.print(f"[dim]{step.job}{where}:[/] {', '.join(step.tables)}", highlight=False)
            with stops_noted():
                result = definitions.resolve_job_def(step.job).execute_in_process(
                    instance=instance,
                    partition_key=step.partition,
                    tags=process_tag(),
                    asset_selection=[dg.AssetKey([config.name, table]) for table in step.tables],
                    run_config=_QUIET,
                    raise_on_error=False,
                )
            if not result.success:
                print_failures(result.all_events)
                return False
    return True


def missing_steps(
    config: Config, part: Part | None = None, jobs: Collection[str] = JOBS
) -> Iterator[Step]:
    """What is left to do, in the order of the data's way; asked step by step, as tables appear.

    Of batches only the first of each SAE (`selection.batches_per_run`), but all that a part names. The tables over
    all batches come last, once: of a thousand batches each of them takes longer to make than a batch. A worker
    that makes one batch of many leaves them out.
    """
    for job in (part.job,) if part else [job for job in JOBS if job in jobs]:
        keys = _keys_of_part(config, part) if part else _keys(config, job, config.selection.batches_per_run)
        for key in _unfinished(config, keys) if job == BATCHES else keys:
            if tables := _missing(config, job, key):
                yield Step(job, key, tables)
        if job == BATCHES and (part is None or part.nth is None) and (tables := _behind(config)):
            yield Step(job, None, tables)


def _keys_of_part(config: Config, part: Part) -> list[str | None]:
    keys = _keys(config, part.job)
    if part.nth is None:
        return keys
    if not 0 <= part.nth < len(keys):
        raise ConfigError(f"job '{part.job}' has {len(keys)} partitions, numbered from 0; there is no {part.nth}")
    return [keys[part.nth]]


def _keys(config: Config, job: str, most_batches: int | None = None) -> list[str | None]:
    """The partitions of a job in the order in which they are made; [None] if it has none.

    Of batches those with a selected feature, by priority; `most_batches` of each SAE.
    """
    if job != BATCHES:
        return partition_keys(config, job)
    batches = open_lake(config).query("selected_batches")
    if most_batches is not None:
        batches = batches.group_by("sae", maintain_order=True).head(most_batches)
    return [BatchKey(sae, batch).partition for sae, batch in batches.select("sae", "batch").iter_rows()]


def _unfinished(config: Config, keys: Collection[str | None]) -> Iterator[str]:
    """Those of some batches that are unfinished: asked about together, and each again when its turn has come.

    Meanwhile another worker may have made it.
    """
    from pipeline.asking import unfinished

    lake = open_lake(config)
    for key in unfinished.unfinished_batches(lake, [batch_partitions_key(key) for key in keys if key]):
        if unfinished.unfinished_batches(lake, [key]):
            yield BatchKey(*key).partition


def _missing(config: Config, job: str, key: str | None) -> tuple[str, ...]:
    """The tables of a job's partition that are to be made; all of an unfinished batch, and of an open pilot."""
    from pipeline.pilot.write import is_pilot_open

    lake = open_lake(config)
    if job == BATCHES or (job == "pilot" and key and is_pilot_open(lake, key)):
        return tuple(table.name for table in tables_of(config, job) if table.unit != "nothing")
    return missing_tables(lake, job, key)


def _behind(config: Config) -> tuple[str, ...]:
    """The tables over all batches that are not there, or older than a batch that another worker has made."""
    tables = [table for table in tables_of(config, BATCHES) if table.unit == "nothing"]
    lake = open_lake(config)
    folders = [lake.fetched(lake.folder("scores", sae)) for sae in config.sae_names]
    scores = (path for folder in folders for path in folder.rglob("*/*.parquet"))
    if not (newest := max((path.stat().st_mtime_ns for path in scores), default=0)):
        return ()
    return tuple(
        table.name
        for table in tables
        if not lake.has(table.name) or lake.path(table.name).stat().st_mtime_ns < newest
    )


def announce(config: Config, job: str, console: Console) -> None:
    """Say what a job costs before it begins. Raises LakeError if the disk is too small for it."""
    lake = open_lake(config)
    if job == "corpus":
        from pipeline.estimate.times import reading_sentence

        if not lake.has("documents"):
            console.print(reading_sentence(lake), markup=False, highlight=False)
    if job == "cache":
        from pipeline.estimate.caching import caching_cost, check_disk

        cost = caching_cost(lake)
        if cost:
            console.print(cost.sentence(), markup=False, highlight=False)
            check_disk(lake, cost)
    if job == "prepare":
        from pipeline.estimate.times import preparing_sentence

        tables = [table for table in tables_of(config, job) if not table.is_always_made]
        saes = [sae for sae in config.sae_names if not all(is_there(lake, table, sae) for table in tables)]
        if saes and lake.objects is None:  # every shard would be fetched, to count its rows
            console.print(preparing_sentence(lake, saes), markup=False, highlight=False)
    if job in ASKING:
        from pipeline.estimate.printing import estimate_sentence

        rows = lake.query("estimates")
        console.print(f"asking: {estimate_sentence(rows)}", highlight=False)


def print_failures(events: Iterable[dg.DagsterEvent]) -> int:
    """The sentence of each failed step or check, a stack trace only for a bug of ours; how many there are."""
    console, n_failures = Console(stderr=True), 0
    for event in events:
        if event.is_step_failure:
            n_failures += 1
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                words = failure.user_failure_data.description
            else:
                words = failure.error.to_string() if failure.error else "no reason given"
            console.print(f"[bold red]error:[/] {event.step_key}:", highlight=False)
            console.print(words, markup=False, highlight=False, soft_wrap=True)
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                n_failures += 1
                name = f"{evaluation.asset_key.path[-1]}: {evaluation.check_name}"
                words = evaluation.description or "found rows that break it"
                console.print(f"[bold red]error:[/] the check of {name}:", highlight=False)
                console.print(words, markup=False, highlight=False)
    return n_failures


def _print_next_steps(config: Config, path: str, console: Console, seconds: float) -> None:
    # Called by make, the commands are make's.
    command, of = ("make", "CONFIG=") if "MAKELEVEL" in os.environ else ("latentlake", "")
    option = "" if config.name == "demo" else f" {of}{escape(path)}"
    if "MAKELEVEL" in os.environ and (llm := os.environ.get(LLM_VARIABLE)):
        option += f" LLM={escape(llm)}"
    for line in (
        f"\nDone in {seconds:.0f} s. What next:",
        f"  {command} explore{option}    the features in a browser: explanations, scores and windows",
        f'  {command} sql{option}        ask the tables, e.g. "from feature_routes limit 5"',
        f"  {command} dev{option}        the Dagster UI: the graph, its tables, plots and checks",
        f"  {command} run {of}config/mine.yaml   your own model, SAEs and corpus",
    ):
        console.print(line, highlight=False)
