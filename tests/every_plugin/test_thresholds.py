"""A scorer that says yes too often, whatever it is asked: its controls tell from where on it means yes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tiny import rows_of

from pipeline.lake import Lake
from pipeline.llm import Answer, Request
from pipeline.llm.oracle.client import OracleClient
from pipeline.llm.oracle.judges import chance
from pipeline.pilot import thresholds, write

pytestmark = pytest.mark.whole

SCORERS = ["detection", "fuzzing"]


def answer_too_willingly(client: OracleClient, request: Request) -> Answer:
    """The oracle's answer, but always yes: with a probability of 0.6 to 0.7 where it means no, else of 0.8 on."""
    answer = ANSWERED(client, request)
    if request.choices != ("Yes", "No"):
        return answer
    means_yes, own = answer.text == "Yes", chance(request.messages[-1].content, "how likely")
    probability = (0.8 if means_yes else 0.6) + own / 10
    return replace(answer, text="Yes", probabilities={"Yes": probability, "No": 1 - probability})


ANSWERED = OracleClient._answered


@pytest.fixture(scope="module")
def scored(copied_lake: Any, score: Callable[[Lake], None]) -> dict[str, Lake]:
    """The lakes of two experiments, which differ in their threshold alone, scored by the same answers."""
    open_copy, lakes = copied_lake(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OracleClient, "_answered", answer_too_willingly)
        for threshold in ("half", "controls"):
            rates = {"false_positive_rate": 0.02, "false_negative_rate": 0.02}
            scoring = {"scorers": SCORERS, "threshold": threshold, "pilot_features": 3, "oracle": rates}
            lakes[threshold] = lake = open_copy(scoring={**scoring, "questions_per_prompt": 1})
            score(lake)
    return lakes


@pytest.mark.parametrize("per_prompt", [1, 40])
def test_a_pilot_tells_a_threshold_by_pairs_of_its_own_whatever_the_controls(
    copied_lake: Any, monkeypatch: pytest.MonkeyPatch, per_prompt: int
) -> None:
    monkeypatch.setattr(OracleClient, "_answered", answer_too_willingly)
    for module in (thresholds, write):
        monkeypatch.setattr(module, "LEAST_ANSWERS", 12)
    scoring = {"scorers": ["detection"], "threshold": "controls", "pilot_features": 3}
    scoring |= {"questions_per_prompt": per_prompt}
    lake = copied_lake()(explaining={"controls": 0}, scoring=scoring)
    write.write_scorer_rhos(lake, "hand-set")
    [row] = rows_of(lake, "from scorer_rhos")
    asked = rows_of(lake, "from llm_requests where purpose = 'thresholds'")
    assert row["n_control_answers"] == 15  # of three features with two others each, and few windows without these
    assert len(asked) == 15 if per_prompt == 1 else 0 < len(asked) < 15, len(asked)
    if per_prompt == 1:
        assert row["threshold_reason"] is None and row["threshold"] > 0.65
    else:
        assert row["threshold_reason"] == "under one in ten of its answers about controls is a yes"


def scores(lake: Lake, scorer: str, what: str = "balanced_accuracy") -> dict[bool, float]:
    """The mean over explanations: of the explainers, and (True) of the controls."""
    rows = rows_of(
        lake,
        f"""select explainer in ('empty', 'other_feature') as is_control, avg({what}) as value from scores
        where scorer = '{scorer}' group by all""",
    )
    return {row["is_control"]: row["value"] for row in rows}


@pytest.mark.parametrize("scorer", ["detection", "fuzzing"])
def test_by_the_controls_threshold_a_true_explanation_rises_and_controls_stay(
    scored: dict[str, Lake], scorer: str
) -> None:
    before, after = (scores(scored[name], scorer) for name in ("half", "controls"))
    assert before == {False: 0.5, True: 0.5}, "every answer is a yes"
    assert after[False] > 0.85
    assert abs(after[True] - 0.5) < 0.15
    ranked = [scores(scored[name], scorer, "auroc") for name in ("half", "controls")]
    assert ranked[0] == ranked[1], "how windows are ranked is another matter"


def test_the_table_says_what_it_rests_on(scored: dict[str, Lake]) -> None:
    rows = {row["scorer"]: row for row in rows_of(scored["controls"], "from scorer_rhos")}
    for scorer in ("detection", "fuzzing"):
        assert 0.65 < rows[scorer]["threshold"] < 0.9 and rows[scorer]["threshold_reason"] is None
        assert rows[scorer]["n_control_answers"] >= 6
    plain = {row["scorer"]: row for row in rows_of(scored["half"], "from scorer_rhos")}
    assert plain["detection"]["threshold"] == 0.5
    assert plain["detection"]["threshold_reason"] == "scoring.threshold is half"


def test_only_train_windows_are_asked_about_and_each_question_once(scored: dict[str, Lake]) -> None:
    lake = scored["controls"]
    asked = rows_of(lake, "from llm_requests where purpose = 'thresholds'")
    assert len(asked) == sum(
        row["n_control_answers"] or 0 for row in rows_of(lake, "select n_control_answers from scorer_rhos")
    )
    [both] = rows_of(
        lake,
        """select count(*) as n from predictions
        where request_id in (select request_id from llm_requests where purpose = 'thresholds')""",
    )
    assert both["n"] == 0
