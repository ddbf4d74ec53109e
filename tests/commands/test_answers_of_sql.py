"""`latentlake sql`: what a terminal shows, and what a file or a pipe receives."""

import csv
import io
import os

import duckdb
import pytest

from assets.command import run_command
from pipeline.commands import sql
from pipeline.commands.sql import answer

WIDE = "select " + ", ".join(f"{number} as number_{number}" for number in range(20)) + " from range(100)"


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def test_a_pipe_receives_every_row_and_column(
    connection: duckdb.DuckDBPyConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(connection, WIDE)
    said = capsys.readouterr().out
    assert all(f"number_{number} " in said for number in range(20))
    assert sum(line.startswith("│ ") and " 0 │" in line for line in said.splitlines()) == 100


def test_a_terminal_receives_what_it_has_room_for(
    connection: duckdb.DuckDBPyConnection, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql.sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sql.shutil, "get_terminal_size", lambda: os.terminal_size((100, 30)))
    assert answer(connection, WIDE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 60 and max(map(len, lines)) <= 100


def test_csv_has_every_value_as_duckdb_spells_it(
    connection: duckdb.DuckDBPyConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    values = """
        select 1 as a, 2 as a, null as missing, '' as empty, true as flag, [1, null] as list,
            {'b': 'x"'} as struct, 'one, "two"' || chr(10) || 'three' as text,
            sum(range) as total, 0.1::double as share
        from range(3)
        union all
        select 3, 4, null, 'b', false, null, null, 'é', 5, 1e-7
    """
    assert answer(connection, values, as_csv=True)
    said = capsys.readouterr().out
    rows = list(csv.reader(io.StringIO(said)))
    assert rows == [
        ["a", "a", "missing", "empty", "flag", "list", "struct", "text", "total", "share"],
        ["1", "2", "", "", "true", "[1,null]", '{"b":"x\\""}', 'one, "two"\nthree', "3", "0.1"],
        ["3", "4", "", "b", "false", "", "", "é", "5", "1e-07"],
    ]
    assert answer(connection, "from range(5000)", as_csv=True)
    assert len(capsys.readouterr().out.splitlines()) == 5001
    assert not answer(connection, "select nothing", as_csv=True)
    assert capsys.readouterr().err.startswith("error: ")


def test_csv_needs_a_statement(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["sql", "config/demo.yaml", "--csv"]) == 2
    assert capsys.readouterr().err.startswith("error: --csv needs a statement")
