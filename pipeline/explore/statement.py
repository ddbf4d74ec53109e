"""The SQL box: one select statement of a reader, in a process with a time limit."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.explore.statement_process import LATE
from pipeline.tables.sql import SQL_FOLDER

SECONDS = 10
"""How long a statement may run."""

ROWS = 500
MOST_CHARACTERS = 20_000
_COLUMNS, _CELL_CHARACTERS = 60, 300
_MEMORY_BYTES = 3 << 30
_START_SECONDS = 30
"""How long the process may take to start, on a busy machine."""
_AT_ONCE = threading.BoundedSemaphore(2)
SCRIPT = Path(__file__).with_name("statement_process.py")

_EXAMPLES = SQL_FOLDER / "explore" / "examples"
"""Statements to start from, a file each."""


class Result(NamedTuple):
    """The result of a statement: at most `ROWS` rows as text, or an error."""

    columns: Sequence[str] = ()
    is_number: Sequence[bool] = ()
    rows: Sequence[Sequence[str | None]] = ()
    n_columns: int = 0
    is_cut: bool = False
    seconds: float = 0.0
    error: str = ""


def answer(folder: Path, statement: str, seconds: float = SECONDS) -> Result:
    """Run one select on the lake in a folder; an error is part of the result and not raised."""
    if not (folder / "catalog.duckdb").is_file():
        return Result(error=f"there is no lake at '{folder}' yet; 'make run' makes it")
    if len(statement) > MOST_CHARACTERS:
        return Result(error=f"the statement is longer than {MOST_CHARACTERS:,} characters")
    if not _AT_ONCE.acquire(timeout=1):
        return Result(error="two statements are running already; try again in a moment")
    began, late = time.monotonic(), f"stopped: it took longer than {seconds:g} seconds"
    try:
        done = subprocess.run(
            # -I: neither the working directory nor the environment decides what is imported.
            [sys.executable, "-I", str(SCRIPT)],
            input=json.dumps(
                {
                    "statement": statement,
                    "n_rows": ROWS,
                    "n_columns": _COLUMNS,
                    "n_characters": _CELL_CHARACTERS,
                    "memory_bytes": _MEMORY_BYTES,
                    "seconds": seconds,
                }
            ),
            capture_output=True,
            text=True,
            timeout=seconds + _START_SECONDS,
            cwd=folder,
            env={},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(error=late)
    finally:
        _AT_ONCE.release()
    if done.returncode == LATE:
        return Result(error=late)
    if done.returncode != 0:
        return Result(error="it ended without a result: it needed more memory or time than a statement may use")
    return Result(**json.loads(done.stdout), seconds=time.monotonic() - began)


def features_of(result: Result, saes: Sequence[str]) -> list[tuple[str, int] | None]:
    """The feature that each row names in its columns `sae` and `feature`; None if it names none of these SAEs'.

    With a single SAE the column `sae` may be missing.
    """
    indices = [result.columns.index(name) if name in result.columns else None for name in ("sae", "feature")]
    found: list[tuple[str, int] | None] = []
    for row in result.rows:
        sae, feature = (None if index is None else row[index] for index in indices)
        if indices[0] is None and len(saes) == 1:
            sae = saes[0]
        is_one = sae in saes and feature is not None and feature.isdecimal() and len(feature) < 10
        found.append((sae, int(feature)) if sae and feature and is_one else None)
    return found


def examples() -> list[tuple[str, str]]:
    """What each example asks, in words, and its statement."""
    return [_example(path.read_text(encoding="utf-8")) for path in sorted(_EXAMPLES.glob("*.sql"))]


def _example(text: str) -> tuple[str, str]:
    lines = text.splitlines()
    words = " ".join(line.removeprefix("-- ") for line in lines if line.startswith("--"))
    words = words.partition(": ")[2].removesuffix(".")
    return words[:1].upper() + words[1:], "\n".join(line for line in lines if not line.startswith("--"))
