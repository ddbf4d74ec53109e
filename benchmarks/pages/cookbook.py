"""`make cookbook`: docs/cookbook.md, the queries in `sql/cookbook/` with answers from a lake.

A query's first comment describes a row and, after a colon, the question that the query answers.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

from benchmarks.pages import DOCS
from pipeline.config import load_config
from pipeline.lake import open_catalog
from pipeline.show.terminal import rows_markdown
from pipeline.tables.sql import SQL_FOLDER

_ROWS = 5


def write_cookbook(path: str) -> None:
    """Write the page with answers from the lake of the config at `path`. Raises LakeError if there is no lake."""
    with open_catalog(load_config(path).lake_folder) as connection:
        page = DOCS / "cookbook.md"
        page.write_text(cookbook_page(connection), encoding="utf-8")
        print(f"written: {page}")


def cookbook_page(connection: duckdb.DuckDBPyConnection) -> str:
    """The page."""
    text = (Path(__file__).parent / "cookbook.txt").read_text(encoding="utf-8")
    questions = "\n\n".join(
        f"### {number}. {question}\n\n```sql\n{query}```\n\n{_answer(connection, query)}"
        for number, (question, query) in enumerate(questions_and_queries(), start=1)
    )
    return text.replace("{n_rows}", str(_ROWS)).replace("{questions}", questions)


def questions_and_queries() -> Iterator[tuple[str, str]]:
    """Each question with the query that answers it, in order."""
    for path in sorted((SQL_FOLDER / "cookbook").glob("*.sql")):
        query = path.read_text(encoding="utf-8")
        comment = " ".join(re.findall(r"^-- (.*)$", query, re.MULTILINE))
        question = comment.partition(": ")[2]
        yield question[0].upper() + question[1:], query


def _answer(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    rows = connection.sql(query).limit(_ROWS).pl()
    if rows.is_empty():
        return "No rows in the demo's lake."
    return rows_markdown(rows.columns, rows.iter_rows(named=True))


if __name__ == "__main__":
    write_cookbook(sys.argv[1])
