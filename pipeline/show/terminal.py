"""Rows, texts and figures in the form that terminals, Markdown and the Dagster UI show.

Token text is untrusted wherever it is rendered: control characters become escapes, and markup is escaped.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from rich.console import Console

if TYPE_CHECKING:  # errors in what a config needs are printed, too, and the lake imports the config
    from pipeline.lake import Published

_SAMPLE_ROWS = 5
_CELL_CHARACTERS = 80


def sample_markdown(published: "Published") -> str:
    """The first rows of what was published, as a Markdown table."""
    path = published.path
    if path.is_dir():
        path = min(path.glob("*.parquet"), key=lambda file: (pq.ParquetFile(file).metadata.num_rows == 0, file))
    batch = next(pq.ParquetFile(path).iter_batches(_SAMPLE_ROWS), None)
    if batch is None or not batch.num_rows:
        return "no rows"
    return rows_markdown(batch.schema.names, batch.to_pylist())


def rows_markdown(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table."""
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_markdown_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def plain_console(**options: Any) -> Console:
    """A console that prints text as it is: no markup is read unless told to, no emoji code, no highlight."""
    return Console(markup=False, emoji=False, highlight=False, **options)


def printable(text: str) -> str:
    """Text on one line, with control characters and line ends as escapes such as `\\n`."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def escaped(text: str) -> str:
    """Text on one line for Markdown, so that none of it is read as markup."""
    found = html.escape(printable(text))
    for mark in "\\`*_[]|!":
        found = found.replace(mark, f"&#{ord(mark)};")
    return found


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its interval, if it has one: `0.81 (0.75-0.86)`."""
    if value is None:
        return "-"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f}-{high:.2f})"


def _markdown_cell(value: Any) -> str:
    text = str(value)
    return escaped(text[: _CELL_CHARACTERS - 1] + "…" if len(text) > _CELL_CHARACTERS else text)
