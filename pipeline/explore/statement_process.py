"""One select on a lake, in a process of its own: run as a script, so that only DuckDB is loaded.

It runs in the lake's folder, reads a request as JSON from standard input (statement, n_rows, n_columns,
n_characters, memory_bytes, seconds), and answers as JSON: columns and rows as text, or an error.
Three layers guard against what a stranger may type; each alone stops most of it:

- The system: the process can write no file, its memory and time are limited, and its environment has no keys.
- DuckDB: an in-memory database with the lake's views, without access to files outside the lake, to the network or
  to extensions, and with a locked configuration.
- The statement: a single one, and a select according to DuckDB's own parser, whose CTEs write nothing and which
  calls no table function except those that count and unnest.
"""

import contextlib
import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb

LATE = 3
"""The exit code when the time is up."""

_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree", "duckdb_columns"})
_QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})


class _RefusedError(Exception):
    """A statement that is not run."""


def main() -> None:
    """Answer the request from standard input."""
    request = json.load(sys.stdin)
    _limit(request["memory_bytes"])
    # Not by an interrupt: some functions of DuckDB do not check for one.
    clock = threading.Timer(request["seconds"], os._exit, [LATE])
    clock.daemon = True
    clock.start()
    json.dump(answered(request), sys.stdout)


def answered(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request about the lake in the working directory, or an error."""
    try:
        return _answer(request)
    except (_RefusedError, duckdb.Error, MemoryError) as error:
        words = str(error) or "it needs more memory than a statement may use"
        return {"error": words.partition("\nDatabase is launched")[0].partition("\n* ")[0]}


def _limit(memory_bytes: int) -> None:
    """Let the system limit the process: no file can grow, so none is written; memory is bounded."""
    limits = (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, bound in limits:
        with contextlib.suppress(ValueError, OSError):  # macOS cannot limit the address space
            resource.setrlimit(kind, (bound, bound))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    with duckdb.connect(config={"threads": 2, "memory_limit": f"{request['memory_bytes'] // 3}B"}) as connection:
        connection.execute("set temp_directory = ''")
        connection.execute("attach 'catalog.duckdb' as lake (read_only)")
        connection.execute("copy from database lake to memory (schema)")
        connection.execute("detach lake")
        _check(connection, request["statement"])
        here = str(Path.cwd()).replace("'", "''")
        connection.execute(f"set allowed_directories = ['{here}/']")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        relation = connection.sql(request["statement"])
        names, kinds = relation.columns[: request["n_columns"]], relation.types
        rows = relation.limit(request["n_rows"] + 1).fetchall()
    longest = request["n_characters"]
    return {
        "columns": names,
        "is_number": [kind.id in _NUMBERS for kind in kinds[: len(names)]],
        "n_columns": len(kinds),
        "rows": [[_text(value, longest) for value in row[: len(names)]] for row in rows[: request["n_rows"]]],
        "is_cut": len(rows) > request["n_rows"],
    }


_NUMBERS = frozenset(
    {"tinyint", "smallint", "integer", "bigint", "hugeint", "float", "double", "decimal"}
    | {"utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"}
)


def _check(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Raise _RefusedError unless the text is one select that only reads."""
    found = connection.extract_statements(statement)
    if len(found) != 1:
        raise _RefusedError(f"only one statement at a time can be run here; these are {len(found)}")
    [(parsed,)] = connection.execute("select json_serialize_sql($text)", {"text": statement}).fetchall()
    tree = json.loads(parsed, object_hook=_read_only)
    if tree["error"] or found[0].type is not duckdb.StatementType.SELECT:
        raise _RefusedError("only a select can be run here, nothing that writes, sets, attaches or installs")


def _read_only(node: dict[str, Any]) -> dict[str, Any]:
    """A node of a parsed statement, unchanged. Raises _RefusedError if it writes, or calls what may write."""
    if "cte_map" in node and node["type"] not in _QUERIES:
        raise _RefusedError("only a select can be run here, and its 'with' must not write")
    if node.get("type") == "TABLE_FUNCTION" and node["function"]["function_name"] not in _TABLE_FUNCTIONS:
        name = node["function"]["function_name"]
        raise _RefusedError(f"the table function '{name}' cannot be used here, only the lake's tables")
    return node


def _text(value: Any, longest: int) -> str | None:
    """A value as text, shortened; None for null."""
    if value is None:
        return None
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


if __name__ == "__main__":
    main()
