"""What a person sees of the tables: samples for the Dagster UI and the closing table of a run.

Token text is untrusted wherever it is rendered: control characters are spelled, markup is escaped.
"""

import html
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.asking.roles import oracle_sentence, role_of
from pipeline.fit.verdict import fit_sentence, is_misfit
from pipeline.lake import Lake, Published

_SAMPLE_ROWS = 5
_CELL_CHARACTERS = 80


def sample_markdown(published: Published) -> str:
    """The first rows of what was published, as a Markdown table."""
    path = published.path
    if path.is_dir():
        path = min(path.glob("*.parquet"), key=lambda file: (pq.ParquetFile(file).metadata.num_rows == 0, file))
    batch = next(pq.ParquetFile(path).iter_batches(_SAMPLE_ROWS), None)
    if batch is None or not batch.num_rows:
        return "no rows"
    names = batch.schema.names
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_markdown_cell(row[name]) for name in names) + " |" for row in batch.to_pylist()]
    return "\n".join(lines)


def printable(text: str) -> str:
    """Text on one line: control characters and line ends are spelled out."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def print_closing_table(lake: Lake, console: Console) -> None:
    """Print where the features went, a few of each route with their tokens, and what to do next."""
    for sae in lake.config.sae_names:
        console.print(fit_sentence(lake, sae), style="bold red" if is_misfit(lake, sae) else "", highlight=False)
        console.print(_funnel(lake.query("report_funnel", sae=sae), sae))
        console.print(_features(lake.query("report_features", sae=sae), sae))
        explained = lake.query("report_scores", sae=sae)
        if not explained.is_empty():
            by = "oracle" if role_of(lake.config, "explainer").is_oracle else "LLM"
            console.print(_explanations(explained, sae, by))
            summary = lake.query("report_summary", sae=sae)
            console.print(_summary(summary, sae))
            console.print(_correlations(summary, lake.config.scoring.rho), highlight=False)
            if said := oracle_sentence(lake.config):
                console.print(said, style="bold", highlight=False)
        failures = lake.query("report_failures", sae=sae)
        if not failures.is_empty():
            console.print(_failures(failures, sae))


def _funnel(routes: pl.DataFrame, sae: str) -> Table:
    table = Table(title=f"{sae}: where its features went", title_justify="left", title_style="bold")
    for name, justify in (("route", "left"), ("features", "right"), ("share", "right"), ("selected", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in routes.iter_rows(named=True):
        table.add_row(row["route"], f"{row['n_features']:,}", f"{row['share']:.1%}", f"{row['n_selected']:,}")
    return table


def _features(features: pl.DataFrame, sae: str) -> Table:
    table = Table(title=f"{sae}: a few of each", title_justify="left", title_style="bold")
    table.add_column("route", no_wrap=True)
    table.add_column("feature", justify="right", no_wrap=True)
    table.add_column("firings", justify="right", no_wrap=True)
    table.add_column("top tokens, and the share of their places that fire", overflow="fold")
    for row in features.iter_rows(named=True):
        tokens = "  ".join(f"{_quoted(each['text'])} {each['fire_share']:.0%}" for each in row["top_tokens"])
        table.add_row(row["route"], f"{row['feature']}", f"{row['n_active']:,}", Text(tokens))
    return table


def _explanations(rows: pl.DataFrame, sae: str, default_by: str) -> Text:
    """Two lines an explanation: its scores; below them its words. `default_by` is who `default` asks."""
    text = Text(f"{sae}: explanations, and how well they predict (balanced accuracy, interval)\n", style="bold")
    for row in rows.iter_rows(named=True):
        words = printable(row["explanation"] or f"({row['status']})")
        by = {"default": default_by}.get(row["explainer"], row["explainer"])
        scores = [
            f"{each['scorer']} {_with_interval(each['value'], each['low'], each['high'])}"
            for each in row["scores"] or ()
        ]
        if row["rule_f1"] is not None:
            scores.append(f"F1 {row['rule_f1']:.2f}")
        text.append(f"{row['feature']:>7} {by:<6} {'  '.join(scores) or '-'}\n", style="not bold")
        text.append(f"        {words if len(words) <= 70 else words[:69] + '…'}\n", style="not bold dim")
    return text


def _summary(rows: pl.DataFrame, sae: str) -> Table:
    """Means beside their baselines: an explanation that does not beat the empty one says nothing."""
    title = f"{sae}: mean balanced accuracy; read it against that of the empty explanation"
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    for name in ("explainer", "scorer", "route"):
        table.add_column(name, no_wrap=True)
    for name in ("n", "mean", "covered", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows.iter_rows(named=True):
        table.add_row(
            row["explainer"],
            row["scorer"],
            row["route"],
            f"{row['n_features']:,}",
            _with_interval(row["mean"], row["ci_low"], row["ci_high"]),
            "" if row["coverage"] is None else f"{row['coverage']:.0%}",
            "" if not row["prompt_tokens"] else f"{row['prompt_tokens']:,}",
        )
    return table


def _correlations(rows: pl.DataFrame, assumed: float) -> str:
    """What was found of the correlation by which the intervals were widened."""
    found = rows.select("scorer", "rho_found").unique().drop_nulls().sort("scorer").iter_rows()
    said = ", ".join(f"{scorer} {rho:.2f}" for scorer, rho in found) or "not to be told"
    return f"correlation of right answers about one document: {said} (the intervals assume {assumed:.2f})"


def _failures(rows: pl.DataFrame, sae: str) -> Text:
    """A line a reason for which requests got no answer."""
    text = Text(f"{sae}: requests without an answer; the next run asks them again\n", style="bold")
    for purpose, error, n_requests in rows.iter_rows():
        line = f"{n_requests:>7,} {purpose}: {printable(error or 'no reason was given')}\n"
        text.append(line, style="not bold red")
    return text


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f}-{high:.2f})"


def _quoted(text: str) -> str:
    return f"'{printable(text)}'"


def _markdown_cell(value: Any) -> str:
    text = printable(str(value))
    if len(text) > _CELL_CHARACTERS:
        text = text[: _CELL_CHARACTERS - 1] + "…"
    escaped = html.escape(text)
    for mark in "\\`*_[]|!":
        escaped = escaped.replace(mark, f"&#{ord(mark)};")
    return escaped
