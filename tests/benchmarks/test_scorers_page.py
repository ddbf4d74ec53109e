"""The page of the scorers' benchmark: scorers measured apart, and costs that nobody counted."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks.pages.scorers import above_chance, result_lines
from benchmarks.scorers import RESULTS, SETTINGS, with_more
from pipeline.planting.report import NOT_APPLICABLE


def result(per_kind: int, share: float, *scorers: str, unable: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is written about some scorers."""
    figures = {"metric": "auroc", "n_features": per_kind, "share": share, "share_low": 0.1, "share_high": 0.9}
    cost = {"model": "oracle", "requests": 2.0, "prompt_tokens": None, "completion_tokens": None, "cost_usd": None}
    return {
        **{"model": "oracle", "per_kind": per_kind, "n_questions": 10, "questions_per_prompt": None},
        **{"n_features": 4 * per_kind, "n_explanations": 28 * per_kind, "scorers": [*scorers]},
        NOT_APPLICABLE: dict.fromkeys(unable, "it cannot"),
        "shares": [{"scorer": name, "kind": "all", "fault": "all", **figures} for name in scorers],
        "costs": {name: cost for name in scorers if name != "surprisal"},
        **{"machine": "a machine", "date": f"2026-11-{per_kind}"},
    }


def test_scorers_measured_apart_are_added_or_take_the_place_of_those_in_the_result() -> None:
    first = result(30, 0.8, "detection", "graded", unable=("surprisal",))
    more = with_more(first, result(12, 0.6, "surprisal"))
    assert more["scorers"] == ["detection", "graded", "surprisal"] and more[NOT_APPLICABLE] == {}
    assert (more["per_kind"], more["n_features"], more["costs"].keys()) == (30, 120, {"detection", "graded"})
    again = with_more(more, result(13, 0.7, "surprisal", unable=("graded",)))
    assert [(row["scorer"], row["share"]) for row in again["shares"]] == [("detection", 0.8), ("surprisal", 0.7)]
    assert again["added"] == {"surprisal": {"per_kind": 13, "n_questions": 10, "date": "2026-11-13"}}
    assert (again[NOT_APPLICABLE], again["costs"].keys()) == ({"graded": "it cannot"}, {"detection"})
    lines = result_lines(again)
    assert "- `surprisal`: 13 features of each kind, up to 20 questions (2026-11-13)" in lines


@pytest.mark.parametrize("model", SETTINGS)
def test_what_is_shown_was_measured_as_the_benchmark_measures(model: str) -> None:
    measured = json.loads((RESULTS / f"scorers_{model}.json").read_text(encoding="utf-8"))
    assert measured["per_kind"] == SETTINGS[model].per_kind
    assert {*measured["scorers"], *measured[NOT_APPLICABLE]} >= {*SETTINGS[model].scorers}


def test_tokens_that_an_oracle_does_not_count_have_no_column() -> None:
    shown = result(30, 0.8, "detection", "surprisal")
    assert {"| scorer | figure | requests |", "| `surprisal` | auroc | none |"} <= {*result_lines(shown)}
    shown["costs"]["detection"] |= {"prompt_tokens": 1711.4, "completion_tokens": 0.0}
    lines = {*result_lines(shown)}
    assert "| scorer | figure | requests | prompt tokens | answer tokens |" in lines
    assert {"| `detection` | auroc | 2.0 | 1,711 | 0 |", "| `surprisal` | auroc | none |  |  |"} <= lines


def test_the_scorers_that_see_a_fault_are_those_whose_interval_is_above_chance() -> None:
    shown = result(30, 0.7, "detection", "fuzzing", "graded")
    for row, low in zip(shown["shares"], (0.51, 0.5, 0.55), strict=True):
        row |= {"fault": "too broad", "share": low + 0.1, "share_low": low}
    assert above_chance(shown, "too broad") == "`graded` (0.65), `detection` (0.61)"
    assert above_chance(shown, "echo") == "none"
