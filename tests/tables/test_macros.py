"""Macros: found by the calls in SQL, created where it runs, and part of the version of the rows that use them."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from pipeline.config import load_config
from pipeline.errors import ConfigError
from pipeline.plugins import find_plugin, find_plugins
from pipeline.tables import macros as module
from pipeline.tables import sql
from pipeline.tables.definitions import plugin_versions
from pipeline.tables.inputs import inputs_of, is_made
from pipeline.tables.macros import Macro, create_macros, full_text, macros, macros_called, ready_text
from pipeline.tables.sql import SQL_FOLDER, names_in, sql_files, sql_text
from pipeline.tables.stages import STAGES, own_queries
from pipeline.tables.versions import SourceHashes, Versions

SOURCES = Path(module.__file__).parents[1]
KINDS = ("explainers", "scorers")
OF_PLUGINS = [path for kind in KINDS for plugin in find_plugins(kind).values() for path in own_queries(plugin)]
CONFIG = load_config(SOURCES.parent / "config" / "demo.yaml")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of SQL files in place of the product's; a function writes one."""

    def write(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.sql"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")

    monkeypatch.setattr(sql, "SQL_FOLDER", tmp_path)
    cached = (sql_files, sql_text, names_in, macros, macros_called)
    for function in cached:
        function.cache_clear()
    yield write
    for function in cached:
        function.cache_clear()


def test_each_file_of_the_folder_is_a_macro_and_no_step():
    assert [*macros()] == sorted(path.stem for path in (SQL_FOLDER / "macros").glob("*.sql")) != []
    assert not {*macros()} & {*sql_files()}


def test_no_macro_hides_a_function_of_duckdbs_own():
    own = duckdb.sql("select distinct function_name from duckdb_functions() where internal").fetchall()
    assert not {*macros()} & {name for (name,) in own}


@pytest.mark.parametrize("name", macros())
def test_a_macro_says_what_it_computes_and_takes_no_parameter(name):
    text = macros()[name].text
    assert text.startswith("-- ")
    assert sql.parameters_of(text) == []


@pytest.mark.parametrize("name", macros())
def test_a_macro_is_called_more_than_once(name):
    texts = [*(sql_text(each) for each in [*sql_files(), *OF_PLUGINS]), *(each.text for each in macros().values())]
    code = "\n".join(re.sub(r"--.*", "", text) for text in texts)
    assert len(re.findall(rf"(?<!create macro )\b{name}\(", code)) >= 2


def test_what_a_file_calls_is_found_with_what_its_macros_call_first(folder):
    folder(
        picked="-- One row, not none(1).\nselect outer_one(x) as y, ln(x) as z from tokens where not_one(x)",
        macros__outer_one="-- Doubled.\ncreate macro outer_one(x) as 2 * inner_one(x)",
        macros__inner_one="-- One more.\ncreate macro inner_one(x) as x + 1",
        macros__none="-- Nothing.\ncreate macro none(x) as x",
    )
    assert macros_called("picked") == ("inner_one", "outer_one")
    assert full_text("picked") == (
        "create macro inner_one(x) as x + 1\n"
        "create macro outer_one(x) as 2 * inner_one(x)\n"
        "select outer_one(x) as y, ln(x) as z from tokens where not_one(x)\n"
    )


def test_a_file_that_calls_none_has_the_text_that_it_has(folder):
    folder(picked="select ln(x) from tokens", macros__none="-- Nothing.\ncreate macro none(x) as x")
    assert full_text("picked") == sql_text("picked") + "\n"


def test_macros_are_there_when_a_file_runs_and_are_its_connections_own(folder):
    folder(picked="select twice(21) as y", macros__twice="-- Doubled.\ncreate macro twice(x) as 2 * x")
    with duckdb.connect() as connection:
        cursors = [connection.cursor() for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            found = threads.map(lambda cursor: cursor.sql(ready_text(cursor, "picked")).fetchall(), cursors)
            assert [*found] == [[(42,)]] * 8
        with pytest.raises(duckdb.CatalogException, match="twice"):
            connection.sql("select twice(21)")


def test_a_database_for_people_has_every_macro(tmp_path):
    path = str(tmp_path / "catalog.duckdb")
    with duckdb.connect(path) as connection:
        create_macros(connection)
    with duckdb.connect(path, read_only=True) as connection:
        assert connection.sql("select exact_mean(x) from range(4) as r(x)").fetchall() == [(1.5,)]
        found = connection.sql("select function_name from duckdb_functions() where not internal").fetchall()
    assert {name for (name,) in found} == {*macros()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("create macro other(x) as x", "one macro: create macro odd"),
        ("select 1 as x", "one macro: create macro odd"),
        ("create macro odd(x) as x; create macro more(x) as x", "cannot read the SQL file"),
        ("create macro odd(x) as (select max(token_id) + x from tokens)", "reads 'tokens'"),
        ("create macro odd(x) as x +", "cannot read the SQL file"),
    ],
)
def test_a_file_that_is_not_one_macro_of_its_name_is_named(folder, text, words):
    folder(macros__odd=text)
    with pytest.raises((ValueError, ConfigError), match=f"odd.*{words}|{words}.*odd"):
        macros()


def _with_what_follows(tables: set[str]) -> set[str]:
    changed = {*tables}
    for table in STAGES:
        unwritten = STAGES[table].makes_unwritten if STAGES[table].plugins else ()
        if {*inputs_of(CONFIG, table), *unwritten} & changed:
            changed.add(table)
    return changed


@pytest.mark.parametrize("name", macros())
def test_a_changed_macro_changes_the_versions_of_the_tables_that_use_it_and_of_what_follows(name, monkeypatch):
    """And of no other table."""
    made = [table for table in STAGES if is_made(CONFIG, table)]

    def versions():
        known = Versions(CONFIG, SourceHashes())
        tables = {table: known.of(table) for table in made}
        return tables, [plugin_versions(CONFIG, kind) for kind in KINDS]

    def uses(query):
        return name in macros_called(query)

    users = {table for table in made if any(map(uses, STAGES[table].steps))}
    of_plugins = [
        {each for each in plugin_versions(CONFIG, kind) if any(map(uses, own_queries(find_plugin(kind, each))))}
        for kind in KINDS
    ]
    tables_before, plugins_before = versions()
    changed = {**macros(), name: Macro(macros()[name].text + " + 0\n", macros()[name].names)}
    monkeypatch.setattr(module, "macros", lambda: changed)
    tables_after, plugins_after = versions()

    for users_of_kind, before, after in zip(of_plugins, plugins_before, plugins_after, strict=True):
        assert {each for each in before if before[each] != after[each]} == users_of_kind
    for table, plugins in zip(("explanations", "predictions"), of_plugins, strict=True):
        users |= {table} if plugins else set()
    differing = {table for table in made if tables_before[table] != tables_after[table]}
    assert differing == _with_what_follows(users) & {*made} != set()
