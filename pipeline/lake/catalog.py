"""Opening the catalog of a lake: its views on a connection, wherever the lake is now."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from pipeline.errors import LakeError
from pipeline.lake.in_place import InPlace
from pipeline.lake.selects import look_below, quoted, select_lines
from pipeline.tables import TABLES
from pipeline.tables.macros import create_macros

CATALOG_FILE = "catalog.duckdb"


def open_catalog(location: Path | str) -> duckdb.DuckDBPyConnection:
    """A connection that reads the catalog of the lake in a folder, even if it was moved, or at a URL.

    Raises LakeError if there is no catalog yet, or the folder cannot be searched.
    """
    if "://" in str(location):
        return _opened_in_place(str(location))
    folder = Path(location)
    connection = duckdb.connect(str(_catalog_of(folder / CATALOG_FILE, folder)), read_only=True)
    look_below(connection, folder)
    return connection


def _opened_in_place(url: str) -> duckdb.DuckDBPyConnection:
    """A connection that reads the last version of everything at a URL."""
    lake = InPlace(url)
    with TemporaryDirectory() as folder:
        path = _catalog_of(lake.catalog(CATALOG_FILE, Path(folder)), url)
        with duckdb.connect(str(path), read_only=True) as catalog:
            [(length,)] = catalog.execute(
                "select macro_definition from duckdb_functions() where function_name = 'context_length'"
            ).fetchall()
            views = catalog.execute(
                "select view_name, sql, comment from duckdb_views() where not internal order by view_oid"
            ).fetchall()
    connection = duckdb.connect()
    lake.seen_by(connection)
    create_macros(connection)
    connection.execute(f"create macro context_length() as {length}")
    for name, text, comment in views:
        connection.execute(lake.view(text))
        connection.execute(f"comment on view {name} is {quoted(comment)}")
    return connection


def _catalog_of(path: Path, location: Path | str) -> Path:
    if not path.is_file():
        raise LakeError(f"no lake at '{location}': it has no {CATALOG_FILE}; 'make run' creates it")
    return path


def copy_views(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Give a database in memory the views of the lake in a folder, without keeping its catalog open.

    Raises LakeError like `open_catalog`.
    """
    catalog = _catalog_of(folder / CATALOG_FILE, folder)
    look_below(connection, folder)
    connection.execute(f"attach {quoted(catalog)} as lake (read_only)")
    connection.execute("copy from database lake to memory (schema)")
    connection.execute("detach lake")


def seen_folders(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """The versions that a catalog's views point at: pairs of a table and a folder name."""
    for name, text in view_texts(connection).items():
        yield from ((name, version) for version in re.findall(rf"[/']{name}/([^/']+)/", text))


def view_texts(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The statement that creates each view of a database, by name."""
    return dict(connection.execute("select view_name, sql from duckdb_views() where not internal").fetchall())


def narrow_view(connection: duckdb.DuckDBPyConnection, text: str, folder: Path, sae: str, number: int) -> None:
    """Restrict a view, on one connection, to the file that each of its globs has for an SAE's batch or bucket.

    `text` creates the view of the whole table, as in the catalog of the lake in `folder`. Opening every file of a
    table for one feature would take longer than reading the feature.
    """

    def only(found: re.Match[str]) -> str:
        path = f"{found[1]}/{sae}/{number:05d}.parquet"
        return f", {quoted(path)}" if (folder / path).exists() else ""

    narrowed = re.sub(r", '([^']*)/\*\*/\*\.parquet'", only, text)
    connection.execute(narrowed.replace("CREATE VIEW", "CREATE OR REPLACE TEMP VIEW", 1))


def create_requests_view(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Restrict `llm_requests`, on one connection, to some of the ledger's files."""
    files = f"[{', '.join(quoted(path) for path in paths)}]"
    select = select_lines(TABLES["llm_requests"], files)
    connection.execute(f"create or replace temp view llm_requests as {select}")
