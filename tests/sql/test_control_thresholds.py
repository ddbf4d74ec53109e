"""From which probability on it is a yes: what one in ten answers about controls reach, or a half, and why."""

import numpy as np
import pytest

from .rows import SAE, Database


def told(answers, n_failed=0, **values):
    """The row of control_thresholds of a yes-or-no scorer that answered so."""
    database = Database(**{"scoring_threshold": "controls"} | values)
    database.fill("pilot_scorers", [{"scorer": "detection", "is_yes_no": True}])
    rows = [{"scorer": "detection", "status": "ok", "probability": each} for each in answers]
    failed = [{"scorer": "detection", "status": "http_error"}] * n_failed
    database.fill("control_answers", rows + failed)
    [row] = database.rows("control_thresholds")
    return row


def test_one_in_ten_answers_about_controls_reach_it():
    answers = np.random.default_rng(0).beta(6, 2, 1000)
    row = told(answers.tolist())
    assert row["threshold"] == pytest.approx(np.quantile(answers, 0.9)) and row["threshold"] > 0.9
    assert (row["n_control_answers"], row["threshold_reason"]) == (1000, None)


@pytest.mark.parametrize(
    ("answers", "values", "reason"),
    [
        ([0.9] * 99, {}, "99 of the 100 answers about controls that it takes came with a probability"),
        ([None] * 200, {}, "0 of the 100 answers about controls that it takes came with a probability"),
        ([0.1] * 95 + [0.9] * 5, {}, "under one in ten of its answers about controls is a yes"),
        ([], {"scoring_threshold": "half"}, "scoring.threshold is half"),
        ([], {"scoring_pilot_features": 0}, "scoring.pilot_features is 0"),
    ],
)
def test_it_is_a_half_where_the_controls_tell_nothing_and_says_so(answers, values, reason):
    row = told(answers, **values)
    assert (row["threshold"], row["threshold_reason"]) == (0.5, reason)


def test_failed_requests_are_told_and_leave_the_pilot_open():
    row = told([0.9] * 20, n_failed=80)
    assert row["threshold"] == 0.5 and row["threshold_reason"].endswith("; 80 questions failed")
    database = Database()
    row |= {"sae": SAE, "threshold_reason": "in other words"}
    database.fill("scorer_rhos", [row, {"sae": SAE, "scorer": "embedding", "n_failed": 0}])
    assert database.rows("open_pilots") == [{"scorer": "detection"}]


def test_a_scorer_that_asks_no_yes_or_no_has_none():
    database = Database(scoring_threshold="controls")
    database.fill("pilot_scorers", [{"scorer": "embedding", "is_yes_no": False}])
    [row] = database.rows("control_thresholds")
    assert row["threshold"] is None and row["threshold_reason"] is None


def test_controls_are_asked_about_on_train_windows_with_the_right_marks():
    database = Database(scoring_pilot_features=1, n_windows=3, questions_per_prompt=2)
    database.fill("scored_explanations", [
        {"explanation_id": f"{explainer} {feature}", "feature": feature, "explanation": "x",
         "explainer": explainer}
        for explainer in ("default", "empty", "other_feature")
        for feature in (1, 2)
    ])  # fmt: skip
    database.fill("batch_features", [{"feature": 1, "place": 1}, {"feature": 2, "place": 2}])
    database.fill("explanations", [{"feature": 2, "explainer": "default", "explanation": "x"}])
    # Feature 2, whose explanation it is, fires in the second window as well.
    database.fill("activations", [{"sae": SAE, "feature": 2, "token_index": 8 * 2 + 3, "activation": 1.0}])
    database.fill("examples", [
        {"context_id": draw, "start": 2,
         "example_id": f"{role} {kind} {draw}", "feature": 1, "role": role, "kind": kind, "draw": draw,
         "token_ids": [5, 6, 7], "activations": [0.0, 1.0, 0.2], "peak": 1.0}
        for role in ("train", "test")
        for kind in ("activating", "random")
        for draw in (1, 2, 3)
    ])  # fmt: skip
    rows = database.rows("control_questions")
    assert [(row["explanation_id"], row["example_id"]) for row in rows] == [
        ("other_feature 1", "train activating 1"),
        ("other_feature 1", "train activating 3"),
    ]
    assert {row["prompt"] for row in rows} == {0} and {row["marked"] for row in rows} == {None}
    assert database.rows("control_questions", has_marks=True)[0]["marked"] == [1]
