"""The SQL files: their texts, their parameters, and the relations that each reads, which decide what runs before
it.

A relation that a file reads is a declared table (an input), another SQL file (a step that runs before it), or
given by code (`given`). DuckDB's parser finds the names; it is imported on first use. Our own functions are in
`macros`.
"""

import json
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from pipeline.config import Config
from pipeline.errors import ConfigError, nearest
from pipeline.plugins import text_of
from pipeline.shipped import SHIPPED_FOLDER
from pipeline.tables import TABLES
from pipeline.uncommented import sql_code

if TYPE_CHECKING:
    import duckdb

SQL_FOLDER = SHIPPED_FOLDER / "sql"

MACROS = "macros"
"""The folder of `SQL_FOLDER` whose files are not selects."""


class Names(NamedTuple):
    """The relations that a select reads and does not define itself, in text order, and the functions it calls."""

    relations: tuple[str, ...]
    functions: tuple[str, ...]


@cache
def sql_files() -> dict[str, Path]:
    """The SQL files by name: the stem, unique over all folders; with the prefix `checks/` or `figures/` in these.

    Raises ValueError if two files have the same name.
    """
    files: dict[str, Path] = {}
    for path in sorted(SQL_FOLDER.rglob("*.sql")):
        folder = path.parent.name
        if folder == MACROS:
            continue
        name = f"{folder}/{path.stem}" if folder in {"checks", "figures"} else path.stem
        if name in files:
            raise ValueError(f"two SQL files are named '{name}': {files[name]} and {path}; rename one of them")
        files[name] = path
    return files


@cache
def sql_text(name: str | Path) -> str:
    """The text of a SQL file, by its name in `sql_files` or by its path. Raises ConfigError if there is none."""
    return text_of(name if isinstance(name, Path) else sql_files()[name])


def parameters_of(text: str) -> list[str]:
    """The names after `$` in a SQL text, without comments, sorted."""
    return sorted(set(re.findall(r"\$([a-z_][a-z0-9_]*)", sql_code(text))))


def config_value(config: Config, parameter: str) -> Any:
    """The value of the SQL parameter `<section>_<key>`, `<section>_<plug-in>_<key>` or `seed`.

    Raises ConfigError for any other name.
    """
    values = [config.seed] if parameter == "seed" else list(_values_named(config, parameter))
    if not values:
        raise ConfigError(f"SQL parameter ${parameter} is not a key of the config")
    return list(values[0]) if isinstance(values[0], tuple) else values[0]


def _values_named(section: BaseModel, name: str) -> Iterator[Any]:
    """The value of `<key>_<rest>` in a section: a key or property `<rest>` of its section `<key>`, recursively."""
    for key in type(section).model_fields:
        inner, rest = getattr(section, key), name.removeprefix(f"{key}_")
        if isinstance(inner, BaseModel) and rest != name:
            value = getattr(inner, rest, None)
            if hasattr(inner, rest) and not isinstance(value, BaseModel) and not callable(value):
                yield value
            yield from _values_named(inner, rest)


@cache
def relations_read(name: str | Path) -> tuple[str, ...]:
    """The tables, SQL files and given relations that a SQL file reads, in text order.

    Those that it defines in its `with` are left out. Raises ConfigError if it is not a select that DuckDB can
    parse.
    """
    return names_in(name).relations


@cache
def names_in(name: str | Path) -> Names:
    """The names in a SQL file. Raises ConfigError if it is not a select that DuckDB can parse."""
    return names_in_text(sql_text(name), str(name))


def names_in_text(text: str, name: str) -> Names:
    """The names in a select. Raises ConfigError, with the `name` of its file, if DuckDB cannot parse it."""
    with _parser().cursor() as cursor:  # a connection is for one thread at a time, and pages are made in several
        ((parsed,),) = cursor.execute("select json_serialize_sql($text)", {"text": text}).fetchall()
    tree = json.loads(parsed)
    if tree["error"]:
        raise ConfigError(f"DuckDB cannot read the SQL file '{name}': {tree['error_message']}")
    nodes = list(_nodes(tree))
    own = {cte["key"] for node in nodes if "cte_map" in node for cte in node["cte_map"]["map"]}
    read = sorted((node for node in nodes if node.get("type") == "BASE_TABLE"), key=lambda n: n["query_location"])
    return Names(
        tuple(dict.fromkeys(node["table_name"] for node in read if node["table_name"] not in own)),
        tuple(dict.fromkeys(node["function_name"] for node in nodes if "function_name" in node)),
    )


def steps_of(*names: str | Path, given: Collection[str] = ()) -> tuple[str | Path, ...]:
    """The SQL files to run for some, in order: each after those that it reads.

    `given` are relations that code provides; they need no step.

    Raises ConfigError if a file reads an unknown relation, or itself in a circle.
    """
    steps: dict[str | Path, None] = {}

    def visit(name: str | Path, readers: tuple[str | Path, ...]) -> None:
        if name in readers:
            raise ConfigError(f"SQL files read each other in a circle: {' <- '.join(map(str, (*readers, name)))}")
        for read in relations_read(name):
            if read in given or read in TABLES or read in steps:
                continue
            if read not in sql_files():
                known = nearest(read, {**dict.fromkeys(given), **TABLES, **sql_files()})
                file = name if isinstance(name, Path) else f"{name}.sql"
                raise ConfigError(f"'{file}' reads '{read}', which is not a table or a SQL file; nearest: {known}")
            visit(read, (*readers, name))
        steps[name] = None

    for name in names:
        if name not in steps:
            visit(name, ())
    return tuple(steps)


def tables_read(*names: str | Path, given: Collection[str] = ()) -> tuple[str, ...]:
    """The tables that some SQL files and the steps before them read, in the order of the data flow."""
    read = {relation for step in steps_of(*names, given=given) for relation in relations_read(step)}
    return tuple(table for table in TABLES if table in read - set(given))


@cache
def _parser() -> "duckdb.DuckDBPyConnection":
    """A DuckDB that only parses, kept open: opening one takes longer than parsing a file."""
    import duckdb

    return duckdb.connect(config={"threads": 1})


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a parsed statement."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)
