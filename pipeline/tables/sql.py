"""The SQL files: their texts, their parameters, and what each reads, which decides what runs before it.

A name that a file reads is a declared table, an input; or another SQL file, a step that runs before it; or a
relation that code hands in (`given`). DuckDB's own parser finds the names; it is imported at first use. Functions
of our own that a file calls are `macros`.
"""

import json
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from pipeline.config import Config
from pipeline.shipped import SHIPPED_FOLDER
from pipeline.tables import TABLES
from pipeline.uncommented import sql_code

if TYPE_CHECKING:
    import duckdb

SQL_FOLDER = SHIPPED_FOLDER / "sql"

MACROS = "macros"
"""The folder of `SQL_FOLDER` whose files are no selects."""


class Names(NamedTuple):
    """What a select names: what it reads and does not define itself, in the order of its text; what it calls."""

    relations: tuple[str, ...]
    functions: tuple[str, ...]


@cache
def sql_files() -> dict[str, Path]:
    """The SQL files by name: the stem, which is one over all folders; `checks/` and `figures/` stand before
    theirs.

    Raises ValueError if two files have one name.
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
    """The text of a SQL file, by its name in `sql_files` or by its path."""
    path = name if isinstance(name, Path) else sql_files()[name]
    return path.read_text(encoding="utf-8")


def parameters_of(text: str) -> list[str]:
    """The names after `$` in a SQL text, comments left out, sorted."""
    return sorted(set(re.findall(r"\$([a-z_][a-z0-9_]*)", sql_code(text))))


def config_value(config: Config, parameter: str) -> Any:
    """The value of the SQL parameter `<section>_<key>`, `<section>_<plug-in>_<key>` or `seed`.

    Raises KeyError for any other name.
    """
    values = [config.seed] if parameter == "seed" else list(_values_named(config, parameter))
    if not values:
        raise KeyError(f"SQL parameter ${parameter} is not a key of the config")
    return list(values[0]) if isinstance(values[0], tuple) else values[0]


def _values_named(section: BaseModel, name: str) -> Iterator[Any]:
    """What `<key>_<rest>` names in the sections within a section: a key or property there, or in turn within."""
    for key in type(section).model_fields:
        inner, rest = getattr(section, key), name.removeprefix(f"{key}_")
        if isinstance(inner, BaseModel) and rest != name:
            value = getattr(inner, rest, None)
            if hasattr(inner, rest) and not isinstance(value, BaseModel) and not callable(value):
                yield value
            yield from _values_named(inner, rest)


@cache
def relations_read(name: str | Path) -> tuple[str, ...]:
    """The tables, SQL files and given relations that a SQL file names, in the order of its text.

    What it defines itself, in its `with`, is left out. Raises ValueError if it is no select that DuckDB can read.
    """
    return names_in(name).relations


@cache
def names_in(name: str | Path) -> Names:
    """What a SQL file names. Raises ValueError if it is no select that DuckDB can read."""
    return names_in_text(sql_text(name), str(name))


def names_in_text(text: str, name: str) -> Names:
    """What a select names. Raises ValueError, with the `name` of its file, if DuckDB cannot read it."""
    with _parser().cursor() as cursor:  # one thread at a time may use a connection; pages are made in several
        ((parsed,),) = cursor.execute("select json_serialize_sql($text)", {"text": text}).fetchall()
    tree = json.loads(parsed)
    if tree["error"]:
        raise ValueError(f"DuckDB cannot read the SQL file '{name}': {tree['error_message']}")
    nodes = list(_nodes(tree))
    own = {cte["key"] for node in nodes if "cte_map" in node for cte in node["cte_map"]["map"]}
    read = sorted((node for node in nodes if node.get("type") == "BASE_TABLE"), key=lambda n: n["query_location"])
    return Names(
        tuple(dict.fromkeys(node["table_name"] for node in read if node["table_name"] not in own)),
        tuple(dict.fromkeys(node["function_name"] for node in nodes if "function_name" in node)),
    )


def steps_of(*names: str | Path, given: Collection[str] = ()) -> tuple[str | Path, ...]:
    """The SQL files to run for the rows of some, each after those that it reads; each of `names` after its own.

    `given` are relations that code hands in; what is given needs no step.

    Raises ValueError if a file reads what is no table, no SQL file and not given, or reads itself in a circle.
    """
    steps: dict[str | Path, None] = {}

    def visit(name: str | Path, readers: tuple[str | Path, ...]) -> None:
        if name in readers:
            raise ValueError(f"SQL files read each other in a circle: {' <- '.join(map(str, (*readers, name)))}")
        for read in relations_read(name):
            if read in given or read in TABLES or read in steps:
                continue
            if read not in sql_files():
                raise ValueError(f"'{name}.sql' reads '{read}', which is no table, no SQL file and not given")
            visit(read, (*readers, name))
        steps[name] = None

    for name in names:
        if name not in steps:
            visit(name, ())
    return tuple(steps)


def tables_read(*names: str | Path, given: Collection[str] = ()) -> tuple[str, ...]:
    """The tables that some SQL files and the steps before them read, in the order of the data's way."""
    read = {relation for step in steps_of(*names, given=given) for relation in relations_read(step)}
    return tuple(table for table in TABLES if table in read - set(given))


@cache
def _parser() -> "duckdb.DuckDBPyConnection":
    """A DuckDB that only parses; to open one takes longer than to read a file."""
    import duckdb

    return duckdb.connect(config={"threads": 1})


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a parsed statement."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)
