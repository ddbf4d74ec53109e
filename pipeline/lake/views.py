"""A lake as SQL sees it: every table a view, in a connection of its own or in `catalog.duckdb`.

The catalog holds nothing but views on the current folders, by paths below the lake, so that a lake can be moved:
whoever opens it says where the lake is (`open_catalog`; a shell of DuckDB's own by `set file_search_path`).
"""

import atexit
import contextlib
import glob
import itertools
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.errors import LakeError
from pipeline.lake.files import Files
from pipeline.lake.in_place import InPlace
from pipeline.lake.paths import SCHEMA_FILE
from pipeline.lake.placing import temporary_path
from pipeline.tables import TABLES, Table
from pipeline.tables.sql import config_value, parameters_of, sql_text, steps_of, tables_read

CATALOG_FILE = "catalog.duckdb"

_NUMBERS = itertools.count()
"""Of this process's databases in memory."""

Given = Mapping[str, pa.Table | pa.RecordBatchReader | Sequence[Path]]
"""Relations by name that are handed to a connection: rows (a reader's can be read once), or Parquet files."""


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
        """A DuckDB connection that sees tables as views; only rows of the SAE and the batch, if given.

        `given` are relations beside the tables, or in place of them: rows, or the Parquet files that hold them.
        `tables` are those that are read, if that is known: all the views together take 40 ms to make.
        """
        with self._database() as connection:
            seen = [name for name in TABLES if name in tables and name not in (given or {})]
            saes = [sae] if sae else list(self.config.sae_names)
            self.fetch_tables(seen, saes, batch)
            self._create_views(connection, seen, saes, batch)
            for name, rows in (given or {}).items():
                if isinstance(rows, pa.Table | pa.RecordBatchReader):
                    connection.register(name, rows)
                else:
                    connection.read_parquet([str(path) for path in rows]).create_view(name)
            yield connection

    @contextlib.contextmanager
    def _database(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with an empty database in memory of its own, which is gone afterwards."""
        instance = _instance(os.getpid(), self.root.absolute(), self.config.machine.memory_limit)
        name = f"views_{next(_NUMBERS)}"
        try:
            with instance.cursor() as connection:
                connection.execute(f"attach ':memory:' as {name}")
                connection.execute(f"use {name}")
                connection.execute("set enable_progress_bar = false")  # ours go by shard, bucket and request
                yield connection
        finally:
            with instance.cursor() as connection:
                connection.execute(f"detach database if exists {name}")

    def create_temporary(self, connection: duckdb.DuckDBPyConnection, name: str, **values: Any) -> None:
        """Fill the temporary table `name` by `<name>.sql`, in place of what it held.

        Parameters are named `$<section>_<key>` after the config; `values` go before it.
        """
        text = sql_text(name)
        connection.execute(f"create or replace temp table {name} as {text}", self._parameters(text, values))

    def select(
        self, connection: duckdb.DuckDBPyConnection, name: str | Path, **values: Any
    ) -> duckdb.DuckDBPyRelation:
        """The rows of `<name>.sql` with its parameters; they are computed when they are read."""
        text = sql_text(name)
        return connection.sql(text, params=self._parameters(text, values))

    def copy(
        self, connection: duckdb.DuckDBPyConnection, name: str | Path, target: Path, how: str, **values: Any
    ) -> int:
        """Write the rows of `<name>.sql` to a file as they come, as DuckDB's `copy` does; how many there were."""
        text = sql_text(name)
        statement = f"copy ({text}\n) to {_quoted(target)} ({how})"
        (n_rows,) = connection.execute(statement, self._parameters(text, values)).fetchall()[0]
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
        """The rows of `<name>.sql`, made after those that it reads, over the lake; small enough for memory."""
        with self.connect(sae, batch, given, tables_read(name, given=given or ())) as connection:
            for step in steps_of(name, given=given or ())[:-1]:
                self.create_temporary(connection, str(step), sae=sae, batch=batch, **values)
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
        with self.writing(target) as temporary, contextlib.ExitStack() as log_removed:
            log_removed.callback(Path(f"{temporary}.wal").unlink, missing_ok=True)  # left by a full disk
            with duckdb.connect(str(temporary)) as connection:
                _look_below(connection, self.root)
                are_below = "," not in str(self.root)
                self._create_views(connection, tuple(TABLES), list(self.config.sae_names), are_below=are_below)
                for name, table in TABLES.items():
                    connection.execute(f"comment on view {name} is {_quoted(table.row)}")
        return target

    def _create_views(
        self,
        connection: duckdb.DuckDBPyConnection,
        tables: Sequence[str],
        saes: Sequence[str],
        batch: int | None = None,
        are_below: bool = False,
    ) -> None:
        """A view of each of some tables; `are_below`: by paths below the lake."""
        # DDL takes no parameters, so these few statements are put together here and nowhere else.
        connection.begin()
        lake = Path() if are_below else Path(glob.escape(str(self.root)))  # a [ in its name is no pattern
        connection.execute(f"create macro context_length() as {self.config.corpus.context_length:d}")
        for name in tables:
            table = TABLES[name]
            if table.partition == "ledger":
                paths = [self._lines(table)]
            else:
                folders = self._folders(table, saes)
                for folder in folders:
                    self.ensure_schema_file(name, *folder)
                paths = [path for folder in folders for path in self._files(table, batch, *folder)]
            files = f"[{', '.join(_quoted(lake / path.relative_to(self.root)) for path in paths)}]"
            select = _select_lines if table.partition == "ledger" else _select_rows
            connection.execute(f"create view {name} as {select(table, files)}")
        connection.commit()

    def fetch_tables(self, tables: Sequence[str], saes: Sequence[str], batch: int | None = None) -> None:
        """Have what an object store has of some tables as files; not of shards or one batch, read by path."""
        by_path = {"sae_shard"} if batch is None else {"sae_shard", "sae_batch"}
        for table in (TABLES[name] for name in tables if self.objects is not None):
            if table.partition == "ledger":
                self.fetched_lines(self.root / table.lines_folder)
            elif table.partition not in by_path:
                for folder in self._folders(table, saes):
                    self.fetched(self.folder(table.name, *folder))

    def _folders(self, table: Table, saes: Sequence[str]) -> list[tuple[str | None, str | None, int]]:
        """SAE, plug-in and generation of each folder of a table's current version."""
        return [
            (sae, part, generation)
            for sae in (saes if table.is_by_sae else [None])
            for part in self.parts(table.name)
            for generation in self.generations(table.name)
        ]

    def _files(
        self, table: Table, batch: int | None, sae: str | None, part: str | None, generation: int
    ) -> Iterator[Path]:
        """The files of a table's current version, as globs; first the empty one, whose types the view has."""
        folder = self.folder(table.name, sae, part, generation)
        yield folder / SCHEMA_FILE
        if table.partition != "sae_batch" or batch is None:
            yield folder / "**" / "*.parquet"
        elif (path := self.path(table.name, sae=sae, batch=batch, part=part)).exists():
            yield path

    def _lines(self, table: Table) -> Path:
        """The files of a table's lines, as a glob; an empty one is there, as a view of no file is an error."""
        folder = self.root / table.lines_folder
        empty = folder / "empty.jsonl"
        if not empty.exists() and not self.fetched(empty).exists():
            with self.writing(empty) as temporary:
                temporary.touch()
        return folder / "**" / "*.jsonl"


@lru_cache(maxsize=4)
def _instance(_process: int, root: Path, memory_limit: str) -> duckdb.DuckDBPyConnection:
    """A process's DuckDB for a lake: to start one takes 13 ms, to attach a database to one less than 1 ms.

    What it spills lies on the lake's own disk. A forked process has one of its own, as threads are not forked.
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


def open_catalog(place: Path | str) -> duckdb.DuckDBPyConnection:
    """A connection that reads the catalog of the lake in a folder, wherever that was made, or at a URL.

    Raises LakeError if there is none yet.
    """
    if "://" in str(place):
        return _opened_in_place(str(place))
    folder = Path(place)
    connection = duckdb.connect(str(_catalog_of(folder / CATALOG_FILE, place)), read_only=True)
    _look_below(connection, folder)
    here = _quoted(glob.escape(str(folder.absolute())))[1:-1] + "/"
    there = _paths_begin_with(connection)
    is_found = "," not in str(folder.absolute()) if not there else there == here
    if is_found:
        return connection

    def put_right(name: str, text: str) -> str:
        below = TABLES[name].lines_folder or name
        return text.replace(f"'{there}{below}/", f"'{here}{below}/")

    moved = duckdb.connect()
    _move(connection, moved, put_right)
    return moved


def _opened_in_place(url: str) -> duckdb.DuckDBPyConnection:
    """A connection that reads the last versions of everything at a URL."""
    moved = duckdb.connect()
    lake = InPlace(url)
    lake.seen_by(moved)
    with TemporaryDirectory() as folder:
        catalog = _catalog_of(lake.catalog(CATALOG_FILE, Path(folder)), url)
        connection = duckdb.connect(str(catalog), read_only=True)
        before = _paths_begin_with(connection)
        _move(connection, moved, lambda _, text: lake.view(text, before))
    return moved


def _catalog_of(path: Path, place: Path | str) -> Path:
    if not path.is_file():
        raise LakeError(f"no lake at '{place}': it has no {CATALOG_FILE}; 'make run' makes it")
    return path


def _paths_begin_with(connection: duckdb.DuckDBPyConnection) -> str:
    """What stands before the paths below the lake in a catalog's views: nothing, or where the lake was made."""
    [(text,)] = connection.execute("select sql from duckdb_views() where view_name = 'saes'").fetchall()
    found = re.search(r"'((?:[^']|'')*)saes/", text)
    return found[1] if found else ""


def _move(
    connection: duckdb.DuckDBPyConnection, moved: duckdb.DuckDBPyConnection, put_right: Callable[[str, str], str]
) -> None:
    """Make a catalog's macros and views on another connection, with their paths put right; close the catalog."""
    macros = "select function_name, macro_definition from duckdb_functions() where not internal"
    views = "select view_name, sql, comment from duckdb_views() where not internal order by view_oid"
    for name, definition in connection.execute(macros).fetchall():
        moved.execute(f"create macro {name}() as {definition}")
    for name, text, comment in connection.execute(views).fetchall():
        moved.execute(put_right(name, text))
        moved.execute(f"comment on view {name} is {_quoted(comment)}")
    connection.close()


def copy_views(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Give a database in memory the views of the lake in a folder, whose catalog is not held open.

    A table that the catalog does not have, as the lake is of an earlier version, has no rows but its lines.
    Raises LakeError if there is no lake yet.
    """
    path = _catalog_of(folder / CATALOG_FILE, folder)
    connection.execute(f"attach {_quoted(path)} as lake (read_only)")
    connection.execute("copy from database lake to memory (schema)")
    connection.execute("detach lake")
    _look_below(connection, folder)
    known = {name for (name,) in connection.execute("select view_name from duckdb_views()").fetchall()}
    for name in TABLES.keys() - known:
        lines = folder / TABLES[name].lines_folder
        if TABLES[name].partition == "ledger" and any(lines.glob("*.jsonl")):
            files = f"[{_quoted(Path(TABLES[name].lines_folder) / '*.jsonl')}]"
            connection.execute(f"create view {name} as {_select_lines(TABLES[name], files)}")
            continue
        connection.register("no_rows", TABLES[name].schema.empty_table())
        connection.execute(f"create table {name} as from no_rows")
        connection.unregister("no_rows")


def view_texts(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The statement that creates each view of a database, by name."""
    return dict(connection.execute("select view_name, sql from duckdb_views() where not internal").fetchall())


def narrow_view(connection: duckdb.DuckDBPyConnection, text: str, folder: Path, sae: str, number: int) -> None:
    """Let a view be, on one connection, the file alone that each of its globs has for an SAE's batch or bucket.

    `text` creates the view of the whole table, as it stands in the catalog of the lake in `folder`. To open every
    file of a table for the sake of one feature takes longer than to read it.
    """

    def only(found: re.Match[str]) -> str:
        path = f"{found[1]}/{sae}/{number:05d}.parquet"
        return f", {_quoted(path)}" if (folder / path).exists() else ""

    narrowed = re.sub(r", '([^']*)/\*\*/\*\.parquet'", only, text)
    connection.execute(narrowed.replace("CREATE VIEW", "CREATE OR REPLACE TEMP VIEW", 1))


def create_requests_view(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Let `llm_requests` on a connection be the requests of some of the ledger's files alone."""
    files = f"[{', '.join(_quoted(path) for path in paths)}]"
    select = _select_lines(TABLES["llm_requests"], files)
    connection.execute(f"create or replace temp view llm_requests as {select}")


def _look_below(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Let a connection and its cursors find paths below a lake's folder.

    DuckDB cuts the setting at commas, so that a lake with one in its path has a catalog of absolute paths.
    """
    connection.execute(f"set global file_search_path = {_quoted(folder.absolute())}")


def _select_rows(table: Table, files: str) -> str:
    """A select of a table's Parquet files, with the columns that are computed."""
    columns = [column.name for column in table.columns]
    columns += [f"{each.expression} as {each.name}" for each in table.derived]
    return f"select {', '.join(columns)} from read_parquet({files})"


def _select_lines(table: Table, files: str) -> str:
    """A select of JSON lines; a torn one falls away. Of the ledger's: the last of each request, failures last."""
    names = ", ".join(column.name for column in table.columns)
    types = ", ".join(f"{column.name}: '{_sql_type(column.type)}'" for column in table.columns)
    return (
        f"select {names} from read_json({files}, format = 'newline_delimited', ignore_errors = true, "
        f"columns = {{{types}}}) where {table.key[0]} is not null {_LAST_LINES.get(table.name, '')}"
    )


_LAST_LINES = {
    "llm_requests": "qualify row_number() over (partition by request_id "
    "order by status in ('http_error', 'budget'), requested_at desc) = 1",
}
"""Which lines of a table count, where not all do."""


def _quoted(value: Path | str) -> str:
    """A SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def _sql_type(kind: pa.DataType) -> str:
    """The DuckDB type of an Arrow type, for reading JSON."""
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "struct(" + ", ".join(f"{field.name} {_sql_type(field.type)}" for field in kind) + ")"
    return {"string": "varchar", "int64": "bigint", "double": "double", "bool": "boolean"}[str(kind)]
