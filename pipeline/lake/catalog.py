"""The catalog of a lake as readers open it: its views on a connection, wherever the lake is now."""

import glob
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from pipeline.errors import LakeError
from pipeline.lake.in_place import InPlace
from pipeline.lake.selects import look_below, quoted, select_lines
from pipeline.tables import TABLES
from pipeline.tables.macros import create_macros

CATALOG_FILE = "catalog.duckdb"


def open_catalog(place: Path | str) -> duckdb.DuckDBPyConnection:
    """A connection that reads the catalog of the lake in a folder, wherever that was made, or at a URL.

    Raises LakeError if there is none yet.
    """
    if "://" in str(place):
        return _opened_in_place(str(place))
    folder = Path(place)
    connection = duckdb.connect(str(_catalog_of(folder / CATALOG_FILE, place)), read_only=True)
    look_below(connection, folder)
    here = quoted(glob.escape(str(folder.absolute())))[1:-1] + "/"
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
    """Make a catalog's views, with their paths put right, and macros on another connection; close the catalog."""
    lengths = "select macro_definition from duckdb_functions() where function_name = 'context_length'"
    views = "select view_name, sql, comment from duckdb_views() where not internal order by view_oid"
    create_macros(moved)
    for (length,) in connection.execute(lengths).fetchall():
        moved.execute(f"create macro context_length() as {length}")
    for name, text, comment in connection.execute(views).fetchall():
        moved.execute(put_right(name, text))
        moved.execute(f"comment on view {name} is {quoted(comment)}")
    connection.close()


def copy_views(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Give a database in memory the views of the lake in a folder, whose catalog is not held open.

    A table that the catalog does not have, as the lake is of an earlier version, has no rows but its lines.
    Raises LakeError if there is no lake yet.
    """
    path = _catalog_of(folder / CATALOG_FILE, folder)
    connection.execute(f"attach {quoted(path)} as lake (read_only)")
    connection.execute("copy from database lake to memory (schema)")
    connection.execute("detach lake")
    look_below(connection, folder)
    known = {name for (name,) in connection.execute("select view_name from duckdb_views()").fetchall()}
    for name in TABLES.keys() - known:
        lines = folder / TABLES[name].lines_folder
        if TABLES[name].partition == "ledger" and any(lines.glob("*.jsonl")):
            files = f"[{quoted(Path(TABLES[name].lines_folder) / '*.jsonl')}]"
            connection.execute(f"create view {name} as {select_lines(TABLES[name], files)}")
            continue
        connection.register("no_rows", TABLES[name].schema.empty_table())
        connection.execute(f"create table {name} as from no_rows")
        connection.unregister("no_rows")


def view_texts(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The statement that creates each view of a database, by name."""
    return dict(connection.execute("select view_name, sql from duckdb_views() where not internal").fetchall())


def narrow_view(connection: duckdb.DuckDBPyConnection, text: str, folder: Path, sae: str, number: int) -> None:
    """Restrict a view, on one connection, to the file that each of its globs has for an SAE's batch or bucket.

    `text` creates the view of the whole table, as it stands in the catalog of the lake in `folder`. To open every
    file of a table for the sake of one feature takes longer than to read it.
    """

    def only(found: re.Match[str]) -> str:
        path = f"{found[1]}/{sae}/{number:05d}.parquet"
        return f", {quoted(path)}" if (folder / path).exists() else ""

    narrowed = re.sub(r", '([^']*)/\*\*/\*\.parquet'", only, text)
    connection.execute(narrowed.replace("CREATE VIEW", "CREATE OR REPLACE TEMP VIEW", 1))


def create_requests_view(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Restrict `llm_requests`, on one connection, to the requests in some of the ledger's files."""
    files = f"[{', '.join(quoted(path) for path in paths)}]"
    select = select_lines(TABLES["llm_requests"], files)
    connection.execute(f"create or replace temp view llm_requests as {select}")
