"""`latentlake run`: an experiment's materialisations, one after another in one process.

They are recorded in the Dagster instance that the UI shows, and the subject model is loaded once. Tables that are
published in their current version are not made again, so a run that was killed continues where it stopped. Each of
many workers makes a part: one partition of one job.
"""

import os
import time
from collections.abc import Collection

import dagster as dg
from rich.console import Console
from sqlalchemy.exc import OperationalError

from assets.graph.build import JOBS, build_definitions
from assets.graph.keys import asset_key
from assets.graph.lakes import open_lake
from assets.processes import end_dead_runs, process_tag
from assets.run.dagster_home import POSTGRES_VARIABLE, use_dagster_home
from assets.run.printing import announce, print_end, print_failures, print_heading, print_step, print_wait
from assets.run.ray import checked_address, materialise_on
from assets.run.steps import ASKING, Part, check_job, missing_steps
from assets.share import REPORT_JOB
from assets.stopping import raise_if_asked, stops_noted
from pipeline.config import Config, load_config
from pipeline.errors import LakeError
from pipeline.show.terminal import plain_console

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run(path: str, part: Part | None = None, on: str | None = None) -> int:
    """Run the experiment of the config at `path`, or a part of it, here or on the Ray cluster `on`.

    Returns the exit code. Raises LatentlakeError if the input is wrong, or if a part needs a missing table.
    """
    console = plain_console()
    started = time.monotonic()
    config = load_config(path)
    if part:
        check_job(part.job)
    if on:
        on = checked_address(on)  # before the preflight, which takes longer and writes
    with console.status("preflight: config, corpus, subject model, hookpoints, SAEs"):
        # Of many workers only those that read the corpus take documents that were added to it.
        lake = open_lake(config, takes_new=not part or part.job == "corpus")
    use_dagster_home()
    print_heading(lake, console)
    if config.has_auto_precision:
        console.print(
            f"language models in {lake.hashes.dtype}, the faster type where this lake was begun (dtype: auto)"
        )
    from pipeline.asking.roles import find_local_models, oracle_sentence
    from pipeline.lake.remaking import remaking_sentence

    find_local_models(config)
    if not part and (remade := remaking_sentence(lake)):
        console.print(remade, soft_wrap=True)
    if caution := oracle_sentence(config):
        console.print(caution, style="bold")
    try:
        if not (materialise_on(on, config, path, console, part) if on else materialise(config, console, part)):
            return 1
    except OperationalError as error:
        where = f"'{os.environ['DAGSTER_HOME']}'"
        cure = "make room there, or set DAGSTER_HOME to another folder"
        if os.environ.get(POSTGRES_VARIABLE):
            where, cure = "Postgres", "check that it is running"
        raise LakeError(
            f"Dagster's history in {where} cannot be read or written ({error.orig}); {cure}, then run again to "
            "continue"
        ) from None
    if part:
        console.print(f"Done in {time.monotonic() - started:.0f} s.")
        return 0
    print_end(lake, path, console, started)
    return 0


def make_report(path: str) -> int:
    """Write the report of the experiment of the config at `path`; the exit code. Raises LatentlakeError."""
    from pipeline.sources import recorded_lake

    config = load_config(path)
    lake = recorded_lake(config)
    lake.require("feature_routes")  # and not `summary`, which is missing where no feature is selected
    lake.require_current("explanations", "scores")
    use_dagster_home()
    with dg.DagsterInstance.get() as instance:
        job = build_definitions(config).resolve_job_def(REPORT_JOB)
        result = job.execute_in_process(instance=instance, run_config=_QUIET, raise_on_error=False)
    if not result.success:
        print_failures(result.all_events)
        return 1
    print(f"report: {lake.root / 'report' / 'report.html'}")
    return 0


def materialise(config: Config, console: Console, part: Part | None = None, jobs: Collection[str] = JOBS) -> bool:
    """Make every missing table of some jobs, or of a part; True if all succeeded.

    Raises:
        LakeError: The disk is too small.
        KeyboardInterrupt: It was stopped by Ctrl-C or SIGTERM.
    """
    definitions = build_definitions(config)
    announced: set[str] = set()
    with open_lake(config).in_use(), dg.DagsterInstance.get() as instance:
        end_dead_runs(instance)
        for step in missing_steps(config, part, jobs):
            raise_if_asked()
            if step.job not in announced:
                announce(config, step.job, console)
                announced |= ASKING if step.job in ASKING else {step.job}
            print_step(step, ", ".join(step.tables), console)
            if step.job in ASKING:
                print_wait(instance, console)
            with stops_noted():
                result = definitions.resolve_job_def(step.job).execute_in_process(
                    instance=instance,
                    partition_key=step.partition,
                    tags=process_tag(),
                    asset_selection=[asset_key(config, table) for table in step.tables],
                    run_config=_QUIET,
                    raise_on_error=False,
                )
            if not result.success:
                print_failures(result.all_events)
                return False
    return True
