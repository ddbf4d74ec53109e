"""From which probability on it is a yes: what one in ten answers about controls reach, or a half, and why."""

import numpy as np
import pytest

from pipeline.pilot.thresholds import LEAST_ANSWERS, windows_a_pair

from .rows import CONFIG, SAE, Database


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
        (
            [0.9] * 99,
            {},
            "99 of the 100 answers about controls that it takes came with a probability; 99 could be asked: raise "
            "scoring.pilot_features or explaining.n_examples",
        ),
        (
            [None] * 200,
            {},
            "0 of the 100 answers about controls that it takes came with a probability; does the model's server "
            "give log-probabilities?",
        ),
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


def windows_of(feature, n):
    """Rows of examples: of both roles, kinds and uses, n each."""
    return [
        {"context_id": draw, "start": 2, "example_id": f"{feature} {role} {kind} {is_judge} {draw:02}",
         "feature": feature, "role": role, "kind": kind, "is_judge": is_judge, "draw": draw,
         "token_ids": [feature, draw, 7], "activations": [0.0, 1.0, 0.2], "peak": 1.0}
        for role, is_judge in (("train", False), ("train", True), ("test", False))
        for kind in ("activating", "random")
        for draw in range(1, n + 1)
    ]  # fmt: skip


def pair(feature, other):
    """A row of control_pairs."""
    own = {"explanation_id": f"e{feature}", "feature": feature}
    return own | {"other_feature": other, "explanation": f"as {other}"}


def test_pairs_are_asked_about_train_windows_in_which_the_other_is_silent_with_the_right_marks():
    database = Database(n_windows=2, questions_per_prompt=2)
    database.fill("control_pairs", [pair(1, 2)])
    # Feature 2, whose explanation it is, fires in the second window as well.
    database.fill("activations", [{"sae": SAE, "feature": 2, "token_index": 8 * 2 + 3, "activation": 1.0}])
    database.fill("examples", windows_of(1, 4))
    rows = database.rows("control_questions")
    asked = ["1 train activating False 01", "1 train activating False 03"]
    assert [row["example_id"] for row in rows] == asked, "a window that falls away has another in its place"
    assert {(row["prompt"], row["label"], row["explanation"]) for row in rows} == {(0, False, "as 2")}
    assert {row["marked"] for row in rows} == {None}
    assert database.rows("control_questions", has_marks=True)[0]["marked"] == [1]


def test_two_features_that_fire_in_one_window_and_borrow_the_same_words_ask_once():
    database = Database(n_windows=2, questions_per_prompt=1)
    database.fill("control_pairs", [pair(1, 3), pair(2, 3)])
    rows = windows_of(1, 1) + windows_of(2, 2)
    database.fill("examples", [row | {"token_ids": [row["draw"], 6, 7]} for row in rows])
    asked = database.rows("control_questions")
    assert [(row["feature"], row["token_ids"]) for row in asked] == [(1, [1, 6, 7]), (2, [2, 6, 7])]


def test_at_the_shipped_defaults_a_pilot_asks_enough_and_little_more():
    n_pairs, n_shown = CONFIG.scoring.pilot_features, CONFIG.explaining.n_examples
    assert (n_pairs, windows_a_pair(n_pairs)) == (32, 4)
    database = Database(n_windows=windows_a_pair(n_pairs), questions_per_prompt=40)
    database.fill("control_pairs", [pair(feature, (feature + 1) % n_pairs) for feature in range(n_pairs)])
    database.fill("examples", [row for feature in range(n_pairs) for row in windows_of(feature, n_shown)])
    rows = database.rows("control_questions")
    assert LEAST_ANSWERS <= len(rows) == 128
    assert len({(row["explanation_id"], row["prompt"]) for row in rows}) == n_pairs


@pytest.mark.parametrize("n_pairs", [7, 10, 25])
def test_fewer_pairs_are_asked_about_more_windows_each(n_pairs):
    n_windows = windows_a_pair(n_pairs)
    assert LEAST_ANSWERS < n_windows * n_pairs < 1.5 * LEAST_ANSWERS and n_windows <= CONFIG.explaining.n_examples


def test_a_feature_of_the_pilot_lends_what_its_first_explainer_says():
    database = Database(scoring_pilot_features=2, explaining_explainers=["default", "keywords"])
    database.fill("batch_features", [{"feature": feature, "place": 5 - feature} for feature in (2, 3, 4)])
    database.fill("scored_explanations", [
        {"explanation_id": f"{explainer} {feature}", "feature": feature, "explainer": explainer,
         "explanation": f"{explainer} of {feature}"}
        for explainer, features in (("keywords", (2, 3, 4)), ("default", (2, 3)), ("other_feature", (2, 3, 4)))
        for feature in features
    ])  # fmt: skip
    rows = database.rows("pilot_explanations")
    assert [(row["feature"], row["explanation"]) for row in rows] == [(4, "keywords of 4"), (3, "default of 3")]
