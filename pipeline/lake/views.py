"""A lake in SQL: every table is a view, in a connection of its own or in `catalog.duckdb`.

The catalog holds only macros, and views on the current folders by relative paths, so that a lake can be moved:
those who open it say where it is (`open_catalog`; in DuckDB's shell, `set file_search_path`).
"""

import atexit
import contextlib
import glob
import itertools
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.lake import queries
from pipeline.lake.catalog import CATALOG_FILE
from pipeline.lake.files import Files
from pipeline.lake.publishing import temporary_path
from pipeline.lake.selects import look_below, quoted, select_lines, select_rows
from pipeline.tables import TABLES, Table
from pipeline.tables.macros import create_macros
from pipeline.tables.sql import tables_read

_NUMBERS = itertools.count()
"""Numbers of this process's databases in memory."""

Given = Mapping[str, pa.Table | pa.RecordBatchReader | Sequence[Path]]
"""Relations by name, given to a connection: rows (those of a reader can be read once), or Parquet files."""


class Lake(Files):
    """One experiment's tables, as files and as views."""

    # SQL ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def connect(
        self,
        sae: str | None = None,
        batch: int | None = None,
        given: Given | None = None,
        tables: Collection[str] = tuple(TABLES),
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection with tables as views, restricted to an SAE and a batch, if given.

        `given` are relations in addition to tables, or instead of them: rows, or Parquet files. `tables` are those
        that will be read, if known: making all views takes 40 ms.
        """
        with self._database() as connection:
            seen = [name for name in TABLES if name in tables and name not in (given or {})]
            saes = [sae] if sae else self.config.sae_names
            self.fetch_tables(seen, saes, batch)
            root = Path(glob.escape(str(self.root)))  # a [ in its name is not a pattern
            self._create_views(connection, root, seen, saes, batch)
            for name, rows in (given or {}).items():
                if isinstance(rows, pa.Table | pa.RecordBatchReader):
                    connection.register(name, rows)
                else:
                    connection.read_parquet([str(path) for path in rows]).create_view(name)
            yield connection

    @contextlib.contextmanager
    def _database(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with an empty database in memory of its own, dropped afterwards."""
        instance = _instance(os.getpid(), self.root.absolute(), self.config.machine.memory_limit)
        name = f"views_{next(_NUMBERS)}"
        try:
            with instance.cursor() as connection:
                connection.execute(f"attach ':memory:' as {name}")
                connection.execute(f"use {name}")
                connection.execute("set enable_progress_bar = false")  # ours count shards, buckets and requests
                yield connection
        finally:
            with instance.cursor() as connection:
                connection.execute(f"detach database if exists {name}")

    def create(self, connection: duckdb.DuckDBPyConnection, name: str, **values: Any) -> None:
        """Create or replace the table `name` from `<name>.sql`, in the connection's own database, as `queries`."""
        queries.create(connection, self.config, name, values)

    def create_steps(
        self, connection: duckdb.DuckDBPyConnection, name: str | Path, given: Collection[str] = (), **values: Any
    ) -> None:
        """Make tables of the SQL files that `<name>.sql` reads, in order, but for relations that are `given`."""
        queries.create_steps(connection, self.config, name, given, values)

    def select(
        self, connection: duckdb.DuckDBPyConnection, name: str | Path, **values: Any
    ) -> duckdb.DuckDBPyRelation:
        """The rows of `<name>.sql` with its parameters; computed when read."""
        text, parameters = queries.bind(connection, self.config, name, values)
        return connection.sql(text, params=parameters)

    def copy(
        self, connection: duckdb.DuckDBPyConnection, name: str | Path, target: Path, how: str, **values: Any
    ) -> int:
        """Stream the rows of `<name>.sql` to a file with DuckDB's `copy`; returns their number."""
        text, parameters = queries.bind(connection, self.config, name, values)
        statement = f"copy ({text}\n) to {quoted(target)} ({how})"
        (n_rows,) = connection.execute(statement, parameters).fetchall()[0]
        return int(n_rows)

    def query(
        self,
        name: str,
        *,
        sae: str | None = None,
        batch: int | None = None,
        given: Given | None = None,
        **values: Any,
    ) -> pl.DataFrame:
        """The rows of `<name>.sql` over the lake, after running the steps that it reads; all in memory."""
        with self.connect(sae, batch, given, tables_read(name, given=given or ())) as connection:
            self.create_steps(connection, name, given or (), sae=sae, batch=batch, **values)
            rows: pl.DataFrame = self.select(connection, name, sae=sae, batch=batch, **values).pl()
            return rows

    # Views --------------------------------------------------------------------------------------------

    def refresh_catalog(self) -> Path:
        """Rebuild `catalog.duckdb`, with macros and a view per table, and rename it into place."""
        target = self.root / CATALOG_FILE
        with self.writing(target) as temporary, contextlib.ExitStack() as log_removed:
            log_removed.callback(Path(f"{temporary}.wal").unlink, missing_ok=True)  # left if the disk was full
            with duckdb.connect(str(temporary)) as connection:
                look_below(connection, self.root)
                self._create_views(connection, Path(), tuple(TABLES), self.config.sae_names)
                create_macros(connection)
                for name, table in TABLES.items():
                    connection.execute(f"comment on view {name} is {quoted(table.row)}")
        return target

    def _create_views(
        self,
        connection: duckdb.DuckDBPyConnection,
        root: Path,
        tables: Sequence[str],
        saes: Sequence[str],
        batch: int | None = None,
    ) -> None:
        """Create views of some tables; `root` is the lake's folder, as their paths name it."""
        connection.begin()
        connection.execute(f"create macro context_length() as {self.config.corpus.context_length:d}")
        for name in tables:
            table = TABLES[name]
            if table.partition == "ledger":
                select, paths = select_lines, [self._lines(table)]
            else:
                select = select_rows
                paths = [path for of in self.current(name, saes) for path in self._files(table, batch, *of)]
            files = f"[{', '.join(quoted(root / path.relative_to(self.root)) for path in paths)}]"
            connection.execute(f"create view {name} as {select(table, files)}")
        connection.commit()

    def fetch_tables(self, tables: Sequence[str], saes: Sequence[str], batch: int | None = None) -> None:
        """Fetch some tables from an object store, except shards and single batches, which are fetched by path."""
        by_path = {"sae_shard"} if batch is None else {"sae_shard", "sae_batch"}
        for table in (TABLES[name] for name in tables if self.objects is not None):
            if table.partition == "ledger":
                self.fetched_lines(self.root / table.lines_folder)
            elif table.partition not in by_path:
                for of in self.current(table.name, saes):
                    self.fetched(self.folder(table.name, *of))

    def _files(
        self, table: Table, batch: int | None, sae: str | None, part: str | None, generation: int
    ) -> Iterator[Path]:
        """The files of a table's current version, as globs; first the empty file, which sets the view's types."""
        yield self.ensure_schema_file(table.name, sae, part, generation)
        folder = self.folder(table.name, sae, part, generation)
        if table.partition != "sae_batch" or batch is None:
            yield folder / "**" / "*.parquet"
        elif (path := self.path(table.name, sae=sae, batch=batch, part=part)).exists():
            yield path

    def _lines(self, table: Table) -> Path:
        """The files of a table's lines, as a glob; there is always an empty one, as a view needs a file."""
        folder = self.root / table.lines_folder
        empty = folder / "empty.jsonl"
        if not empty.exists() and not self.fetched(empty).exists():
            with self.writing(empty) as temporary:
                temporary.touch()
        return folder / "**" / "*.jsonl"


@lru_cache(maxsize=4)
def _instance(_process: int, root: Path, memory_limit: str) -> duckdb.DuckDBPyConnection:
    """A process's DuckDB for a lake: starting one takes 13 ms, attaching a database less than 1 ms.

    It spills to the lake's own disk. A forked process gets its own, as threads are not forked.
    """
    spill = temporary_path(root, "duckdb")
    atexit.register(shutil.rmtree, spill, ignore_errors=True)
    return duckdb.connect(
        config={
            "memory_limit": memory_limit,
            "temp_directory": str(spill),
            "enable_external_file_cache": False,  # it would hold files in memory between connections
        }
    )
