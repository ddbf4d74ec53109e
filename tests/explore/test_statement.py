"""The SQL box: what it answers, and what a stranger's statement cannot do."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipeline.explore.statement import ROWS, SCRIPT, Result, answer, examples, features_of
from pipeline.explore.statement_process import answered


@pytest.fixture(scope="module")
def lake(made: Path) -> Path:
    return made / "lake" / "synthetic"


def asked(statement: str) -> dict[str, Any]:
    """What the process is given."""
    sizes = {"n_rows": 5, "n_columns": 5, "n_characters": 50, "memory_bytes": 3 << 30, "seconds": 20}
    return {"statement": statement, **sizes}


def test_a_select_is_answered_in_its_order_and_cut(lake: Path) -> None:
    result = answer(lake, "from range(2000) as numbers (number) order by number desc")
    assert (result.columns, result.rows[0], len(result.rows), result.is_cut) == (["number"], ["1999"], ROWS, True)
    assert result.is_number == [True]


@pytest.mark.parametrize(
    "statement",
    [
        *("from saes", "describe feature_stats", "show tables", "summarize saes", "-- a comment\nfrom saes"),
        "with one as (select 1 as a) select * from one;",
    ],
)
def test_reading_is_allowed(lake: Path, statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lake)
    assert answered(asked(statement))["rows"]


@pytest.mark.parametrize(
    ("columns", "row", "saes", "found"),
    [
        ("sae feature route", ("a", "7", "llm"), ("a", "b"), ("a", 7)),
        ("feature n", ("7", "1"), ("a",), ("a", 7)),
        ("feature n", ("7", "1"), ("a", "b"), None),
        ("sae n", ("a", "1"), ("a",), None),
        ("sae feature", ("javascript:", "7"), ("a",), None),
        ("sae feature", (None, "7"), ("a",), None),
        *(("feature", (odd,), ("a",), None) for odd in (None, "-1", "7.5", "x", "9" * 5000)),
    ],
)
def test_a_row_leads_to_the_feature_that_it_names(
    columns: str, row: tuple[str | None, ...], saes: tuple[str, ...], found: tuple[str, int] | None
) -> None:
    assert features_of(Result(columns.split(), rows=[row]), saes) == [found]


def test_an_answer_links_features(browser: TestClient) -> None:
    page = browser.get("/sql?q=select+sae,+feature,+density+from+feature_stats+where+feature+=+3").text
    assert page.count('<td class="n"><a href="/features/synthetic/3">3</a></td>') == 1


def test_every_example_is_answered(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lake)
    for words, statement in examples():
        assert words and "rows" in answered(asked(statement)), words


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to 'stolen.csv'",
        "copy saes to 'saes'",
        "with written as (copy (select 1) to 'stolen.csv') from written",
        "with gone as (delete from saes returning *) from gone",
        "attach 'stolen.duckdb' as stolen",
        "from read_csv('/etc/passwd')",
        "from '/etc/passwd'",
        "from read_text('/etc/passwd')",
        "from read_text('../../synthetic.yaml')",
        "from '../../synthetic.yaml'",
        "from glob('/*')",
        "from read_parquet('https://example.com/x.parquet')",
        "from 'https://example.com/x.csv'",
        "from 's3://bucket/x.parquet'",
        "install httpfs",
        "load httpfs",
        "pragma database_list",
        "set memory_limit = '100GB'",
        "reset all",
        "set enable_external_access = true",
        "call enable_logging()",
        "from query('select 1')",
        "from query_table('saes')",
        "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
        "from duckdb_secrets()",
        "from which_secret('s3://a', 's3')",
        "select getenv('HOME')",
        "create table mine as select 1",
        "create temp table mine as select 1",
        "insert into saes select * from saes",
        "drop view saes",
        "export database 'stolen'",
        "use memory",
        "prepare mine as select 1",
        "checkpoint",
        "explain analyze select 1",
        "select 1; select 2",
        "",
        "-- nothing",
        "not sql at all",
    ],
)
def test_what_is_no_reading_of_the_lake_is_refused(
    lake: Path, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lake)  # as in the process of its own, but for the bounds of the system
    before = sorted(lake.rglob("*"))
    result = answered(asked(statement))
    assert set(result) == {"error"} and result["error"]
    assert "root:" not in result["error"]
    assert sorted(lake.rglob("*")) == before


def test_files_outside_the_lake_are_out_of_reach_though_a_statement_were_let_through(lake: Path) -> None:
    """The bounds of DuckDB and of the system hold without the check of the statement."""
    script = SCRIPT.read_text(encoding="utf-8")
    unchecked = script.replace('        _check(connection, request["statement"])\n', "")
    assert unchecked != script
    for statement, error in (
        ("from read_csv('/etc/passwd')", "disabled by configuration"),
        ("from read_text('../../synthetic.yaml')", "disabled by configuration"),
        ("with written as (copy (select 1) to 'stolen.csv') from written", ""),
        ("from read_parquet('https://example.com/x.parquet')", "disabled by configuration"),
    ):
        done = subprocess.run(
            [sys.executable, "-I", "-c", unchecked],
            input=json.dumps(asked(statement)),
            capture_output=True,
            text=True,
            cwd=lake,
            env={},
            check=False,
        )
        assert done.returncode != 0 or error in json.loads(done.stdout)["error"]
        assert not (lake / "stolen.csv").exists() or (lake / "stolen.csv").stat().st_size == 0


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from range(100000000) as one, range(100000000) as other",
        "with recursive endless as (select 1 as n union all select n + 1 from endless) select max(n) from endless",
    ],
)
def test_what_takes_too_long_is_ended(lake: Path, statement: str) -> None:
    assert answer(lake, statement, seconds=1).error


def test_what_takes_too_much_memory_is_ended(lake: Path) -> None:
    assert answer(lake, "select repeat('x', 4000000000)").error


def test_environment_and_credentials_are_not_there(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert answer(lake, "from read_text('/proc/self/environ')").error
    assert "secret" not in str(answer(lake, "from duckdb_settings()"))


def test_a_statement_of_another_site_is_shown_and_not_run(browser: TestClient) -> None:
    address = "/sql?q=select+6*7+as+answer"
    assert ">42<" in browser.get(address).text
    page = browser.get(address, headers={"sec-fetch-site": "cross-site"}).text
    assert "press Run" in page and ">42<" not in page and "select 6*7 as answer" in page


def test_an_answer_is_text(browser: TestClient) -> None:
    page = browser.get("/sql", params={"q": "select '<b>' || chr(27) || chr(8238) as odd"}).text
    assert r"&lt;b&gt;<i>\x1b\u202e</i>" in page
