"""`docs/scorers.md`: which faults of explanations each scorer detects, judged by an oracle and by local models.

Made from `benchmarks/results/scorers_*.json` (see `benchmarks/scorers.py`).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.pages import RESULTS
from pipeline.planting.experiment import judged_by
from pipeline.planting.report import NOT_APPLICABLE, by_kind, overview

_TEMPLATE = Path(__file__).with_suffix(".txt")
_TOKENS = {"prompt_tokens": "prompt tokens", "completion_tokens": "answer tokens"}
"""Columns of costs; an oracle counts none."""
_MEASURE = "python -m benchmarks.scorers"
_COMMANDS = {
    "oracle": _MEASURE,
    "embedded": f"{_MEASURE} --model embedded",
    "large": f"{_MEASURE} --model large",
}


def scorers_page() -> str:
    """The page; instead of a missing result it shows the command that measures it."""
    found = {name: _read(name) for name in _COMMANDS}
    shown = {
        name: "\n".join(result_lines(result)) if result else f"Not measured yet: `{_COMMANDS[name]}`."
        for name, result in found.items()
    }
    sees_broad = above_chance(found["oracle"], "too broad") if found["oracle"] else "not measured"
    return _TEMPLATE.read_text(encoding="utf-8").format(**shown, sees_broad=sees_broad)


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"scorers_{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def above_chance(result: dict[str, Any], fault: str) -> str:
    """The scorers that detect a fault over all kinds (their share's interval is above 1/2), the best first.

    Of those that judge when a feature fires: to the others, its true explanation is as wrong as any.
    """
    rows = pl.DataFrame(result["shares"]).filter(pl.col("share_low") > 0.5, kind="all", fault=fault)
    ordered = rows.sort("share", descending=True).iter_rows(named=True)
    seeing = [row for row in ordered if judged_by(row["scorer"]) == "firing"]
    return ", ".join(f"`{row['scorer']}` ({row['share']:.2f})" for row in seeing) or "none"


def result_lines(result: dict[str, Any]) -> list[str]:
    """A result's tables, over all kinds and by kind, each scorer's costs, and which scorers are not applicable."""
    shares = pl.DataFrame(result["shares"])
    n = 2 * result["n_questions"]
    costs = result["costs"]
    counted = [name for name in _TOKENS if any(row[name] is not None for row in costs.values())]
    return [
        f"{result['per_kind']} features of each kind, {result['n_features']} that some scorer can judge, with "
        f"{result['n_explanations']:,} explanations, and up to {n} questions about each by `{result['model']}` "
        f"({result['date']}):",
        "",
        *overview(shares),
        "",
        "By kind of feature, over all faults:",
        "",
        *by_kind(shares, result["scorers"]),
        "",
        "What an explanation takes:",
        "",
        f"| {' | '.join(['scorer', 'figure', 'requests', *(_TOKENS[each] for each in counted)])} |",
        f"|---|---|--:|{'--:|' * len(counted)}",
        *(_cost(name, shares, costs.get(name), counted) for name in result["scorers"]),
        *_added(result.get("added", {})),
        *_left_out(result[NOT_APPLICABLE]),
    ]


def _cost(name: str, shares: pl.DataFrame, row: dict[str, Any] | None, counted: Sequence[str]) -> str:
    figure = shares.filter(scorer=name)["metric"][0].replace("_", " ")
    requests = "none" if row is None else f"{row['requests']:,.1f}"
    tokens = ["" if row is None or row[each] is None else f"{row[each]:,.0f}" for each in counted]
    return f"| {' | '.join([f'`{name}`', figure, requests, *tokens])} |"


def _added(added: dict[str, dict[str, Any]]) -> list[str]:
    """Of how many features and questions the scorers are that were measured apart from the others."""
    told = [
        f"- `{name}`: {own['per_kind']} features of each kind, up to {2 * own['n_questions']} questions "
        f"({own['date']})"
        for name, own in added.items()
    ]
    return ["", "Measured apart:", "", *told] if told else []


def _left_out(reasons: dict[str, str]) -> list[str]:
    return ["", "Not applicable:", "", *(f"- `{name}`: {reasons[name]}" for name in reasons)] if reasons else []
