"""`docs/scorers.md`: which faults of explanations each scorer detects, with an oracle and with the embedded model.

Made from `benchmarks/results/scorers_*.json` (see `benchmarks/scorers.py`).
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.pages import RESULTS
from pipeline.planting.report import NOT_APPLICABLE, by_kind, overview

_TEMPLATE = Path(__file__).with_suffix(".txt")
_COMMANDS = {"oracle": "python -m benchmarks.scorers", "embedded": "python -m benchmarks.scorers --model embedded"}


def scorers_page() -> str:
    """The page; instead of a missing result it shows the command that measures it."""
    return _TEMPLATE.read_text(encoding="utf-8").format(**{name: _measured(name) for name in _COMMANDS})


def _measured(name: str) -> str:
    path = RESULTS / f"scorers_{name}.json"
    if not path.exists():
        return f"Not measured yet: `{_COMMANDS[name]}`."
    return "\n".join(result_lines(json.loads(path.read_text(encoding="utf-8"))))


def result_lines(result: dict[str, Any]) -> list[str]:
    """A result's tables, over all kinds and by kind, each scorer's costs, and which scorers are not applicable."""
    shares = pl.DataFrame(result["shares"])
    n = 2 * result["n_questions"]
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
        "| scorer | figure | requests | prompt tokens | answer tokens |",
        "|---|---|--:|--:|--:|",
        *(_cost(name, shares, result["costs"].get(name)) for name in result["scorers"]),
        *_left_out(result[NOT_APPLICABLE]),
    ]


def _cost(name: str, shares: pl.DataFrame, row: dict[str, Any] | None) -> str:
    figure = shares.filter(scorer=name)["metric"][0].replace("_", " ")
    if row is None:
        return f"| `{name}` | {figure} | none | | |"
    tokens = [row["prompt_tokens"], row["completion_tokens"]]
    told = " | ".join("" if each is None else f"{each:,.0f}" for each in tokens)
    return f"| `{name}` | {figure} | {row['requests']:,.1f} | {told} |"


def _left_out(reasons: dict[str, str]) -> list[str]:
    return ["", "Not applicable:", "", *(f"- `{name}`: {reasons[name]}" for name in reasons)] if reasons else []
