"""Runs whose process was killed: ended, so that neither their pool slots nor their partitions stay taken.

A run of `latentlake run` is no child of Dagster's daemon, which therefore does not notice its death. So each run
says in a tag which file below DAGSTER_HOME its process holds a lock on, and the next one looks for runs whose file
nobody holds any more. A host's name and a pid would not tell: nodes of a cluster can be called alike, and a
container counts pids of its own. A file that is not there belongs to another home, whose runs are let be.
"""

import fcntl
import os
import uuid
from functools import cache
from pathlib import Path
from typing import BinaryIO

import dagster as dg

PROCESS_TAG = "latentlake/process"
"""The name of the file that a run's process holds a lock on."""

_FOLDER = "processes"


def process_tag() -> dict[str, str]:
    """The tag of a run in this process."""
    return {PROCESS_TAG: _own(_folder(), os.getpid()).name}


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs as failed whose process is gone, and free what they hold; their ids."""
    gone = {path.name: path for path in _folder().glob("*.lock") if not _is_held(path)}
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])) if gone else ():
        if run.tags.get(PROCESS_TAG) in gone:
            end_run(instance, run, "its process was killed")
            ended.append(run.run_id)
    for path in gone.values():
        path.unlink(missing_ok=True)
    return ended


def end_run(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Report a run as failed, and free the pool slots that it holds."""
    instance.report_run_failed(run, why)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _folder() -> Path:
    return Path(os.environ["DAGSTER_HOME"]) / _FOLDER


class _Lock:
    """A file that is locked for as long as this process lives."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.name = f"{uuid.uuid4()}.lock"
        locked = folder / f"{self.name}.new"  # it is not seen before it is locked
        self._file: BinaryIO = locked.open("wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        locked.rename(folder / self.name)


@cache
def _own(folder: Path, _process: int) -> _Lock:
    """This process's lock; a forked one has another."""
    return _Lock(folder)


def _is_held(path: Path) -> bool:
    """Whether a living process holds the lock on a file."""
    if path.name == _own(path.parent, os.getpid()).name:
        return True  # on network filesystems it would be given up when it is closed here
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it is held, or is gone, as another run ends what was its
        return True
    return False
