"""Files that appear whole or not at all: written under `.tmp/` of a lake's folder, and renamed into place."""

import contextlib
import glob
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

TEMPORARY_FOLDER = ".tmp"
_STALE_SECONDS = 86_400


def _processes_here() -> str:
    """Identifies the processes whose pids can be looked up from here: host, boot, and pid namespace.

    The host name is not enough: all nodes of a cluster may be called `localhost`, and a container with its host's
    name has pids of its own.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # macOS has neither
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")[:8])
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return re.sub(r"[^\w-]", "-", "-".join(parts))


_HERE = _processes_here()
_OWNED = re.compile(rf"\.{re.escape(_HERE)}\.(\d+)\.(\d+)\.\d+\.\d+(?:\.wal|\.old)?$")
"""The end of a temporary name made by a process that can be looked up from here: pid, its start, thread, time; and
the suffix of DuckDB's log beside a database, or of a replaced folder."""


def _start_of(pid: int) -> str:
    """When a process was started, in clock ticks since the boot, which no clock that is set changes; on macOS in
    seconds since 1970. Raises psutil.NoSuchProcess."""
    with contextlib.suppress(OSError):
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        )
    return str(int(psutil.Process(pid).create_time()))


def temporary_path(root: Path, name: str) -> Path:
    """A path on the lake's disk that nobody else writes to."""
    folder = root / TEMPORARY_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder / _owned(name)


def _owned(name: str) -> str:
    """A name unique to this process and thread, which shows later whether the process is gone."""
    return f"{name}.{_HERE}.{os.getpid()}.{_start_of(os.getpid())}.{threading.get_ident()}.{time.monotonic_ns()}"


@contextlib.contextmanager
def whole_path(root: Path, target: Path) -> Iterator[Path]:
    """A temporary path that becomes `target`, file or folder, by one rename if the body succeeds.

    After a kill at any point `target` is unchanged. If a target folder exists, the files are renamed into it one
    by one: its name is a stage hash, so they hold the same rows.
    """
    temporary = temporary_path(root, target.name)
    try:
        yield temporary
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            kept = {path.name for path in temporary.iterdir()}
            for path in temporary.iterdir():
                path.replace(target / path.name)
            for path in target.iterdir():
                if path.name not in kept:
                    path.unlink()
        else:
            temporary.replace(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def is_left_over(path: Path) -> bool:
    """Whether the process that made a temporary file is known to be gone; its pid may be another's by now.

    For files of other machines, see `is_stale`.
    """
    owned = _OWNED.search(path.name)
    if not owned:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        return _start_of(int(owned[1])) != owned[2]
    return True


def is_stale(path: Path) -> bool:
    """Whether a temporary file is over a day old; False if it no longer exists."""
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _STALE_SECONDS
    return False


def remove(path: Path) -> None:
    """Remove a file or a folder, if it still exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """An empty folder that replaces `target` if the body succeeds, and is removed otherwise.

    It lies beside `target`; leftovers of killed processes there are removed.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
        if is_left_over(left) or is_stale(left):
            remove(left)
    temporary = target.parent / _owned(f".{target.name}")
    old = temporary.with_name(f"{temporary.name}.old")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if target.exists():
            target.replace(old)
        temporary.replace(target)
    finally:
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)


def is_writable(folder: Path) -> bool:
    """Whether files can be created in a folder, or in its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
