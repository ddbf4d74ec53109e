"""The lake of one experiment: where a table lives, how it is written whole or not at all, and how SQL sees it.

A table's files are `<table>/<stage_hash>/<partition>.parquet`, next to one empty file with the schema so
that a view never fails. Everything is written under `.tmp/` and renamed into place; a reader sees the old
table or the new one. `catalog.duckdb` holds nothing but views with absolute paths on the current folders.
"""

import contextlib
import glob
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config
from pipeline.errors import LakeError
from pipeline.tables import TABLES, Table
from pipeline.tables.stages import (
    STAGES,
    SourceHashes,
    Versions,
    config_value,
    parameters_of,
    sql_text,
    stage_hash,
)

SCHEMA_FILE = "schema.parquet"
CATALOG_FILE = "catalog.duckdb"
LEDGER_FOLDER = "ledger"
_ROWS_PER_GROUP = 122_880
_STALE_SECONDS = 86_400


@dataclass(frozen=True)
class Published:
    """What a stage wrote: the table, its file or folder, and its number of rows."""

    table: str
    path: Path
    n_rows: int
    figures: dict[str, float | int | str] = field(default_factory=dict)


class Lake:
    """One experiment's tables. `hashes` is what it was made from (see `sources.fix_sources`).

    Its `config` is the given one with `auto` precisions as the lake has fixed them.
    """

    def __init__(self, config: Config, hashes: SourceHashes) -> None:
        self.config = config.in_precision(hashes.dtype) if hashes.dtype else config
        self.hashes = hashes
        self.root = config.lake_folder

    # Where a table lives ------------------------------------------------------------------------------

    def folder(self, table: str, sae: str | None = None) -> Path:
        """The folder of a table's current version; for a table of SAEs, of that SAE's part."""
        return self.root / table / self._versions[table, sae if _is_by_sae(TABLES[table]) else None]

    def path(
        self, table: str, *, sae: str | None = None, shard: int | None = None, batch: int | None = None
    ) -> Path:
        """The file of a partition, or its folder where it has several files."""
        folder = self.folder(table, sae)
        match TABLES[table].partition:
            case "all":
                return folder / "all.parquet"
            case "shard":
                return folder / f"{shard:05d}.parquet"
            case "sae_shard":
                return folder / f"{sae}" / f"{shard:05d}"
            case "sae":
                return folder / (f"{sae}" if table == "activations" else f"{sae}.parquet")
            case "sae_batch":
                return folder / f"{sae}" / f"{batch:05d}.parquet"
            case "ledger":
                return self.root / LEDGER_FOLDER

    def has(
        self, table: str, *, sae: str | None = None, shard: int | None = None, batch: int | None = None
    ) -> bool:
        """Whether the partition has been published in the current version."""
        return self.path(table, sae=sae, shard=shard, batch=batch).exists()

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
                of = f" of SAE '{sae}'" if sae and _is_by_sae(TABLES[table]) else ""
                of += f", batch {batch}" if batch is not None and TABLES[table].partition == "sae_batch" else ""
                raise LakeError(
                    f"table '{table}'{of} is not complete in '{self.root}'; materialise "
                    f"'{self.config.name}/{table}' first"
                )

    @cached_property
    def _versions(self) -> Versions:
        """Stage hash by (table, SAE or None)."""
        known: Versions = {}
        return {
            (name, sae): stage_hash(self.config, name, self.hashes, sae, known)
            for name, table in TABLES.items()
            if table.partition != "ledger"
            for sae in (self.config.sae_names if _is_by_sae(table) else (None,))
        }

    # Writing ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self, target: Path) -> Iterator[Path]:
        """A temporary path that becomes `target`, file or folder, by one rename if the body succeeds.

        After a kill at any point `target` is what it was. Into a folder that is already there the files are
        renamed one by one: its name is a stage hash, so that they hold the rows that it held.
        """
        temporary = self._temporary(target.name)
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

    def write(
        self,
        table: str,
        rows: pa.RecordBatchReader | pa.Table,
        *,
        sae: str | None = None,
        shard: int | None = None,
        batch: int | None = None,
    ) -> Published:
        """Publish one partition from rows that have the table's columns; types are cast, never names.

        Raises LakeError if a column is missing, unknown or out of order.
        """
        declared = TABLES[table]
        if rows.schema.names != declared.schema.names:
            raise LakeError(f"rows for '{table}' have columns {rows.schema.names}, not {declared.schema.names}")
        parts = rows.to_batches() if isinstance(rows, pa.Table) else rows
        target = self.path(table, sae=sae, shard=shard, batch=batch)
        self.ensure_schema_file(table, sae)
        n_rows = 0
        with self.writing(target) as temporary, RowGroupWriter(temporary, declared.schema) as writer:
            for part in parts:
                n_rows += part.num_rows
                writer.write(part.cast(declared.schema))
        return Published(table, target, n_rows)

    def ensure_schema_file(self, table: str, sae: str | None = None) -> None:
        """Put the empty file with the table's schema into its current folder."""
        target = self.folder(table, sae) / SCHEMA_FILE
        if not target.exists():
            with self.writing(target) as temporary:
                pq.write_table(TABLES[table].schema.empty_table(), temporary)

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A folder on the lake's own disk that is gone afterwards."""
        folder = self._temporary(name)
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

    def _temporary(self, name: str) -> Path:
        folder = self.root / ".tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.{os.getpid()}.{threading.get_ident()}.{time.monotonic_ns()}"

    # SQL ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def connect(self, sae: str | None = None, batch: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection that sees every table as a view; only rows of the SAE and the batch, if given."""
        with self.scratch("duckdb") as spill:
            settings: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": self.config.machine.memory_limit,
                "temp_directory": str(spill),
            }
            with duckdb.connect(config=settings) as connection:
                connection.execute("set enable_progress_bar = false")  # ours go by shard, bucket and request
                self._create_views(connection, [sae] if sae else list(self.config.sae_names), batch)
                yield connection

    def run_stage(
        self,
        table: str,
        *,
        sae: str | None = None,
        shard: int | None = None,
        batch: int | None = None,
        **values: Any,
    ) -> Published:
        """Make a table by its SQL files: the first ones fill temporary tables, the last one is the table.

        Parameters are named `$<section>_<key>` after the config; `$sae`, `$shard`, `$batch` and `values` go
        beside them.
        """
        names = STAGES[table].sql
        given = {"sae": sae, "shard": shard, "batch": batch, **values}
        with self.connect(sae, batch) as connection:
            for name in names[:-1]:
                self.create_temporary(connection, name, **given)
            rows = self.select(connection, names[-1], **given).to_arrow_reader()
            return self.write(table, rows, sae=sae, shard=shard, batch=batch)

    def create_temporary(self, connection: duckdb.DuckDBPyConnection, name: str, **values: Any) -> None:
        """Fill the temporary table `name` by `<name>.sql`, in place of what it held."""
        text = sql_text(name)
        connection.execute(f"create or replace temp table {name} as {text}", self._parameters(text, values))

    def select(self, connection: duckdb.DuckDBPyConnection, name: str, **values: Any) -> duckdb.DuckDBPyRelation:
        """The rows of `<name>.sql` with its parameters; they are computed when they are read."""
        text = sql_text(name)
        return connection.sql(text, params=self._parameters(text, values))

    def query(self, name: str, *, sae: str | None = None, batch: int | None = None, **values: Any) -> pl.DataFrame:
        """The rows of `<name>.sql` over the lake, small enough for memory."""
        with self.connect(sae, batch) as connection:
            rows: pl.DataFrame = self.select(connection, name, sae=sae, batch=batch, **values).pl()
            return rows

    def _parameters(self, text: str, values: dict[str, Any]) -> dict[str, Any]:
        """The values of a SQL text's `$names`: from `values`, else from the config; a batch has its features."""
        if (batch := values.get("batch")) is not None:
            size = self.config.selection.batch_size
            values = {"first_feature": batch * size, "end_feature": (batch + 1) * size, **values}
        return {
            name: values[name] if name in values else config_value(self.config, name)
            for name in parameters_of(text)
        }

    # Views --------------------------------------------------------------------------------------------

    def refresh_catalog(self) -> Path:
        """Rebuild `catalog.duckdb`, views on every table's current folder, and put it in place by rename."""
        target = self.root / CATALOG_FILE
        with self.writing(target) as temporary:
            with duckdb.connect(str(temporary)) as connection:
                self._create_views(connection, list(self.config.sae_names))
                for name, table in TABLES.items():
                    connection.execute(f"comment on view {name} is {_quoted(table.row)}")
            Path(f"{temporary}.wal").unlink(missing_ok=True)
        return target

    def _create_views(
        self, connection: duckdb.DuckDBPyConnection, saes: Sequence[str], batch: int | None = None
    ) -> None:
        # DDL takes no parameters, so these few statements are put together here and nowhere else.
        connection.begin()
        connection.execute(f"create macro context_length() as {self.config.corpus.context_length:d}")
        for name, table in TABLES.items():
            if table.partition == "ledger":
                self._create_ledger_view(connection, table)
                continue
            parts = saes if _is_by_sae(table) else [None]
            for sae in parts:
                self.ensure_schema_file(name, sae)
            files = ", ".join(_quoted(path) for sae in parts for path in self._files(table, sae, batch))
            columns = [column.name for column in table.columns]
            columns += [f"{each.expression} as {each.name}" for each in table.derived]
            connection.execute(f"create view {name} as select {', '.join(columns)} from read_parquet([{files}])")
        connection.commit()

    def _files(self, table: Table, sae: str | None, batch: int | None) -> Iterator[Path]:
        """The files of a table's current version, as globs; first the empty one, whose types the view has."""
        folder = self.folder(table.name, sae)
        yield folder / SCHEMA_FILE
        if table.partition != "sae_batch" or batch is None:
            yield _literal(folder) / "**" / "*.parquet"
        elif self.has(table.name, sae=sae, batch=batch):
            yield self.path(table.name, sae=sae, batch=batch)

    def _create_ledger_view(self, connection: duckdb.DuckDBPyConnection, table: Table) -> None:
        """A view of the ledger's lines: the last of each request, failures last; a torn line falls away."""
        folder = self.root / LEDGER_FOLDER
        empty = folder / "empty.jsonl"  # a view of no file is an error
        if not empty.exists():
            with self.writing(empty) as temporary:
                temporary.touch()
        names = ", ".join(column.name for column in table.columns)
        types = ", ".join(f"{column.name}: '{_sql_type(column.type)}'" for column in table.columns)
        connection.execute(
            f"create view {table.name} as select {names} from read_json("
            f"{_quoted(_literal(folder) / '**' / '*.jsonl')}, format = 'newline_delimited', ignore_errors = true, "
            f"columns = {{{types}}}) where request_id is not null "
            "qualify row_number() over (partition by request_id "
            "order by status in ('http_error', 'budget'), requested_at desc) = 1"
        )

    # Old versions -------------------------------------------------------------------------------------

    def clean(self) -> list[Path]:
        """Remove version folders that no view points at, and temporary files over a day old; their paths."""
        current = {self.folder(name, sae) for name, sae in self._versions}
        old = [folder for name in TABLES for folder in (self.root / name).glob("*") if folder not in current]
        stale = [
            path for path in (self.root / ".tmp").glob("*") if time.time() - path.stat().st_mtime > _STALE_SECONDS
        ]
        for path in (*old, *stale):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        return [*old, *stale]


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


def _is_by_sae(table: Table) -> bool:
    return table.partition in {"sae", "sae_shard", "sae_batch"}


def _literal(folder: Path) -> Path:
    """A folder as the beginning of a glob pattern, in which a [ of its name is no pattern."""
    return Path(glob.escape(str(folder)))


def _quoted(value: Path | str) -> str:
    """A SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def _sql_type(kind: pa.DataType) -> str:
    """The DuckDB type of an Arrow type, for reading JSON."""
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "struct(" + ", ".join(f"{field.name} {_sql_type(field.type)}" for field in kind) + ")"
    return {"string": "varchar", "int64": "bigint", "double": "double"}[str(kind)]


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
