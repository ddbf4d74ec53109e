"""What the scorers' benchmark found: which faults of explanations each scorer sees, and what it costs."""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
import pyarrow as pa
from rich.console import Console
from rich.markdown import Markdown

from pipeline.lake import Lake
from pipeline.planting.plants import FAULTS, KINDS
from pipeline.scorers.write import load_scorer

NOT_APPLICABLE = "not applicable"
_COLUMNS = ("all", *FAULTS[1:])


def planted_shares(lake: Lake, explanations: pa.Table) -> pl.DataFrame:
    """The rows of `planted_shares.sql`; `explanations` as `write_planted_explanations` gives them."""
    return lake.query("planted_shares", given={"planted_explanations": explanations})


def benchmark_page(lake: Lake, explanations: pa.Table, left_out: Mapping[str, str]) -> str:
    """The whole result as Markdown."""
    shares = planted_shares(lake, explanations)
    [sae] = lake.config.sae_names
    costs = lake.query("planted_costs", sae=sae, n_explanations=explanations.num_rows)
    model = {row["purpose"]: row for row in costs.iter_rows(named=True)}
    scoring = lake.config.scoring
    lines = [
        f"{explanations.num_rows:,} explanations of {len(set(explanations['feature'].to_pylist())):,} planted "
        f"features, at most {scoring.n_questions + scoring.n_noes} questions about each. A cell is the share of "
        "pairs in which the better explanation scores higher (a tie counts one half), with its "
        f"{100 * scoring.confidence:g}% interval; 0.50 is chance. `all` takes every pair of unequal worth, the "
        f"other columns the true explanation against one fault.{thresholds_told(lake, sae)}",
        "",
        *overview(shares),
    ]
    for scorer in lake.config.scoring.scorers:
        own = shares.filter(scorer=scorer)
        lines += ["", f"**{scorer}**{_cost(scorer, model.get(scorer), own)}", ""]
        if own.height:
            lines += [*_table("planted", "kind", own, (*KINDS, "all")), "", _blind(own)]
        else:
            lines.append(f"{NOT_APPLICABLE}: {_why(lake, scorer)}.")
    lines += [f"\n**{scorer}**: {NOT_APPLICABLE}: {reason}" for scorer, reason in left_out.items()]
    return "\n".join(lines) + "\n"


def thresholds_told(lake: Lake, sae: str) -> str:
    """From which probability an answer counts as yes, where the config leaves that to the experiment's pilot."""
    if lake.config.scoring.threshold == "half":
        return ""
    with lake.connect(sae, tables=["scorer_rhos"]) as connection:
        rows = connection.sql(
            "select scorer, threshold from scorer_rhos where n_control_answers > 0 and threshold_reason is null "
            "order by scorer"
        ).fetchall()
    told = [f"{threshold:.2f} ({scorer})" for scorer, threshold in rows]
    told.append("0.50 where the experiment's pilot has told no other")
    return f" An answer counts as yes from a probability of {', '.join(told)}."


def overview(shares: pl.DataFrame) -> list[str]:
    """A row a scorer, over all kinds of plants; a column a fault."""
    return _table("scorer", "scorer", shares.filter(kind="all"), shares["scorer"].unique(maintain_order=True))


def print_benchmark(page: str, console: Console) -> None:
    """Print the page."""
    console.print(Markdown(page))


def _cost(scorer: str, row: Mapping[str, Any] | None, own: pl.DataFrame) -> str:
    metric = f", by {own['metric'][0].replace('_', ' ')}" if own.height else ""
    if load_scorer(scorer).role is None or row is None:
        return f"{metric}; asks no model"
    figures = [f"{row['requests']:,.1f} requests"]
    if row["prompt_tokens"] is not None:
        figures.append(f"{row['prompt_tokens']:,.0f} prompt and {row['completion_tokens']:,.0f} answer tokens")
    if row["cost_usd"]:
        figures.append(f"{row['cost_usd']:.2g} USD")
    return f"{metric}; asks {row['model']}: {', '.join(figures)} an explanation"


def _table(title: str, column: str, shares: pl.DataFrame, names: Iterable[str]) -> list[str]:
    """A row for each name in a column of `shares`, with the number of its features; a column a fault."""
    cells = {(row[column], row["fault"]): row for row in shares.iter_rows(named=True)}
    lines = [f"| {title} | n | {' | '.join(_COLUMNS)} |", "|---|---|" + "---|" * len(_COLUMNS)]
    for name in names:
        row = [_cell(cells.get((name, fault))) for fault in _COLUMNS]
        n = cells[name, "all"]["n_features"] if (name, "all") in cells else 0
        lines.append(f"| {name} | {n} | {' | '.join(row)} |")
    return lines


def _blind(shares: pl.DataFrame) -> str:
    """The faults that a scorer does not see: the interval of its share reaches chance."""
    reaches = {(row["kind"], row["fault"]) for row in shares.iter_rows(named=True) if row["share_low"] <= 0.5}
    blind = [f"{kind} {fault}" for kind in KINDS for fault in FAULTS[1:] if (kind, fault) in reaches]
    return f"Blind (not above chance): {', '.join(blind) or 'nowhere'}."


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return NOT_APPLICABLE
    return f"{row['share']:.2f} ({row['share_low']:.2f}-{row['share_high']:.2f})"


def _why(lake: Lake, scorer: str) -> str:
    """Why a scorer has no score of any explanation here."""
    with lake.connect() as connection:
        reasons = connection.table("scores").filter(f"scorer = '{scorer}'").project("reason").distinct().fetchall()
        n_asked = connection.table("predictions").filter(f"scorer = '{scorer}'").aggregate("count(*)").fetchall()
    if not n_asked[0][0]:
        return "it asked nothing about these explanations"
    return "; ".join(sorted(reason for (reason,) in reasons if reason)) or "it gives no score"
