"""`make sql`: a SQL prompt on a lake's tables, also while the pipeline runs.

A statement ends with a semicolon. `tables;` lists the tables, `quit;` quits. With a statement on the command line
it prints the answer and exits. Instead of a config it accepts a lake's folder or URL.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

from pipeline.config import load_config
from pipeline.errors import sentence_of
from pipeline.lake import open_catalog
from pipeline.lake.remaking import hidden_sentence

_TABLES = "select view_name as table_name, comment from duckdb_views() where not internal order by view_oid"


def answer_statements(path: str, statement: str | None) -> int:
    """Run one statement, or open a prompt; returns the exit code. `path` is a config or a lake."""
    if "://" in path or Path(path).is_dir():
        connection = open_catalog(path)
    else:
        config = load_config(path)
        connection = open_catalog(config.lake_url or config.lake_folder)
        if not config.lake_url and (hidden := hidden_sentence(connection, config.lake_folder)):
            print(hidden, file=sys.stderr)
    if statement:
        return 0 if answer(connection, statement) else 1
    with contextlib.suppress(ImportError):  # line editing, if the platform has it
        import readline  # noqa: F401
    print("latentlake tables; end a statement with ';'. 'tables;' lists them, 'quit;' quits.")
    for statement in statements():
        if statement in {"quit", "exit", ".quit", ".exit"}:
            break
        answer(connection, _TABLES if statement in {"tables", ".tables"} else statement)
    return 0


def statements() -> Iterator[str]:
    """The statements typed, each ended by a semicolon at the end of a line, until the input ends."""
    lines: list[str] = []
    while True:
        try:
            lines.append(input("...> " if lines else "sql> "))
        except KeyboardInterrupt:
            print()
            lines = []
            continue
        except EOFError:
            print()
            return
        if lines[-1].rstrip().endswith(";"):
            text = "\n".join(lines).strip().rstrip(";").strip()
            lines = []
            if text:
                yield text


def answer(connection: duckdb.DuckDBPyConnection, statement: str) -> bool:
    """Print a statement's rows, or its error; True if it worked."""
    try:
        rows = connection.sql(statement)
        if rows is not None:
            rows.show(max_width=shutil.get_terminal_size().columns, max_rows=40)
    except duckdb.Error as error:
        print(f"error: {sentence_of(error) or error}", file=sys.stderr)
        return False
    return True
