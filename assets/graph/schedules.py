"""The schedule that makes the next feature batches, off by default."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import dagster as dg

from assets.graph.history import busy_partitions, ended_runs
from assets.graph.keys import asset_key
from assets.graph.missing import tables_of
from assets.graph.partitions import BatchKey
from assets.graph.ticks import Requests, requests_or_reason
from assets.processes import end_dead_runs
from pipeline.config import Config

if TYPE_CHECKING:
    from pipeline.lake import Lake

_BATCHES_AT_ONCE = 2
"""Batches that are queued or under way after a tick: enough that none waits for the next tick, and so few that a
changed priority or selection counts soon."""

FAILURES_UNTIL_PARKED = 3

BATCHES = "explain_and_score"
"""The job of feature batches."""


def next_feature_batches(config: Config) -> dg.ScheduleDefinition:
    """A schedule without state of its own: the tables show which batches are unfinished.

    Each tick takes the next ones by priority and number, until two are queued or under way. It parks a batch that
    failed three times until somebody runs it by hand. A batch that a run completed but left unfinished, because
    requests failed, comes after those not run yet, so that it does not hold them up. None is taken while the
    budget is spent, nor of an SAE whose pilot is still to be made.
    """

    @dg.schedule(
        name="next_feature_batches",
        job_name=BATCHES,
        cron_schedule="*/10 * * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Explain and score the next unfinished feature batches.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Requests:
        yield from requests_or_reason(lambda: _next(config, context))

    return schedule


def _next(config: Config, context: dg.ScheduleEvaluationContext) -> Requests:
    """The runs that a tick requests, or why it requests none."""
    from pipeline.asking.spending import spent_budget
    from pipeline.asking.unfinished import is_unfinished
    from pipeline.sources import recorded_lake

    end_dead_runs(context.instance)
    lake = recorded_lake(config)
    unfinished = unfinished_batches(lake)
    stopped = spent_budget(config) if unfinished else None
    without_pilot = {key.sae for key in unfinished if not lake.has("scorer_rhos", sae=key.sae)}
    if stopped:
        yield dg.SkipReason(f"{len(unfinished)} batches are unfinished. {stopped}")
        return
    busy = busy_partitions(context.instance, config, BATCHES)
    ended = ended_runs(context.instance, config, BATCHES)
    parked = [key for key in unfinished if ended.failures[key.partition] >= FAILURES_UNTIL_PARKED]
    ready = [key for key in unfinished if key.partition not in busy and key not in parked]
    ready = [key for key in ready if key.sae not in without_pilot]
    ready.sort(key=lambda key: key.partition in ended.succeeded)
    if parked:
        names = ", ".join(key.partition for key in parked)
        context.log.warning(f"parked after {FAILURES_UNTIL_PARKED} failures; run these by hand: {names}")
    still_open = (key for key in ready if is_unfinished(lake, *key))
    taken = list(islice(still_open, max(0, _BATCHES_AT_ONCE - len(busy))))
    if not taken:
        yield dg.SkipReason(_why_none(unfinished, busy, parked, sorted(without_pilot)))
    for key in taken:
        # Dagster launches each run key only once; with the tick in it, a batch that failed is retried.
        yield dg.RunRequest(
            run_key=f"{lake.root} {key.partition} {context.scheduled_execution_time.isoformat()}",
            partition_key=key.partition,
            asset_selection=_keys(config, over_all=key is taken[-1]),
        )


def unfinished_batches(lake: "Lake") -> list[BatchKey]:
    """Batches with a selected feature that is not done, higher priority first."""
    from pipeline.asking import unfinished

    return [BatchKey(*each) for each in unfinished.unfinished_batches(lake)]


def _why_none(
    unfinished: Sequence[BatchKey], busy: set[str], parked: Sequence[BatchKey], without_pilot: Sequence[str]
) -> str:
    """Why a tick takes no batch."""
    why = (
        f"{len(unfinished)} batches are unfinished, {len(busy)} under way, {len(parked)} parked after "
        f"{FAILURES_UNTIL_PARKED} failures"
    )
    if parked:
        why += f": {', '.join(key.partition for key in parked)}"
    if without_pilot:
        why += f"; materialise the job pilot first, for: {', '.join(without_pilot)}"
    return why


def _keys(config: Config, over_all: bool) -> list[dg.AssetKey]:
    """The tables of a batch, and those over all batches if `over_all`.

    Those take longer the more batches there are, so only the last batch that a tick takes makes them.
    """
    tables = [table for table in tables_of(config, BATCHES) if over_all or table.unit != "nothing"]
    return [asset_key(config, table.name) for table in tables]
