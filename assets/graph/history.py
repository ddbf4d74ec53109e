"""What Dagster's history knows about the runs of one experiment."""

from collections import Counter
from typing import NamedTuple

import dagster as dg

from pipeline.config import Config

LAKE_TAG = "latentlake/lake"
"""The tag of every run with the lake that it writes into: experiments share a history, and their jobs have the
same names."""

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_MOST_RUNS = 10_000


class EndedRuns(NamedTuple):
    """Runs of a job that ended, by partition; the key is '' for a job without partitions.

    Attributes:
        failures: Failed runs since the last success.
        succeeded: Partitions with a successful run.
        all: Runs that ended in any way, also those that somebody cancelled.
    """

    failures: Counter[str]
    succeeded: set[str]
    all: Counter[str]


def lake_tag(config: Config) -> dict[str, str]:
    """The tag of an experiment's runs."""
    return {LAKE_TAG: config.lake_url or str(config.lake_folder)}


def busy_partitions(instance: dg.DagsterInstance, config: Config, job: str) -> set[str]:
    """The partitions of a job whose runs are queued or under way."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNDER_WAY, tags=lake_tag(config)))
    return {_partition(run) for run in runs}


def ended_runs(instance: dg.DagsterInstance, config: Config, job: str) -> EndedRuns:
    """The runs of a job that ended."""
    ended = EndedRuns(Counter(), set(), Counter())
    of_the_job = dg.RunsFilter(job_name=job, statuses=_ENDED, tags=lake_tag(config))
    for run in instance.get_runs(of_the_job, limit=_MOST_RUNS):  # newest first
        partition = _partition(run)
        ended.all[partition] += 1
        if run.status == dg.DagsterRunStatus.SUCCESS:
            ended.succeeded.add(partition)
        elif run.status == dg.DagsterRunStatus.FAILURE and partition not in ended.succeeded:
            ended.failures[partition] += 1
    return ended


def _partition(run: dg.DagsterRun) -> str:
    return run.tags.get("dagster/partition", "")
