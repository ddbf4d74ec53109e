"""The files of a lake: where a table lives, and how it is written, whole or not at all.

A table's files are `<table>/<stage_hash>/<partition>.parquet`, next to one empty file with the schema so
that a view never fails. Everything is written under `.tmp/` and renamed into place; a reader sees the old
table or the new one.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config
from pipeline.errors import LakeError
from pipeline.progress import tell
from pipeline.tables import TABLES
from pipeline.tables.versions import SourceHashes, Versions, parts_of, stage_hash

SCHEMA_FILE = "schema.parquet"
LEDGER_FOLDER = "ledger"
LOCKS_FILE = "making.lock"
_ROWS_PER_GROUP = 122_880
_STALE_SECONDS = 86_400
_HOST = re.sub(r"[^\w-]", "-", socket.gethostname())
_OWNED = re.compile(rf"\.{re.escape(_HOST)}\.(\d+)\.\d+\.\d+$")
"""The end of a temporary name of this host: the process, the thread and the time."""


@dataclass(frozen=True)
class Published:
    """What a stage wrote: the table, its file or folder, and its number of rows."""

    table: str
    path: Path
    n_rows: int
    figures: dict[str, float | int | str] = field(default_factory=dict)


class Files:
    """The files of one experiment's tables. `hashes` is what they were made from (see `sources.fix_sources`).

    Its `config` is the given one with `auto` precisions as the lake has fixed them.
    """

    def __init__(self, config: Config, hashes: SourceHashes) -> None:
        self.config = config.in_precision(hashes.dtype) if hashes.dtype else config
        self.hashes = hashes
        self.root = config.lake_folder
        self._versions: dict[int, Versions] = {}

    # Where a table lives ------------------------------------------------------------------------------

    def parts(self, table: str) -> tuple[str | None, ...]:
        """The plug-ins that make a table, each in files of its own; (None,) for all other tables."""
        return parts_of(self.config, table)

    @property
    def generation(self) -> int:
        """The last generation of the corpus: 0 until documents are added behind the first ones."""
        return len(self.hashes.generations)

    def generations(self, table: str) -> range:
        """The generations of the corpus that a table has files of."""
        match TABLES[table].generations:
            case "first":
                return range(1)
            case "each":
                return range(self.generation + 1)
            case "last":
                return range(self.generation, self.generation + 1)

    def folder(
        self, table: str, sae: str | None = None, part: str | None = None, generation: int | None = None
    ) -> Path:
        """The folder of a table's current version; for a table of SAEs or plug-ins, of one of them.

        Without a generation it is that of the last one that the table has files of.
        """
        if generation is None:
            generation = self.generations(table)[-1]
        own = sae if TABLES[table].is_by_sae else None
        known = self._versions.setdefault(generation, {})
        return self.root / table / stage_hash(self.config, table, self.hashes.at(generation), own, known, part)

    def path(
        self,
        table: str,
        *,
        sae: str | None = None,
        shard: int | None = None,
        batch: int | None = None,
        part: str | None = None,
        generation: int | None = None,
    ) -> Path:
        """The file of a partition, or its folder where it has several; `part` is the plug-in that makes it."""
        folder = self.folder(table, sae, part, generation)
        match TABLES[table].partition:
            case "all":
                return folder / "all.parquet"
            case "shard":
                return folder / f"{shard:05d}.parquet"
            case "sae_shard":
                return folder / f"{sae}" / f"{shard:05d}"
            case "sae":
                return folder / (f"{sae}" if TABLES[table].is_folder else f"{sae}.parquet")
            case "sae_batch":
                return folder / f"{sae}" / f"{batch:05d}.parquet"
            case "ledger":
                return self.root / TABLES[table].lines_folder

    def paths(
        self, table: str, *, sae: str | None = None, shard: int | None = None, batch: int | None = None
    ) -> list[Path]:
        """The files or folders of a partition: one of each generation and plug-in that it has any of."""
        return [
            self.path(table, sae=sae, shard=shard, batch=batch, part=part, generation=generation)
            for generation in self.generations(table)
            for part in self.parts(table)
        ]

    def has(
        self, table: str, *, sae: str | None = None, shard: int | None = None, batch: int | None = None
    ) -> bool:
        """Whether the partition is there in the current version, of every generation and by every plug-in."""
        return all(path.exists() for path in self.paths(table, sae=sae, shard=shard, batch=batch))

    def missing_generations(self, table: str, *, sae: str | None = None, shard: int | None = None) -> list[int]:
        """The generations that the partition has not been published of; if it has of all, all of them."""
        all_of_them = self.generations(table)
        lacking = [
            each for each in all_of_them if not self.path(table, sae=sae, shard=shard, generation=each).exists()
        ]
        return lacking or list(all_of_them)

    def is_complete(self, table: str, sae: str | None = None, batch: int | None = None) -> bool:
        """Whether every partition of the table is there; with `sae` and `batch`, every one of these."""
        saes = [sae] if sae else list(self.config.sae_names)
        shards = list(range(self.config.corpus.shards))
        match TABLES[table].partition:
            case "all":
                return self.has(table)
            case "shard":
                return all(self.has(table, shard=shard) for shard in shards)
            case "sae_shard":
                return all(self.has(table, sae=each, shard=shard) for each in saes for shard in shards)
            case "sae":
                return all(self.has(table, sae=each) for each in saes)
            case "sae_batch":
                batches = range(self.config.n_batches) if batch is None else [batch]
                return all(self.has(table, sae=each, batch=number) for each in saes for number in batches)
            case "ledger":
                return True

    def require(self, *tables: str, sae: str | None = None, batch: int | None = None) -> None:
        """Raise LakeError, saying what to materialise, unless these tables are complete."""
        for table in tables:
            if not self.is_complete(table, sae, batch):
                of = f" of SAE '{sae}'" if sae and TABLES[table].is_by_sae else ""
                of += f", batch {batch}" if batch is not None and TABLES[table].partition == "sae_batch" else ""
                raise LakeError(
                    f"table '{table}'{of} is not complete in '{self.root}'; materialise "
                    f"'{self.config.name}/{table}' first, as make run does"
                )

    # Writing ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self, target: Path) -> Iterator[Path]:
        """A temporary path that becomes `target`, file or folder, by one rename if the body succeeds.

        After a kill at any point `target` is what it was. Into a folder that is already there the files are
        renamed one by one: its name is a stage hash, so that they hold the rows that it held.
        """
        temporary = temporary_path(self.root, target.name)
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

    @contextlib.contextmanager
    def alone(self, table: str, *, waits: bool, **partition: object) -> Iterator[None]:
        """Make a table's partition alone among all processes: the lock is a byte of one file; a kill gives it up.

        Raises LakeError if another run is making it, and this one is not to wait.
        """
        name = " ".join([table, *(f"{key} {value}" for key, value in partition.items())])
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCKS_FILE).open("ab") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except BlockingIOError:
                if not waits:
                    raise LakeError(
                        f"another run is making '{name}' in '{self.root}'; let it end or stop it, and run again"
                    ) from None
                tell(f"'{name}' is being made by another run, which is waited for")
                fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
            yield

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
        target = self.path(table, sae=sae, shard=shard, batch=batch, part=part, generation=generation)
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

    def ensure_schema_file(
        self, table: str, sae: str | None = None, part: str | None = None, generation: int | None = None
    ) -> None:
        """Put the empty file with the table's schema into its current folder."""
        target = self.folder(table, sae, part, generation) / SCHEMA_FILE
        if not target.exists():
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
        folder = self.root / ".tmp" / name
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        shutil.rmtree(folder)

    def remove_left_over(self) -> list[Path]:
        """Remove the temporary files of processes of this host that were killed; their paths."""
        dead = [path for path in (self.root / ".tmp").glob("*") if _is_left_over(path)]
        for path in dead:
            _remove(path)
        return dead

    # Old versions -------------------------------------------------------------------------------------

    def clean(self) -> list[Path]:
        """Remove version folders that no view points at, and temporary files over a day old; their paths."""
        current = {
            self.folder(name, sae, part, generation)
            for name, table in TABLES.items()
            if table.partition != "ledger"
            for sae in (self.config.sae_names if table.is_by_sae else (None,))
            for part in self.parts(name)
            for generation in self.generations(name)
        }
        old = [folder for name in TABLES for folder in (self.root / name).glob("*") if folder not in current]
        stale = [
            path
            for folder in (self.root, self.config.subject.converted_folder)
            for path in (folder / ".tmp").glob("*")
            if time.time() - path.stat().st_mtime > _STALE_SECONDS
        ]
        for path in (*old, *stale):
            _remove(path)
        return [*old, *stale]


def temporary_path(root: Path, name: str) -> Path:
    """A path on the lake's own disk that nobody else has, told by its name to be of this process."""
    folder = root / ".tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.{_HOST}.{os.getpid()}.{threading.get_ident()}.{time.monotonic_ns()}"


def _is_left_over(path: Path) -> bool:
    """Whether the process of this host that made a temporary file is gone; its number may be another's by now."""
    owned = _OWNED.search(path.name)
    if not owned:
        return False
    with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
        return bool(psutil.Process(int(owned[1])).create_time() > path.stat().st_mtime)
    return True


def _remove(path: Path) -> None:
    """Remove a file or a folder; another process may have done so."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class RowGroupWriter:
    """A Parquet writer that gathers small batches into row groups of a useful size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)
        self._pending: list[pa.RecordBatch] = []
        self._n_pending = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; they reach the file in row groups."""
        self._pending.append(batch)
        self._n_pending += batch.num_rows
        if self._n_pending >= _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._n_pending:
            self._writer.write_table(pa.Table.from_batches(self._pending, self._schema))
        self._pending, self._n_pending = [], 0


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
