"""Journals of a lake in an object store: files of lines that one machine appends to, and others read copies of.

lines/<path>@<journal>-<first byte>.<ending>        lines of a journal, sealed after the earlier ones
"""

import contextlib
import fcntl
import hashlib
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import LakeError
from pipeline.lake.publishing import whole_path
from pipeline.lake.store import Store
from pipeline.tables import TABLES

_FOLDERS = sorted({table.lines_folder for table in TABLES.values() if table.lines_folder})


class Journals:
    """The journals of a lake: in its local folder, and as sealed lines in the store; thread-safe."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._looked: dict[Path, float] = {}

    def seal(self, path: Path, journal: BinaryIO) -> None:
        """Put the complete lines of a local journal that the store lacks; its writer holds a lock on it.

        Raises LakeError if the store rejects them, or if the journal has been truncated.
        """
        self._seal(path, journal, self._store.list_keys(self._key(path.parent)))

    def seal_left_over(self) -> None:
        """Put the lines that a kill left in local journals, except journals that a process is writing."""
        patterns = ("*.jsonl", "*.batches")
        journals = [path for each in _FOLDERS for kind in patterns for path in (self._folder / each).rglob(kind)]
        sealed = self._store.list_keys("lines")
        for path in journals:
            if "@" not in path.name:
                # A ledger's lock holds for the provider's batches noted beside it.
                locked = path.with_suffix(".jsonl")
                with contextlib.suppress(BlockingIOError), locked.open("ab") as lock, path.open("rb") as journal:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._seal(path, journal, sealed)

    def _seal(self, path: Path, journal: BinaryIO, sealed: Mapping[str, int]) -> None:
        if (mark := _mark_of(journal)) is None:
            return
        stem = f"{self._key(path.with_suffix(''))}@{mark}-"
        end = sum(size for key, size in sealed.items() if key.startswith(stem) and key.endswith(path.suffix))
        if journal.seek(0, os.SEEK_END) < end:
            raise LakeError(f"'{path}' is shorter than its copy in lake '{self._store.url}'; move it elsewhere")
        journal.seek(end)
        data = journal.read()
        if data := data[: data.rfind(b"\n") + 1]:
            self._store.put(f"{stem}{end:012d}{path.suffix}", data)

    def fetch(self, below: Path, held_seconds: float = 0.0) -> None:
        """Fetch the lines that others have sealed below a folder, unless done in the last `held_seconds`."""
        if time.monotonic() - self._looked.get(below, -math.inf) < held_seconds:
            return
        marks: dict[Path, str | None] = {}
        for key in self._store.list_keys(self._key(below)):
            local = self._folder / key.removeprefix("lines/")
            stem, _, mark = local.name.partition("@")
            own = local.with_name(f"{stem}{local.suffix}")
            if own not in marks:
                marks[own] = _mark_of_file(own)
            if marks[own] != mark.partition("-")[0] and not local.exists():
                with whole_path(self._folder, local) as temporary:
                    self._store.get_files([key], [temporary])
        self._looked[below] = time.monotonic()

    def _key(self, path: Path) -> str:
        """The key of a journal without what follows its name, or of a folder."""
        return f"lines/{path.relative_to(self._folder).as_posix()}"


def _mark_of(journal: BinaryIO) -> str | None:
    """Identifies a journal among others of the same name: a hash of its first line; None while it is empty."""
    journal.seek(0)
    line = b""
    while b"\n" not in line:
        if not (some := journal.read(1 << 16)):
            return None
        line = (line + some).lstrip(b"\n")  # blank lines are in all
    return hashlib.sha256(line.partition(b"\n")[0]).hexdigest()[:16]


def _mark_of_file(path: Path) -> str | None:
    if not path.exists():
        return None
    with path.open("rb") as journal:
        return _mark_of(journal)
