"""Two models that score by the same scorers: both are counted, asked and told of, and their scores compared."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tiny import rows_of

from pipeline.asking.roles import role_of
from pipeline.asking.spending import open_budget
from pipeline.estimate.write import estimate
from pipeline.lake import Lake
from pipeline.make_table import make_table

pytestmark = pytest.mark.whole

SAE = "hand-set"
SCORERS = ["detection", "graded", "detection@worse", "graded@worse"]
GOOD = {"false_positive_rate": 0.05, "false_negative_rate": 0.05}
WORSE = {"false_positive_rate": 0.35, "false_negative_rate": 0.35}


@pytest.fixture(scope="module")
def run(copied_lake: Any, score: Callable[[Lake], None]) -> tuple[Lake, dict[str, int]]:
    """A scored lake, and the requests that its estimate counted before, by purpose."""
    lake: Lake = copied_lake()(
        explaining={"explainers": ["keywords", "default"], "controls": 3},
        scoring={
            **{"scorers": SCORERS, "oracle": GOOD, "models": {"worse": {"oracle": WORSE}}},
            **{"pilot_features": 3, "threshold": "controls"},
        },
    )
    counted: Counter[str] = Counter()
    for row in estimate(lake, SAE).to_pylist():
        counted[row["purpose"]] += row["requests"]
    score(lake)
    make_table(lake, "scorer_agreements")
    return lake, counted


def test_what_is_estimated_of_both_is_asked_and_is_in_the_ledger_by_its_model(
    run: tuple[Lake, dict[str, int]],
) -> None:
    lake, counted = run
    requests = rows_of(lake, "from llm_requests")
    asked = Counter(row["purpose"] for row in requests)
    for scorer in SCORERS:
        assert asked[scorer] == counted[scorer] > 0
    models = {(row["purpose"].partition("@")[2], row["model"]) for row in requests if row["purpose"] != "explain"}
    assert models == {
        ("", "oracle (false positive 0.05, false negative 0.05)"),
        ("worse", "oracle (false positive 0.35, false negative 0.35)"),
    }
    with open_budget(lake.config, role_of(lake.config, "scorer@worse")) as budget:
        assert budget.spent().requests == len(requests), "one budget for both"
    assert not any(estimate(lake, SAE)["requests"].to_pylist())


def test_each_model_has_a_rho_and_a_threshold_of_its_own(run: tuple[Lake, dict[str, int]]) -> None:
    rows = {row["scorer"]: row for row in rows_of(run[0], "from scorer_rhos")}
    assert sorted(rows) == sorted(SCORERS)
    for scorer, row in rows.items():
        assert ("0.35" in row["model"]) == scorer.endswith("@worse")
    assert rows["detection"]["n_questions"] == rows["detection@worse"]["n_questions"] > 0
    assert rows["detection"]["threshold"] is not None and rows["detection@worse"]["threshold"] is not None


def test_the_model_that_errs_more_scores_worse_and_how_they_agree_is_a_row(
    run: tuple[Lake, dict[str, int]],
) -> None:
    lake, _ = run
    means = {
        row["scorer"]: row
        for row in rows_of(
            lake,
            """select scorer, avg(balanced_accuracy) as accuracy, avg(auroc) as auroc, count(*) as n from scores
            where explainer = 'default' and role = 'test' group by scorer""",
        )
    }
    assert means["detection"]["accuracy"] > means["detection@worse"]["accuracy"] + 0.1
    assert means["graded"]["auroc"] > means["graded@worse"]["auroc"]
    pairs = {(row["scorer"], row["other_scorer"]): row for row in rows_of(lake, "from scorer_agreements")}
    assert ("graded", "graded@worse") in pairs
    row = pairs["detection", "detection@worse"]
    assert row["n_explanations"] > row["n_features"] > 1 and -1 <= row["pearson"] <= 1
