"""What a run prints: costs before each job, failures, and at the end what it found and what comes next."""

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg
from rich.console import Console
from rich.text import Text

from assets.graph.declare import ASKING_POOL
from assets.graph.lakes import open_lake
from assets.graph.schedules import BATCHES, unfinished_batches
from assets.run.steps import ASKING, Step, check_job, partitions_of
from pipeline.config import LLM_VARIABLE, Config, load_config
from pipeline.show.terminal import plain_console

if TYPE_CHECKING:
    from pipeline.lake import Lake


def print_partitions(path: str, job: str) -> None:
    """Print the partitions of a job, one per line, in the order of their numbers."""
    check_job(job)
    for key in partitions_of(load_config(path), job):
        print(key or "all")


def print_heading(lake: "Lake", console: Console) -> None:
    """Print which experiment is run, and where its lake is."""
    console.print(Text.assemble((lake.config.name, "bold"), f" into {lake.root}"), soft_wrap=True)


def print_step(step: Step, what: str, console: Console) -> None:
    """Print a line about a step."""
    where = f" {step.partition}" if step.partition else ""
    console.print(Text.assemble((f"{step.job}{where}:", "dim"), f" {what}"))


def announce(config: Config, job: str, console: Console) -> None:
    """Print what a job costs before it begins. Raises LakeError if the disk is too small for it."""
    lake = open_lake(config)
    if job == "corpus":
        from pipeline.estimate.times import reading_sentence

        if not lake.has("documents"):
            console.print(reading_sentence(lake))
    if job == "cache":
        from pipeline.estimate.caching import caching_cost, check_disk

        cost = caching_cost(lake)
        if cost:
            console.print(cost.sentence())
            check_disk(lake, cost)
    if job == "prepare":
        from pipeline.estimate.times import preparing_sentence, tables_to_prepare

        if missing := tables_to_prepare(lake):
            console.print(preparing_sentence(lake, missing))
    if job in ASKING:
        from pipeline.asking.spending import shortfall_sentence
        from pipeline.estimate.printing import estimate_sentence, to_send
        from pipeline.estimate.selection import selection_notes
        from pipeline.features.selection import select_features

        for sae in config.sae_names:
            if lake.has("selected_features", sae=sae):
                for note in selection_notes(lake, sae, select_features(lake, sae)):
                    console.print(note, soft_wrap=True)
        rows = lake.query("estimates")
        console.print(f"asking: {estimate_sentence(rows)}")
        if short := shortfall_sentence(config, to_send(rows)):
            console.print(short)


def print_wait(instance: dg.DagsterInstance, console: Console) -> None:
    """Print that other runs hold every slot of the pool of those who ask, if they do: the step waits for one."""
    slots = instance.event_log_storage
    pool = slots.get_concurrency_info(ASKING_POOL)
    if pool.slot_count and len(pool.claimed_slots) >= pool.slot_count:
        runs = ", ".join(sorted(run_id.split("-")[0] for run_id in pool.active_run_ids))
        console.print(
            f"waiting until another run has asked its questions ({runs}); concurrency.pools in "
            f"'{os.environ['DAGSTER_HOME']}/dagster.yaml' sets how many may ask at once",
            soft_wrap=True,
        )


def print_failures(events: Iterable[dg.DagsterEvent]) -> int:
    """Print a sentence per failed step or check, and a stack trace only for a bug of ours; return their number."""
    n_failures = 0
    for event in events:
        failure = event.step_failure_data if event.is_step_failure else None
        # A blocking check that fails is printed below as what it is; its step fails, too, with a stack trace.
        if failure and not (failure.error and failure.error.cls_name == "DagsterAssetCheckFailedError"):
            n_failures += 1
            if failure.user_failure_data and failure.user_failure_data.description:
                words = failure.user_failure_data.description
            else:
                words = failure.error.to_string() if failure.error else "no reason given"
            print_error(event.step_key, words)
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                n_failures += 1
                name = f"{evaluation.asset_key.path[-1]}: {evaluation.check_name}"
                words = evaluation.description or "found rows that break it"
                print_error(f"the check of {name}", words)
    return n_failures


def print_error(where: str | None, words: str) -> None:
    """Print what went wrong, and where."""
    console = plain_console(stderr=True)
    console.print(Text.assemble(("error:", "bold red"), f" {where}:"))
    console.print(words, soft_wrap=True)


def print_end(lake: "Lake", path: str, console: Console, started: float) -> None:
    """Print what a whole run found, which batches it left as they were, and what comes next."""
    from pipeline.show.closing import print_closing_table

    config = lake.config
    print_closing_table(lake, console)
    if stale := lake.query("stale_batches").height:
        console.print(
            f"\n{stale:,} batches were made before documents were added (see column generation). They stay "
            "as they are until you materialise them in the UI or set selection.remake_stale"
        )
    _print_next_steps(config, path, console, time.monotonic() - started)
    _print_what_is_left(lake, console)


def _print_next_steps(config: Config, path: str, console: Console, seconds: float) -> None:
    # Run by make, suggest make commands.
    command, of = ("make", "CONFIG=") if "MAKELEVEL" in os.environ else ("latentlake", "")
    option = "" if config.name == "demo" else f" {of}{path}"
    if "MAKELEVEL" in os.environ and (llm := os.environ.get(LLM_VARIABLE)):
        option += f" LLM={llm}"
    for line in (
        f"\nDone in {seconds:.0f} s. What next:",
        f"  {command} explore{option}    the features in a browser: explanations, scores and windows",
        f'  {command} sql{option}        ask the tables, e.g. "from feature_routes limit 5"',
        f"  {command} dev{option}        the Dagster UI: the graph, its tables, plots and checks",
        f"  {command} run {of}config/mine.yaml   your own model, SAEs and corpus",
    ):
        console.print(line)


def _print_what_is_left(lake: "Lake", console: Console) -> None:
    """Print why batches are unfinished: the budget is spent, or a run makes no more of them."""
    from pipeline.asking.spending import spent_budget

    config = lake.config
    unfinished = unfinished_batches(lake)
    n_taken = config.selection.batches_per_run
    first = "first" if n_taken in (1, None) else f"first {n_taken:,}"
    if beyond := {key.partition for key in unfinished} - {*partitions_of(config, BATCHES, n_taken)}:
        console.print(
            f"\n{len(beyond):,} more batches of features are selected; a run makes the {first} of each SAE. "
            "Raise selection.batches_per_run to make more, or switch on the schedule next_feature_batches in the "
            "UI to make all"
        )
    if unfinished and (stopped := spent_budget(config)):
        console.print(Text.assemble(("\nStopped:", "bold"), f" {stopped}"))
