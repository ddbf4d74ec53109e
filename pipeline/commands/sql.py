"""`make sql`: a SQL prompt on a lake's tables, also while the pipeline runs.

A statement ends with a semicolon. `tables;` lists the tables, `quit;` quits. With a statement on the command line
it prints the answer and exits. Instead of a config it accepts a lake's folder or URL.

A terminal shows at most 40 rows, as wide as it is. A file or a pipe receives all rows and columns, with `--csv` as
CSV.
"""

import contextlib
import csv
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

from pipeline.config import load_config
from pipeline.errors import ConfigError, sentence_of
from pipeline.exports.csv import NESTED
from pipeline.lake import open_catalog
from pipeline.lake.remaking import hidden_sentence

_TABLES = "select view_name as table_name, comment from duckdb_views() where not internal order by view_oid"
_TERMINAL_ROWS = 40
_UNLIMITED = 1 << 30
_ROWS_AT_ONCE = 1024


def answer_statements(path: str, statement: str | None, *, as_csv: bool = False) -> int:
    """Run one statement, or open a prompt; returns the exit code.

    Args:
        path: A config or a lake.
        statement: The statement; None opens the prompt.
        as_csv: Print the answer as CSV.

    Raises ConfigError for CSV without a statement.
    """
    if as_csv and not statement:
        raise ConfigError('--csv needs a statement: latentlake sql CONFIG "from saes" --csv')
    if "://" in path or Path(path).is_dir():
        connection = open_catalog(path)
    else:
        config = load_config(path)
        connection = open_catalog(config.lake_url or config.lake_folder)
        if not config.lake_url and (hidden := hidden_sentence(connection, config.lake_folder)):
            print(hidden, file=sys.stderr)
    if statement:
        return 0 if answer(connection, statement, as_csv=as_csv) else 1
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


def answer(connection: duckdb.DuckDBPyConnection, statement: str, *, as_csv: bool = False) -> bool:
    """Print a statement's rows, or its error; True if it worked."""
    try:
        rows = connection.sql(statement)
        if rows is not None and as_csv:
            _print_csv(rows)
        elif rows is not None and sys.stdout.isatty():
            rows.show(max_width=shutil.get_terminal_size().columns, max_rows=_TERMINAL_ROWS)
        elif rows is not None:
            rows.show(max_width=_UNLIMITED, max_rows=_UNLIMITED)
    except duckdb.Error as error:
        print(f"error: {sentence_of(error) or error}", file=sys.stderr)
        return False
    return True


def _print_csv(rows: duckdb.DuckDBPyRelation) -> None:
    """Print rows as CSV with a header line, some at a time; lists and structs as JSON."""
    texts = ", ".join(
        f"to_json(#{number})" if kind.id in NESTED else f"#{number}::varchar"
        for number, kind in enumerate(rows.types, start=1)
    )
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows.columns)
    for batch in rows.project(texts).to_arrow_reader(_ROWS_AT_ONCE):
        writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
