"""Source text without its comments: what a version hashes, so that a reworded comment remakes no table."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from functools import cache

_SQL_PARTS = re.compile(r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$\$.*?\$\$)|--[^\n]*|/\*.*?\*/", re.DOTALL)
"""What is kept whole, a string or a quoted name; or else a comment."""


def sql_code(text: str) -> str:
    """SQL without comments and blank lines."""
    return _joined(_SQL_PARTS.sub(lambda part: part[1] or "", text).splitlines())


@cache
def python_code(text: str) -> str:
    """Python without comments, docstrings and blank lines. Raises SyntaxError if it is not Python."""
    tree, lines = ast.parse(text), text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    # Also the strings below constants and fields: a statement that is only a string does nothing.
    for node in (each for each in ast.walk(tree) if isinstance(each, ast.Expr)):
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            rows = range(node.lineno - 1, node.end_lineno or node.lineno)
            lines[rows.start : rows.stop] = [""] * len(rows)
    return _joined(lines)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in lines if line.strip())
