"""Runs whose process was killed: ended, so that neither their pool slots nor their partitions stay taken.

A run of `latentlake run` is no child of Dagster's daemon, which therefore does not notice its death. So each run
says in a tag which process it is in, and the next one looks for runs whose process is gone.
"""

import os
import socket

import dagster as dg
import psutil

PROCESS_TAG = "latentlake/process"
"""Host, pid and start time, in seconds since 1970: a pid alone may be another process's by now."""

_CLOCK_SECONDS = 10
"""Start times this near are one: they are told from the system clock, which may have been set meanwhile."""


def process_tag() -> dict[str, str]:
    """The tag of a run in this process."""
    return {PROCESS_TAG: f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.2f}"}


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs as failed whose process on this host is gone, and free what they hold; their ids."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        host, _, process = run.tags.get(PROCESS_TAG, "").partition(" ")
        if host == socket.gethostname() and not _is_there(process):
            end_run(instance, run, "its process was killed")
            ended.append(run.run_id)
    return ended


def end_run(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Report a run as failed, and free the pool slots that it holds."""
    instance.report_run_failed(run, why)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _is_there(process: str) -> bool:
    """Whether a process of this host, pid and start time, still runs."""
    pid, _, started = process.partition(" ")
    try:
        found: float = psutil.Process(int(pid)).create_time()
    except psutil.NoSuchProcess:
        return False
    return abs(found - float(started or 0)) < _CLOCK_SECONDS
