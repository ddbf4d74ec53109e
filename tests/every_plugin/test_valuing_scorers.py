"""Scorers that give a window values in place of yes or no: simulation by each of its methods, and graded."""

import math
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from llm.oracle import Oracle
from test_every_scorer import COIN, GARBLING, NO, REFUSING, SAE, TRUE, YES, Z_999, Judged
from tiny import rows_of, stored

from pipeline.errors import ConfigError
from pipeline.explainers.write import write_explanations
from pipeline.lake import Lake
from pipeline.make_table import make_table
from pipeline.scorers.write import write_predictions

pytestmark = pytest.mark.whole

WAYS = [("graded", {}), ("simulation", {"method": "all_at_once"}), ("simulation", {"method": "structured"})]
each_way = pytest.mark.parametrize("name, settings", WAYS, ids=["graded", "all_at_once", "structured"])


def valued(lake_of: Any, name: str, settings: dict[str, Any], oracle: dict[str, float]) -> Judged:
    """The predictions and scores of a scorer with some settings."""
    lake = lake_of(scoring={"scorers": [name], "oracle": oracle, name: settings})
    if not lake.has("explanations", sae=SAE, batch=0):
        write_explanations(lake, SAE, 0)
    if not lake.has("scores", sae=SAE, batch=0):  # another test may have judged it
        write_predictions(lake, SAE, 0)
        make_table(lake, "scores", sae=SAE, batch=0)
    return Judged(
        stored(lake, "predictions", sae=SAE, batch=0), rows_of(lake, f"from scores where scorer = '{name}'")
    )


@each_way
def test_true_explanations_score_1_and_controls_do_not(lake_of: Any, name: str, settings: dict[str, Any]) -> None:
    judged = valued(lake_of, name, settings, TRUE)
    figure = "correlation" if name == "simulation" else "auroc"
    assert len(judged.own) == 3 and set(judged.predictions["status"]) == {"ok"}
    for row in judged.own:
        low, high = row[f"{figure}_low"], row[f"{figure}_high"]
        # A rule is read by its words, which say nothing of strength.
        assert row[figure] > (0.99 if row["explainer"] == "default" else 0.85), row
        assert 0.5 < low <= high <= 1 and row["coverage"] == 1, row
        assert row["balanced_accuracy"] is None and row["n_scored"] > 10
    for row in judged.scores:
        if row["explainer"] == "empty":
            # By likeness alone windows of one prompt can be told apart (see the calibration benchmark).
            assert row[figure] == 0 if name == "simulation" else (row[figure] or 0) < 0.95, row
        if row["explainer"] == "other_feature" and row[figure] is not None:
            assert row[figure] < 0.5 + 0.4 * (name == "graded")


each_simulation = pytest.mark.parametrize("settings", [each for name, each in WAYS if name == "simulation"])


@each_way
def test_who_never_says_yes_scores_at_chance_or_has_no_score(
    lake_of: Any, name: str, settings: dict[str, Any]
) -> None:
    rows = valued(lake_of, name, settings, NO).own
    assert rows
    for row in rows:
        assert row["correlation"] == 0 if name == "simulation" else row["reason"] == "no window was graded 2", row


def test_a_coins_grades_are_no_responsiveness(lake_of: Any) -> None:
    judged = valued(lake_of, "graded", {}, COIN)
    lake = lake_of(scoring={"scorers": ["graded"], "oracle": COIN, "graded": {}})
    peaks = {row["example_id"]: row["peak"] or 0.0 for row in rows_of(lake, "from examples")}
    assert len(judged.own) == 3
    for row in judged.own:
        asked = judged.predictions.filter(explanation_id=row["explanation_id"])
        grades = [values[0] for values in asked["values"]]
        error = rank_error([peaks[each] for each in asked["example_id"]], sum(grade == 2 for grade in grades))
        assert {*grades} == {0.0, 2.0} and error < 0.11
        assert abs(row["auroc"] - 0.5) <= Z_999 * error, row


def rank_error(values: list[float], n_of_one: int) -> float:
    """The standard deviation of AUROC for labels drawn by lot: Mann and Whitney's, with ties."""
    n, n_of_other = len(values), len(values) - n_of_one
    ties = sum(t**3 - t for t in Counter(values).values())
    return math.sqrt((n + 1 - ties / (n * (n - 1))) / (12 * n_of_one * n_of_other))


def test_whoever_grades_every_window_2_has_no_score_and_the_reason(lake_of: Any) -> None:
    for row in valued(lake_of, "graded", {}, YES).own:
        assert (row["auroc"], row["average_precision"], row["coverage"]) == (None, None, 1.0)
        assert row["reason"] == "no window was graded 0"


@each_simulation
def test_simulated_values_that_err_correlate_as_theory_says(lake_of: Any, settings: dict[str, Any]) -> None:
    lake = lake_of(scoring={"scorers": ["simulation"], "oracle": TRUE, "simulation": settings})
    known, always, coin = (valued(lake_of, "simulation", settings, oracle) for oracle in (TRUE, YES, COIN))
    random = np.random.default_rng(0)
    assert len(coin.own) == 3
    for row in coin.own:
        key = row["explanation_id"]
        x, y = values_of(known, key), true_values(lake, known, key)
        [of_always] = [each["correlation"] for each in always.own if each["explanation_id"] == key]
        assert of_always == pytest.approx(correlation(np.where(x > 0, x, 5), y), abs=1e-6)
        assert row["correlation"] == pytest.approx(correlation(values_of(coin, key), y), abs=1e-6)
        # A coin decides whether each value stays; else what is 0 becomes 5, and anything else 0.
        errs = random.integers(0, 2, (2000, len(x)))
        drawn = [correlation(each, y) for each in np.where(errs, np.where(x > 0, 0, 5), x)]
        assert abs(row["correlation"] - np.mean(drawn)) <= Z_999 * np.std(drawn)


def values_of(judged: Judged, explanation_id: str) -> np.ndarray[Any, Any]:
    """The values of every token that is asked about, in the order of the questions."""
    rows = judged.predictions.filter(explanation_id=explanation_id).sort("question_id")
    return np.concatenate(rows["values"].to_list())


def true_values(lake: Lake, judged: Judged, explanation_id: str) -> np.ndarray[Any, Any]:
    """What these values should be: the activations from 0 to 10."""
    windows = {row["example_id"]: row for row in rows_of(lake, "from examples")}
    largest = {row["feature"]: row["max_activation_train"] for row in rows_of(lake, "from feature_stats")}
    rows = judged.predictions.filter(explanation_id=explanation_id).sort("question_id")
    fires = [np.array(windows[each]["activations"]) for each in rows["example_id"]]
    return on_scale(np.concatenate(fires), largest[rows["feature"][0]])


def on_scale(activations: np.ndarray[Any, Any], largest: float) -> np.ndarray[Any, Any]:
    """Activations from 0 to 10, as prompts show them."""
    return np.minimum(10, np.floor(10 * activations / largest + 0.5))


def correlation(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    return float(np.corrcoef(x, y)[0, 1])


@each_way
@pytest.mark.parametrize("oracle, status", [(REFUSING, "refused"), (GARBLING, "unparsed")])
def test_no_answer_is_a_status_and_never_a_value(
    lake_of: Any, name: str, settings: dict[str, Any], oracle: dict[str, float], status: str
) -> None:
    judged = valued(lake_of, name, settings, oracle)
    assert set(judged.predictions["status"]) == {status}
    for column in ("label", "prediction", "probability", "values"):
        assert judged.predictions[column].null_count() == judged.predictions.height > 10
    for row in judged.scores:
        assert [row[each] for each in ("correlation", "auroc", "average_precision")] == [None] * 3
        assert row["n_scored"] == 0 < row["n_unscored"] and row["reason"] == "coverage 0.00 is under 0.80"


@each_way
def test_windows_are_test_windows_and_each_value_is_in_its_place(
    lake_of: Any, name: str, settings: dict[str, Any]
) -> None:
    asked = valued(lake_of, name, settings, TRUE).predictions
    lake = lake_of(scoring={"scorers": [name], "oracle": TRUE, name: settings})
    windows = {row["example_id"]: row for row in rows_of(lake, "from examples")}
    largest = {row["feature"]: row["max_activation_train"] for row in rows_of(lake, "from feature_stats")}
    words = {row["explanation_id"]: row for row in rows_of(lake, "from explanations")}
    assert asked.select("explanation_id", "question_id").is_unique().all()
    for row in asked.iter_rows(named=True):
        window = windows[row["example_id"]]
        assert window["role"] == "test"
        if words[row["explanation_id"]]["explainer"] == "default":
            fires = np.array(window["activations"])
            truth = on_scale(fires, largest[row["feature"]])
            assert row["values"] == (truth.tolist() if name == "simulation" else [2.0 * (fires.max() > 0)])


def test_strong_windows_and_drawn_ones_stand_apart(lake_of: Any) -> None:
    lake = lake_of(scoring={"scorers": ["simulation"], "oracle": TRUE, "simulation": {"n_top": 3, "n_drawn": 4}})
    if not lake.has("explanations", sae=SAE, batch=0):
        write_explanations(lake, SAE, 0)
    write_predictions(lake, SAE, 0)
    make_table(lake, "scores", sae=SAE, batch=0)
    make_table(lake, "score_details", sae=SAE, batch=0)
    details = pl.DataFrame(rows_of(lake, "from score_details where scorer = 'simulation'"))
    assert set(details["stratum"]) == {"all", "top", "random"}
    assert set(details["metric"]) == {"correlation", "explained", "explained_calibrated"}
    sizes = details.filter(metric="correlation").group_by("stratum").agg(pl.col("n").max())
    n = dict(sizes.iter_rows())
    assert n["top"] <= 3 * 32 and n["random"] <= 8 * 32 and n["all"] <= n["top"] + n["random"]


def test_left_to_itself_simulation_reads_blanks_where_they_are_told(lake_of: Any) -> None:
    blanks, automatic = (valued(lake_of, "simulation", each, TRUE) for each in ({"method": "all_at_once"}, {}))
    assert set(automatic.predictions["request_id"]) == set(blanks.predictions["request_id"])


def test_a_server_that_was_upgraded_is_asked_all_at_once_where_the_config_says_so(lake_of: Any) -> None:
    def judged(oracle: Oracle, method: str) -> pl.DataFrame:
        model = {"provider": "openai", "model": "m", "endpoint": {"base_url": oracle.base_url}}
        scoring = {"scorers": ["simulation@m"], "models": {"m": model}, "simulation": {"method": method}}
        lake = lake_of(scoring=scoring)
        if not lake.has("explanations", sae=SAE, batch=0):
            write_explanations(lake, SAE, 0)
        write_predictions(lake, SAE, 0)
        return stored(lake, "predictions", sae=SAE, batch=0)

    with Oracle(lambda body: "x") as old:
        assert set(judged(old, "auto")["status"]) == {"unparsed"}
        with pytest.raises(ConfigError, match="no log-probabilities of a prompt"):
            judged(old, "all_at_once")
    with Oracle(lambda body: "x", blank=lambda line: {"3": 0.1}) as upgraded:
        assert set(judged(upgraded, "auto")["status"]) == {"unparsed"}
        assert upgraded.n_requests == 0, "what was found out holds, and nothing is paid for again"
        found = judged(upgraded, "all_at_once")
    assert set(found["status"]) == {"ok"} and set(found["values"].explode()) == {3.0}
