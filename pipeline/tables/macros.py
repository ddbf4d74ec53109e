"""Formulas shared by SQL files: the macros of `sql/macros/`, called like any function.

A file there holds one macro, named like the file, with a comment on what it computes:

    -- The sum of x, the same in any order of the rows.
    create macro exact_sum(x) as sum(x::decimal(38, 15))::double

DuckDB expands a macro at its call. The macros that a SQL file calls are found in its text, like the relations that
it reads: they exist when it runs (`ready_text`), and are part of the version of its rows (`full_text`).
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.tables import sql
from pipeline.tables.sql import MACROS, Names, names_in, names_in_text, sql_text
from pipeline.uncommented import sql_code

if TYPE_CHECKING:
    import duckdb


class Macro(NamedTuple):
    """A file of `sql/macros/`.

    Attributes:
        text: The whole file.
        names: The names in its expression; a macro may call others.
    """

    text: str
    names: Names

    def create(self, how: str) -> str:
        """The statement that creates it; `how` precedes the word `macro`: `create temp`."""
        return re.sub(r"^create (?=macro\b)", f"{how} ", self.text, flags=re.MULTILINE)


@cache
def macros() -> dict[str, Macro]:
    """The macros by name.

    Raises ValueError if a file is not one macro of its own name, or reads a table.
    """
    return {path.stem: _macro(path) for path in sorted((sql.SQL_FOLDER / MACROS).glob("*.sql"))}


def _macro(path: Path) -> Macro:
    text = sql_text(path)
    code = sql_code(text).strip()
    found = re.fullmatch(r"create macro (\w+)\([\w, ]*\) as\s(.*)", code, flags=re.DOTALL)
    if found is None or found[1] != path.stem:
        raise ValueError(f"'{path}' must hold one macro: create macro {path.stem}(...) as ...")
    names = names_in_text(f"select {found[2]}", str(path))
    if names.relations:
        raise ValueError(f"'{path}' reads '{names.relations[0]}'; a macro may only use its arguments")
    return Macro(text, names)


@cache
def macros_called(name: str | Path) -> tuple[str, ...]:
    """The macros that a SQL file calls, directly or through others, each after those that it calls."""
    return tuple(dict.fromkeys(_with_inner(names_in(name).functions)))


def _with_inner(functions: Iterable[str]) -> Iterator[str]:
    """The macros among some functions, each after those that it calls."""
    for name in functions:
        if name in macros():
            yield from _with_inner(macros()[name].names.functions)
            yield name


def full_text(name: str | Path) -> str:
    """The text of a SQL file after those of the macros that it calls, without comments: what decides its rows."""
    texts = [*(macros()[each].text for each in macros_called(name)), sql_text(name)]
    return "".join(map(sql_code, texts))


def ready_text(connection: "duckdb.DuckDBPyConnection", name: str | Path) -> str:
    """The text of a SQL file, after creating the macros that it calls on a connection.

    They are temporary, the connection's own, so threads do not interfere.
    """
    for each in macros_called(name):
        connection.execute(macros()[each].create("create or replace temp"))
    return sql_text(name)


def create_macros(connection: "duckdb.DuckDBPyConnection") -> None:
    """Create every macro in a connection's database, for people's own queries."""
    for name in dict.fromkeys(_with_inner(macros())):
        connection.execute(macros()[name].text)
