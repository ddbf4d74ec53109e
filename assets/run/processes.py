"""Runs whose process was killed: ended, so that neither their pool slots nor their partitions stay taken.

A run of `make run` is no child of Dagster's daemon, which therefore does not notice its death. So each run says
in a tag which process it is in, and the next one looks for runs whose process is gone.
"""

import os
import socket
from pathlib import Path

import dagster as dg

PROCESS_TAG = "latentlake/process"


def process_tag() -> dict[str, str]:
    """The tag of a run in this process."""
    return {PROCESS_TAG: _process(os.getpid())}


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs as failed whose process on this host is gone, and free what they hold; their ids."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        host, _, rest = run.tags.get(PROCESS_TAG, "").partition(" ")
        pid = rest.partition(" ")[0]
        if host == socket.gethostname() and pid and _process(int(pid)) != run.tags[PROCESS_TAG]:
            instance.report_run_failed(run, "its process was killed")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def _process(pid: int) -> str:
    """Host, pid and, where /proc tells it, start time: a pid alone may be another process's by now."""
    stat = Path(f"/proc/{pid}/stat")
    started = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[19] if stat.exists() else ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return f"{socket.gethostname()} {pid} {started}"
