"""The result of the scorers' benchmark: which faults of explanations each scorer detects, and what it costs."""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
from rich.console import Console
from rich.markdown import Markdown

from pipeline.lake import Lake
from pipeline.planting.experiment import JudgedPlants, judged_by, planted_worths
from pipeline.planting.plants import FAULTS, KINDS, RIGHT, Aspect, Fault

NOT_APPLICABLE = "not applicable"
_FIRING = "firing"
"""The column of the explanation without a fault, if that is not the right one."""
_READ_BY: Mapping[Aspect, str] = {
    "firing": "Scorers that judge when a feature fires: `all` compares every pair of unequal worth, each other "
    "column the true explanation with one fault.",
    "effect": "Scorers that judge what a feature makes the model write: the explanation that names the promoted "
    "words, compared with each other one. One that is true of when it fires (`firing`) is as wrong here as any.",
}


def planted_shares(judged: JudgedPlants) -> pl.DataFrame:
    """The rows of `planted_shares.sql`."""
    worths = planted_worths(judged.lake.config.scoring.scorers)
    given = {"planted_explanations": judged.explanations, "planted_worths": worths}
    return judged.lake.query("planted_shares", given=given)


def benchmark_page(judged: JudgedPlants) -> str:
    """The whole result as Markdown."""
    lake, explanations, left_out = judged
    shares, costs = planted_shares(judged), planted_costs(judged)
    [sae] = lake.config.sae_names
    scoring = lake.config.scoring
    lines = [
        f"{explanations.num_rows:,} explanations of {len(set(explanations['feature'].to_pylist())):,} planted "
        f"features, at most {scoring.n_questions + scoring.n_noes} questions about each. A cell is the share of "
        "pairs in which the better explanation scores higher (a tie counts one half), with its "
        f"{100 * scoring.confidence:g}% interval and the number of features; 0.50 is chance."
        f"{threshold_sentence(lake, sae)}",
        "",
        *overview(shares),
    ]
    for scorer in lake.config.scoring.scorers:
        own = shares.filter(scorer=scorer)
        lines += ["", f"**{scorer}**{_cost(costs.get(scorer), own)}", ""]
        if own.height:
            lines += [*_table("planted", "kind", own, (*KINDS, "all"), judged_by(scorer)), "", _blind(scorer, own)]
        else:
            lines.append(f"{NOT_APPLICABLE}: {why_not(lake, scorer)}.")
    lines += [f"\n**{scorer}**: {NOT_APPLICABLE}: {reason}" for scorer, reason in left_out.items()]
    return "\n".join(lines) + "\n"


def planted_costs(judged: JudgedPlants) -> dict[str, dict[str, Any]]:
    """The rows of `planted_costs.sql` by scorer; scorers that asked no model have none."""
    [sae] = judged.lake.config.sae_names
    rows = judged.lake.query("planted_costs", sae=sae, n_explanations=judged.explanations.num_rows)
    return {row["purpose"]: row for row in rows.iter_rows(named=True)}


def threshold_sentence(lake: Lake, sae: str) -> str:
    """From which probability an answer counts as yes, if the config leaves that to the experiment's pilot."""
    if lake.config.scoring.threshold == "half":
        return ""
    rows = lake.query("planted_thresholds", sae=sae).iter_rows()
    thresholds = [f"{threshold:.2f} ({scorer})" for scorer, threshold in rows]
    thresholds.append("0.50 where the experiment's pilot set no other")
    return f" An answer counts as yes from a probability of {', '.join(thresholds)}."


def overview(shares: pl.DataFrame) -> list[str]:
    """One row per scorer over all kinds of plants, one column per fault.

    One table for each aspect that scorers judge.
    """
    lines: list[str] = []
    found = shares.filter(kind="all")
    names = found["scorer"].unique(maintain_order=True).to_list()
    for aspect, words in _READ_BY.items():
        if own := [name for name in names if judged_by(name) == aspect]:
            lines += [*([""] if lines else []), words, "", *_table("scorer", "scorer", found, own, aspect)]
    return lines


def by_kind(shares: pl.DataFrame, scorers: Iterable[str]) -> list[str]:
    """One row per scorer over all faults, one column per kind of plant."""
    cells = {(row["scorer"], row["kind"]): row for row in shares.filter(fault="all").iter_rows(named=True)}
    lines = [f"| scorer | {' | '.join(f'`{kind}`' for kind in KINDS)} |", "|---|" + "---|" * len(KINDS)]
    for name in scorers:
        lines.append(f"| `{name}` | {' | '.join(_cell(cells.get((name, kind))) for kind in KINDS)} |")
    return lines


def print_benchmark(page: str, console: Console) -> None:
    """Print the page."""
    console.print(Markdown(page))


def _cost(row: Mapping[str, Any] | None, own: pl.DataFrame) -> str:
    metric = f", by {own['metric'][0].replace('_', ' ')}" if own.height else ""
    if row is None:
        return f"{metric}; asks no model"
    figures = [f"{row['requests']:,.1f} requests"]
    if row["prompt_tokens"] is not None:
        figures.append(f"{row['prompt_tokens']:,.0f} prompt and {row['completion_tokens']:,.0f} answer tokens")
    if row["cost_usd"]:
        figures.append(f"{row['cost_usd']:.2g} USD")
    return f"{metric}; asks {row['model']}: {', '.join(figures)} per explanation"


def _faults(aspect: Aspect) -> list[Fault]:
    """The faults that the right explanation is compared with."""
    return [fault for fault in FAULTS if fault != RIGHT[aspect]]


def _table(title: str, column: str, shares: pl.DataFrame, names: Iterable[str], aspect: Aspect) -> list[str]:
    """One row per name in a column of `shares`, one column per fault."""
    cells = {(row[column], row["fault"]): row for row in shares.iter_rows(named=True)}
    columns = ["all", *_faults(aspect)]
    titles = [_FIRING if fault == "none" else fault for fault in columns]
    lines = [f"| {title} | {' | '.join(titles)} |", "|---|" + "---|" * len(columns)]
    for name in names:
        row = [_cell(cells.get((name, fault))) for fault in columns]
        lines.append(f"| `{name}` | {' | '.join(row)} |")
    return lines


def _blind(scorer: str, shares: pl.DataFrame) -> str:
    """The faults that a scorer does not detect: the interval of its share reaches chance."""
    reaches = {(row["kind"], row["fault"]) for row in shares.iter_rows(named=True) if row["share_low"] <= 0.5}
    blind = [
        f"{kind} {_FIRING if fault == 'none' else fault}"
        for kind in KINDS
        for fault in _faults(judged_by(scorer))
        if (kind, fault) in reaches
    ]
    return f"Blind (not above chance): {', '.join(blind) or 'nowhere'}."


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return NOT_APPLICABLE
    return f"{row['share']:.2f} ({row['share_low']:.2f}-{row['share_high']:.2f}; {row['n_features']})"


def why_not(lake: Lake, scorer: str) -> str:
    """Why a scorer has no scores here."""
    with lake.connect() as connection:
        reasons = connection.table("scores").filter(f"scorer = '{scorer}'").project("reason").distinct().fetchall()
        n_asked = connection.table("predictions").filter(f"scorer = '{scorer}'").aggregate("count(*)").fetchall()
    if not n_asked[0][0]:
        return "it asked nothing about these explanations"
    return "; ".join(sorted(reason for (reason,) in reasons if reason)) or "it gives no score"
