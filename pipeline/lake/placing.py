"""Files that appear whole or not at all: written under `.tmp/` of a lake's folder, and renamed into place."""

import contextlib
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
_HOST = re.sub(r"[^\w-]", "-", socket.gethostname())
_OWNED = re.compile(rf"\.{re.escape(_HOST)}\.(\d+)\.\d+\.\d+(?:\.wal)?$")
"""The end of a temporary name of this host: process, thread, time; DuckDB keeps a log beside a database."""


def temporary_path(root: Path, name: str) -> Path:
    """A path on the disk of the lake in `root` that nobody else writes to."""
    folder = root / TEMPORARY_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.{_HOST}.{os.getpid()}.{threading.get_ident()}.{time.monotonic_ns()}"


@contextlib.contextmanager
def placing(root: Path, target: Path) -> Iterator[Path]:
    """A temporary path that becomes `target`, file or folder, by one rename if the body succeeds.

    After a kill at any point `target` is what it was. Into a folder that is already there the files are
    renamed one by one: its name is a stage hash, so that they hold the rows that it held.
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
    """Whether the process of this host that made a temporary file is gone; its number may be another's by now."""
    owned = _OWNED.search(path.name)
    if not owned:
        return False
    with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
        return bool(psutil.Process(int(owned[1])).create_time() > path.stat().st_mtime)
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder; another process may have done so."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """An empty folder that becomes `target` if the body succeeds, in place of what was there; else it is gone."""
    temporary = target.parent / f".{target.name}.{os.getpid()}"
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
    """Whether files can be made in a folder, or in its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
