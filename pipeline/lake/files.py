"""How the tables of a lake are written: whole or not at all, and by one process at a time.

Everything is written under `.tmp/` and renamed into place; a reader sees the old table or the new one.
"""

import contextlib
import fcntl
import hashlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import LakeError
from pipeline.lake.catalog import CATALOG_FILE, seen_folders
from pipeline.lake.leases import leased
from pipeline.lake.paths import SCHEMA_FILE, Paths
from pipeline.lake.placing import TEMPORARY_FOLDER, is_left_over, is_stale, placing, remove, temporary_path
from pipeline.lake.row_groups import RowGroupWriter
from pipeline.progress import tell
from pipeline.tables import TABLES

LOCKS_FILE = "making.lock"


@dataclass(frozen=True)
class Published:
    """What a stage wrote: the table, its file or folder, and its number of rows."""

    table: str
    path: Path
    n_rows: int
    figures: dict[str, float | int | str] = field(default_factory=dict)


class Files(Paths):
    """The files of one experiment's tables, and how they are written."""

    @contextlib.contextmanager
    def writing(self, target: Path) -> Iterator[Path]:
        """A temporary path that becomes `target`, file or folder, whole or not at all, if the body succeeds."""
        with contextlib.ExitStack() as published, placing(self.root, target) as temporary:
            yield temporary
            if self.objects is not None:
                published.enter_context(self.objects.publishing(target, temporary))

    @contextlib.contextmanager
    def alone(self, table: str, *, waits: bool, **partition: object) -> Iterator[None]:
        """Make a table's partition alone among all processes: the lock is a byte of one file; a kill gives it up.

        In an object store it is made on one machine at a time as well.

        Raises LakeError if another run is making it, and this one is not to wait.
        """
        name = " ".join([table, *(f"{key} {value}" for key, value in partition.items())])
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        self.root.mkdir(parents=True, exist_ok=True)
        with _opened_once(self.root / LOCKS_FILE) as locks:
            try:
                fcntl.lockf(locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except BlockingIOError:
                if not waits:
                    raise LakeError(
                        f"another run is making '{name}' in '{self.root}'; let it end or stop it, and run again"
                    ) from None
                tell(f"'{name}' is being made by another run, which is waited for")
                fcntl.lockf(locks, fcntl.LOCK_EX, 1, place)
            try:
                with leased(self.objects, name, waits=waits) if self.objects else contextlib.nullcontext():
                    yield
            finally:
                fcntl.lockf(locks, fcntl.LOCK_UN, 1, place)

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
        """Publish one partition from rows that have the table's columns; types are cast, never names.

        Raises LakeError if a column is missing, unknown or out of order.
        """
        declared = TABLES[table]
        if rows.schema.names != declared.schema.names:
            raise LakeError(f"rows for '{table}' have columns {rows.schema.names}, not {declared.schema.names}")
        batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
        target = self._path(table, sae, shard, batch, part, generation)
        self.ensure_schema_file(table, sae, part, generation)
        n_rows = 0
        with self.writing(target) as temporary, RowGroupWriter(temporary, declared.schema) as writer:
            for some in batches:
                n_rows += some.num_rows
                writer.write(some.cast(declared.schema))
        return Published(table, target, n_rows)

    def write_parts(
        self, table: str, rows: Mapping[str, pa.Table], *, sae: str, batch: int | None = None
    ) -> Published:
        """Publish what plug-ins make of a table: the rows of each in a file of its own, empty ones too."""
        empty = TABLES[table].schema.empty_table()
        published = [
            self.write(table, rows.get(str(part), empty), sae=sae, batch=batch, part=part)
            for part in self.parts(table)
        ]
        fullest = max(published, key=lambda each: each.n_rows)
        return replace(fullest, n_rows=sum(each.n_rows for each in published))

    def withdraw(self, table: str, *, sae: str, batch: int) -> None:
        """Remove what a batch has of a table in its current version."""
        for part in self.parts(table):
            path = self._path(table, sae, None, batch, part, None)
            path.unlink(missing_ok=True)
            if self.objects is not None:
                self.objects.withdraw(path)

    def ensure_schema_file(
        self, table: str, sae: str | None = None, part: str | None = None, generation: int | None = None
    ) -> None:
        """Put the empty file with the table's schema into its current folder."""
        target = self.folder(table, sae, part, generation) / SCHEMA_FILE
        if not target.exists() and not self.fetched(target).exists():
            with self.writing(target) as temporary:
                pq.write_table(TABLES[table].schema.empty_table(), temporary)

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A folder on the lake's own disk that is gone afterwards."""
        folder = temporary_path(self.root, name)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def resumable(self, name: str) -> Iterator[Path]:
        """A folder on the lake's own disk that a killed run finds again by its name; gone after a success."""
        folder = self.root / TEMPORARY_FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        shutil.rmtree(folder)

    def remove_left_over(self) -> list[Path]:
        """Remove the temporary files of processes that were killed here; their paths."""
        dead = [path for path in (self.root / TEMPORARY_FOLDER).glob("*") if is_left_over(path)]
        for path in dead:
            remove(path)
        return dead

    def clean(self) -> list[Path]:
        """Remove version folders that no view points at, and temporary files over a day old; their paths.

        The views are those of the catalog, which other readers see, and those of this config. In an object store
        also data over a day old that no version names, as a kill leaves it.
        """
        current = {
            self.folder(name, sae, part, generation)
            for name, table in TABLES.items()
            if table.partition != "ledger"
            for sae in (self.config.sae_names if table.is_by_sae else (None,))
            for part in self.parts(name)
            for generation in self.generations(name)
        }
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


class _Opened:
    """A file that is open in this process, and how many hold locks on it."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("ab")
        self.n_holders = 0


_opened: dict[Path, _Opened] = {}
_opening = threading.Lock()


@contextlib.contextmanager
def _opened_once(path: Path) -> Iterator[BinaryIO]:
    """A file that is open once in this process, for all who hold locks on it at a time.

    As soon as a process closes a file anywhere, it gives up all its locks on it.
    """
    with _opening:
        opened = _opened[path] = _opened.get(path) or _Opened(path)
        opened.n_holders += 1
    try:
        yield opened.file
    finally:
        with _opening:
            opened.n_holders -= 1
            if not opened.n_holders:
                del _opened[path]
                opened.file.close()
