"""Runs whose process was killed are marked as failed, so that their pool slots and partitions become free.

Dagster's daemon does not notice when a run of `latentlake run` dies, and keeps the pool slots of a run of the UI
that does. Therefore each run's tag names a file below DAGSTER_HOME that its process holds a lock on, and the next
run, tick or `make dev` looks for runs whose file is no longer locked. A host name and a pid would not do: nodes of
a cluster may have the same name, and containers count pids separately. A run whose file does not exist belongs to
another DAGSTER_HOME and is left alone.
"""

import fcntl
import os
import uuid
from functools import cache
from pathlib import Path
from typing import BinaryIO

import dagster as dg

from assets.graph.history import UNDER_WAY

PROCESS_TAG = "latentlake/process"
"""The name of the file that a run's process holds a lock on."""

CLUSTER_TAG = "latentlake/cluster"
"""The cluster that a run was sent to, which knows whether its process lives."""

_FOLDER = "processes"


def process_tag() -> dict[str, str]:
    """The tag of a run in this process."""
    return {PROCESS_TAG: _own(_folder(), os.getpid()).name}


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed, and free the slots of ended runs; returns the former's ids."""
    if "DAGSTER_HOME" not in os.environ:  # a history in memory, of this process alone
        return []
    gone = {path.name: path for path in _folder().glob("*.lock") if not _is_held(path)}
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY)) if gone else ():  # it may never have started
        if run.tags.get(PROCESS_TAG) in gone:
            end_run(instance, run, "its process was killed")
            ended.append(run.run_id)
    for path in gone.values():
        path.unlink(missing_ok=True)
    slots = instance.event_log_storage
    if slots.supports_global_concurrency_limits:
        for run_id in slots.get_concurrency_run_ids():
            if (holder := instance.get_run_by_id(run_id)) and holder.is_finished:
                slots.free_concurrency_slots_for_run(run_id)
    return ended


def tag_own_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Tag a run that the UI, the schedule or a sensor started in this process; others are tagged already."""
    if "DAGSTER_HOME" in os.environ and not {PROCESS_TAG, CLUSTER_TAG} & run.tags.keys():
        instance.add_run_tags(run.run_id, process_tag())


def end_run(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Mark a run as failed, and free the pool slots that it holds."""
    instance.report_run_failed(run, why)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _folder() -> Path:
    return Path(os.environ["DAGSTER_HOME"]) / _FOLDER


class _Lock:
    """A file that stays locked for as long as this process lives."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.name = f"{uuid.uuid4()}.lock"
        locked = folder / f"{self.name}.new"  # not visible under its own name before it is locked
        self._file: BinaryIO = locked.open("wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        locked.rename(folder / self.name)


@cache
def _own(folder: Path, _process: int) -> _Lock:
    """This process's lock; a forked process gets its own."""
    return _Lock(folder)


def _is_held(path: Path) -> bool:
    """Whether a living process holds the lock on a file."""
    if path.name == _own(path.parent, os.getpid()).name:
        return True  # on network filesystems, closing another handle of it would release the lock
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it is locked, or another run has removed it
        return True
    return False
