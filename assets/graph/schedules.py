"""The schedule that makes the next feature batches, off by default."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from assets.graph.failures import failures_for_people
from assets.graph.partitions import BatchKey
from pipeline.config import Config

_BATCHES_AT_ONCE = 2
"""Batches that a tick requests; the run queue starts them one after another."""

FAILURES_UNTIL_PARKED = 3

BATCHES = "explain_and_score"
"""The job of feature batches."""

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def next_feature_batches(config: Config) -> dg.ScheduleDefinition:
    """A schedule without state of its own: the tables show which batches are unfinished.

    Each tick takes the next ones by priority and number, skips those under way, and parks a batch that failed
    three times until somebody runs it by hand. A batch that a run completed but left unfinished, because requests
    failed, comes after those not run yet, so that it does not hold them up. While the budget is spent, none is
    taken.
    """

    @dg.schedule(
        name="next_feature_batches",
        job_name=BATCHES,
        cron_schedule="*/10 * * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Explain and score the next unfinished feature batches.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        from pipeline.asking.spending import spent_budget

        with failures_for_people():
            unfinished = unfinished_batches(config)
            stopped = spent_budget(config) if unfinished else None
        if stopped:
            yield dg.SkipReason(f"{len(unfinished)} batches are unfinished. {stopped}")
            return
        busy = _partitions(context.instance, BATCHES, _UNDER_WAY)
        failed, succeeded = ended_runs(context.instance, BATCHES)
        parked = [key for key in unfinished if failed[key.partition] >= FAILURES_UNTIL_PARKED]
        ready = [key for key in unfinished if key.partition not in busy and key not in parked]
        ready.sort(key=lambda key: key.partition in succeeded)
        if parked:
            names = ", ".join(key.partition for key in parked)
            context.log.warning(f"parked after {FAILURES_UNTIL_PARKED} failures; run these by hand: {names}")
        if not ready:
            yield dg.SkipReason(
                f"{len(unfinished)} batches are unfinished, {len(busy)} under way, {len(parked)} parked after "
                f"{FAILURES_UNTIL_PARKED} failures"
                + (f": {', '.join(key.partition for key in parked)}" if parked else "")
            )
        for key in ready[:_BATCHES_AT_ONCE]:
            # Dagster launches each run key only once; with the tick in it, a batch that failed is retried.
            yield dg.RunRequest(
                run_key=f"{key.partition} {context.scheduled_execution_time.isoformat()}",
                partition_key=key.partition,
            )

    return schedule


def unfinished_batches(config: Config) -> list[BatchKey]:
    """Batches with a selected feature that is not done, higher priority first."""
    from pipeline.asking import unfinished
    from pipeline.sources import recorded_lake

    return [BatchKey(*each) for each in unfinished.unfinished_batches(recorded_lake(config))]


def _partitions(instance: dg.DagsterInstance, job: str, statuses: list[dg.DagsterRunStatus]) -> set[str]:
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=statuses))
    return {run.tags["dagster/partition"] for run in runs if "dagster/partition" in run.tags}


def ended_runs(instance: dg.DagsterInstance, job: str) -> tuple[Counter[str], set[str]]:
    """Failed runs per partition since its last success, and the partitions with a successful run."""
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    failures: Counter[str] = Counter()
    succeeded: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=ended), limit=10_000):  # newest first
        partition = run.tags.get("dagster/partition", "")
        if run.status == dg.DagsterRunStatus.SUCCESS:
            succeeded.add(partition)
        elif partition not in succeeded:
            failures[partition] += 1
    return failures, succeeded
