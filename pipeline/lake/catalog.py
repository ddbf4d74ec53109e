"""Opening the catalog of a lake: its views on a connection, wherever the lake is now."""

import glob
import re
from collections.abc import Callable, Iterator, Sequence
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

    Raises LakeError if there is no catalog yet.
    """
    if "://" in str(location):
        return _opened_in_place(str(location))
    folder = Path(location)
    connection = _opened(folder)
    if statements := _put_right(connection, *_reachable_by(folder)):
        connection.close()
        connection = duckdb.connect()
    look_below(connection, folder)
    return _made_by(statements, connection)


def views_from_inside(folder: Path) -> list[str]:
    """Statements that make the catalog's views by relative paths, for a process running in that folder.

    Empty if the catalog's views are so already. Raises LakeError if there is no lake yet.
    """
    with _opened(folder) as connection:
        return _put_right(connection, "")


def _opened(folder: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(_catalog_of(folder / CATALOG_FILE, folder)), read_only=True)


def _reachable_by(folder: Path) -> list[str]:
    """Prefixes under which a lake's paths can be found: none, if DuckDB can search its folder; or the folder."""
    here = str(folder.absolute())
    absolute = quoted(glob.escape(here))[1:-1] + "/"
    return [absolute] if "," in here else ["", absolute]


def _put_right(connection: duckdb.DuckDBPyConnection, *here: str) -> list[str]:
    """Statements that make a catalog's views with the first prefix of `here` before the lake's paths.

    Empty if one of the prefixes is there already.
    """
    there = _paths_begin_with(connection)
    if there in here:
        return []

    def put_right(name: str, text: str) -> str:
        below = TABLES[name].lines_folder or name
        return text.replace(f"'{there}{below}/", f"'{here[0]}{below}/")

    return _statements(connection, put_right)


def _opened_in_place(url: str) -> duckdb.DuckDBPyConnection:
    """A connection that reads the last version of everything at a URL."""
    moved = duckdb.connect()
    lake = InPlace(url)
    lake.seen_by(moved)
    with TemporaryDirectory() as folder:
        catalog = _catalog_of(lake.catalog(CATALOG_FILE, Path(folder)), url)
        with duckdb.connect(str(catalog), read_only=True) as connection:
            before = _paths_begin_with(connection)
            statements = _statements(connection, lambda _, text: lake.view(text, before))
    return _made_by(statements, moved)


def _catalog_of(path: Path, location: Path | str) -> Path:
    if not path.is_file():
        raise LakeError(f"no lake at '{location}': it has no {CATALOG_FILE}; 'make run' creates it")
    return path


def _paths_begin_with(connection: duckdb.DuckDBPyConnection) -> str:
    """The prefix of the lake's paths in a catalog's views: empty, or the folder where the lake was made."""
    [(text,)] = connection.execute("select sql from duckdb_views() where view_name = 'saes'").fetchall()
    found = re.search(r"'((?:[^']|'')*)saes/", text)
    return found[1] if found else ""


def _statements(connection: duckdb.DuckDBPyConnection, put_right: Callable[[str, str], str]) -> list[str]:
    """Statements that make a catalog's context_length() and views, with corrected paths."""
    lengths = "select macro_definition from duckdb_functions() where function_name = 'context_length'"
    views = "select view_name, sql, comment from duckdb_views() where not internal order by view_oid"
    made = [f"create macro context_length() as {length}" for (length,) in connection.execute(lengths).fetchall()]
    for name, text, comment in connection.execute(views).fetchall():
        made += [put_right(name, text), f"comment on view {name} is {quoted(comment)}"]
    return made


def _made_by(statements: Sequence[str], connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Run statements on a connection, if there are any, after creating this program's macros; the connection."""
    if statements:
        create_macros(connection)
    for statement in statements:
        connection.execute(statement)
    return connection


def copy_views(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Give a database in memory the views of the lake in a folder, without keeping its catalog open.

    For a lake of an earlier version: a table that the catalog lacks is empty, or, if it consists of lines, is read
    from these, and so are lines for which the view lacks a column. Raises LakeError if there is no lake yet.
    """
    with _opened(folder) as catalog:
        statements = _put_right(catalog, *_reachable_by(folder))
    look_below(connection, folder)
    _made_by(statements, connection)
    if not statements:
        connection.execute(f"attach {quoted(folder / CATALOG_FILE)} as lake (read_only)")
        connection.execute("copy from database lake to memory (schema)")
        connection.execute("detach lake")
    known = view_texts(connection)
    for name, table in TABLES.items():
        is_of_lines = table.partition == "ledger"
        named = set(re.findall(r"\w+", known.get(name, "")))
        if name in known and not (is_of_lines and set(table.schema.names) - named):
            continue
        connection.execute(f"drop view if exists {name}")
        lines = folder / table.lines_folder
        if is_of_lines and any(lines.glob("**/*.jsonl")):
            files = f"[{quoted(glob.escape(str(lines.absolute())) + '/**/*.jsonl')}]"
            connection.execute(f"create view {name} as {select_lines(table, files)}")
            continue
        connection.register("no_rows", table.schema.empty_table())
        connection.execute(f"create table {name} as from no_rows")
        connection.unregister("no_rows")


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
        own = re.sub(r"\[([*?[])\]", r"\1", path)  # undo glob.escape of absolute paths
        return f", {quoted(path)}" if (folder / own).exists() else ""

    narrowed = re.sub(r", '([^']*)/\*\*/\*\.parquet'", only, text)
    connection.execute(narrowed.replace("CREATE VIEW", "CREATE OR REPLACE TEMP VIEW", 1))


def create_requests_view(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Restrict `llm_requests`, on one connection, to some of the ledger's files."""
    files = f"[{', '.join(quoted(path) for path in paths)}]"
    select = select_lines(TABLES["llm_requests"], files)
    connection.execute(f"create or replace temp view llm_requests as {select}")
