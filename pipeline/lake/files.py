"""Writing the tables of a lake: whole or not at all, and by one process at a time.

Everything is written under `.tmp/` and renamed into place; a reader sees either the old table or the new one.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import LakeError
from pipeline.lake.catalog import CATALOG_FILE, seen_folders
from pipeline.lake.leases import leased
from pipeline.lake.paths import MADE_FROM, SCHEMA_FILE, Partition, Paths
from pipeline.lake.publishing import TEMPORARY_FOLDER, is_left_over, is_stale, remove, temporary_path, whole_path
from pipeline.lake.row_groups import RowGroupWriter
from pipeline.progress import tell
from pipeline.tables import TABLES
from pipeline.tables.inputs import CONTROLS
from pipeline.tables.stages import STAGES

_LOCKS_FILE, _USE_FILE = "making.lock", "use.lock"


@dataclass(frozen=True)
class Published:
    """What a stage wrote: the table, its file or folder (of several, the fullest), and its number of rows."""

    table: str
    path: Path
    n_rows: int
    figures: dict[str, float | int | str] = field(default_factory=dict)

    @classmethod
    def together(cls, files: Sequence[Self], figures: Mapping[str, float | int | str] | None = None) -> Self:
        """Several files of a table as one, with figures of the whole."""
        fullest = max(files, key=lambda each: each.n_rows)
        return cls(fullest.table, fullest.path, sum(each.n_rows for each in files), dict(figures or {}))


class Files(Paths):
    """The files of one experiment's tables, with their writing."""

    @contextlib.contextmanager
    def writing(self, target: Path) -> Iterator[Path]:
        """A temporary path that becomes `target`, file or folder, whole or not at all, if the body succeeds."""
        with contextlib.ExitStack() as published, whole_path(self.root, target) as temporary:
            yield temporary
            if self.objects is not None:
                published.enter_context(self.objects.publishing(target, temporary))

    @contextlib.contextmanager
    def alone(self, table: str, *, waits: bool, **partition: object) -> Iterator[None]:
        """Hold the lock on a table's partition: a byte of one file, which a killed process releases.

        Threads exclude each other too. With an object store, it is also held on one machine at a time.

        Raises LakeError if another run holds it and `waits` is false.
        """
        name = " ".join([table, *(f"{key} {value}" for key, value in partition.items())])
        offset = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        self.root.mkdir(parents=True, exist_ok=True)
        with _opened_once(self.root / _LOCKS_FILE) as locks:
            if not locks.take(offset, waits=False):
                if not waits:
                    raise LakeError(
                        f"another run is already making '{name}' in '{self.root}'; wait for it to finish, or "
                        "stop it, then run again"
                    ) from None
                tell(f"waiting for another run that is making '{name}'")
                locks.take(offset, waits=True)
            try:
                with leased(self.objects, name, waits=waits) if self.objects else contextlib.nullcontext():
                    yield
            finally:
                locks.release(offset)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `clean` away from the lake. Any number of runs may do this at once; a killed one no longer does."""
        with self._use_file() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def _use_file(self) -> BinaryIO:
        self.root.mkdir(parents=True, exist_ok=True)
        return (self.root / _USE_FILE).open("a+b")  # readable, as NFS wants for a shared lock

    def write(
        self,
        table: str,
        rows: pa.RecordBatchReader | pa.Table,
        *,
        sae: str | None = None,
        shard: int | None = None,
        batch: int | None = None,
        part: str | None = None,
        generation: int | None = None,
    ) -> Published:
        """Publish one partition from rows with the table's columns; types are cast, names must match.

        Raises LakeError if a column is missing, unknown or out of order.
        """
        declared = TABLES[table]
        if rows.schema.names != declared.schema.names:
            raise LakeError(f"rows for '{table}' have columns {rows.schema.names}, not {declared.schema.names}")
        batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
        target = self._path(table, Partition(sae, shard, batch), part, generation)
        self.ensure_schema_file(table, sae, part, generation)
        n_rows = 0
        with self.writing(target) as temporary, RowGroupWriter(temporary, declared.schema) as writer:
            for some in batches:
                n_rows += some.num_rows
                writer.write(some.cast(declared.schema))
        return Published(table, target, n_rows)

    def write_parts(self, table: str, rows: pa.Table, *, sae: str, batch: int | None = None) -> Published:
        """Publish a table's rows that plug-ins make, each plug-in's in its own file, even if empty.

        Where a table has controls, these are the rows of no plug-in. Raises ValueError for rows of no part.
        """
        names, parts = rows[STAGES[table].plugin_column], self.parts(table)
        of_none = pc.invert(pc.is_in(names, pa.array(parts, pa.string())))
        if CONTROLS not in parts and (unknown := names.filter(of_none).unique().to_pylist()):
            raise ValueError(f"rows for '{table}' are of {unknown}, which are none of its parts {parts}")
        return Published.together(
            [
                self.write(
                    table,
                    rows.filter(of_none if part == CONTROLS else pc.equal(names, part)),
                    sae=sae,
                    batch=batch,
                    part=part,
                )
                for part in parts
            ]
        )

    def withdraw(self, table: str, *, sae: str, batch: int) -> None:
        """Remove what a batch has of a table, with every generation of the corpus.

        Earlier generations go first: whatever they still had would be carried over (`carrying`) after a kill.
        """
        for generation in range(self.generation + 1):
            for part in self.parts(table):
                path = self._path(table, Partition(sae, batch=batch), part, generation)
                path.unlink(missing_ok=True)
                if self.objects is not None:
                    self.objects.withdraw(path)

    def ensure_schema_file(
        self, table: str, sae: str | None = None, part: str | None = None, generation: int | None = None
    ) -> Path:
        """The empty file of a table's current folder: its schema and what it is made from. Written if missing."""
        target = self.folder(table, sae, part, generation) / SCHEMA_FILE
        if not target.exists() and not self.fetched(target).exists():
            made_from = json.dumps(self.made_from(table, sae, part))
            empty = TABLES[table].schema.empty_table().replace_schema_metadata({MADE_FROM: made_from})
            with self.writing(target) as temporary:
                pq.write_table(empty, temporary)
        return target

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A folder on the lake's disk, removed afterwards."""
        folder = temporary_path(self.root, name)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def resumable(self, name: str) -> Iterator[Path]:
        """A folder on the lake's disk, removed on success; after a kill, the next run finds it by its name."""
        folder = self.root / TEMPORARY_FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        shutil.rmtree(folder)

    def remove_left_over(self) -> list[Path]:
        """Remove temporary files of killed processes of this machine; returns their paths."""
        dead = [path for path in (self.root / TEMPORARY_FOLDER).glob("*") if is_left_over(path)]
        for path in dead:
            remove(path)
        return dead

    def clean(self) -> list[Path]:
        """Remove version folders that no view points at, and temporary files over a day old; returns their paths.

        The views are those of the catalog, which other readers use, and those of this config. In an object store,
        data over a day old that no version names (left by a kill) is removed as well.

        Raises LakeError while a run is under way: one by another config may be making what no view points at yet.
        """
        with self._use_file() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LakeError(
                    f"a run on '{self.root}' is under way; wait for it to finish, or stop it, then clean again"
                ) from None
            return self._clean()

    def _clean(self) -> list[Path]:
        tables = [name for name, table in TABLES.items() if table.partition != "ledger"]
        current = {self.folder(name, *of) for name in tables for of in self.current(name)}
        if self.fetched(catalog := self.root / CATALOG_FILE).is_file():
            with duckdb.connect(str(catalog), read_only=True) as connection:
                current |= {self.root / table / version for table, version in seen_folders(connection)}
        old = [folder for name in TABLES for folder in (self.root / name).glob("*") if folder not in current]
        stale = [
            path
            for folder in (self.root, self.config.subject.converted_folder)
            for path in (folder / TEMPORARY_FOLDER).glob("*")
            if is_stale(path)
        ]
        for path in (*old, *stale):
            remove(path)

        def is_current(path: Path) -> bool:
            table, *rest = path.relative_to(self.root).parts
            return table not in TABLES or self.root / table / rest[0] in current

        return [*old, *stale, *(self.objects.clean(is_current) if self.objects else ())]


class _Locks:
    """Locks on the bytes of a file, and the number of their holders in this process.

    The system's locks exclude other processes, but not other threads of this one.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("ab")
        self.n_holders = 0
        self._of_threads: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def take(self, offset: int, *, waits: bool) -> bool:
        """Take the lock on a byte; False if somebody else has it, and it is not waited for."""
        if not self._of_threads[offset].acquire(blocking=waits):
            return False
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB), 1, offset)
        except BaseException as error:
            self._of_threads[offset].release()
            if isinstance(error, BlockingIOError):
                return False
            raise
        return True

    def release(self, offset: int) -> None:
        """Release the lock on a byte."""
        fcntl.lockf(self.file, fcntl.LOCK_UN, 1, offset)
        self._of_threads[offset].release()


_opened: dict[Path, _Locks] = {}
_opening = threading.Lock()


@contextlib.contextmanager
def _opened_once(path: Path) -> Iterator[_Locks]:
    """The locks of a file that is opened once per process, for all holders of locks on it.

    When a process closes a file anywhere, it loses all its locks on it.
    """
    with _opening:
        opened = _opened[path] = _opened.get(path) or _Locks(path)
        opened.n_holders += 1
    try:
        yield opened
    finally:
        with _opening:
            opened.n_holders -= 1
            if not opened.n_holders:
                del _opened[path]
                opened.file.close()
