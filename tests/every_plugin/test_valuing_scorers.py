"""Scorers that give a window values in place of yes or no: simulation by each of its methods, and graded."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from llm.oracle import Oracle
from test_every_scorer import COIN, GARBLING, NO, REFUSING, SAE, TRUE, YES, Judged
from tiny import rows_of, stored

from pipeline.errors import ConfigError
from pipeline.explainers.write import write_explanations
from pipeline.make_table import make_table
from pipeline.scorers.write import write_predictions

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


@each_way
def test_errors_lower_the_score(lake_of: Any, name: str, settings: dict[str, Any]) -> None:
    rows = valued(lake_of, name, settings, COIN).own
    for row in rows:
        figure = row["correlation"] if name == "simulation" else row["auroc"]
        assert figure is None or figure < 0.8, row


@pytest.mark.parametrize(("oracle", "grade", "missing"), [(YES, 2.0, 0), (NO, 0.0, 2)])
def test_one_grade_of_everything_tells_nothing_apart(
    lake_of: Any, oracle: dict[str, float], grade: float, missing: int
) -> None:
    judged = valued(lake_of, "graded", {}, oracle)
    assert set(judged.predictions["values"].explode()) == {grade}
    assert {row["explainer"] for row in judged.scores} == {"default", "rule", "empty", "other_feature"}
    for row in judged.scores:
        assert (row["reason"], row["coverage"]) == (f"no window was graded {missing}", 1), row
        assert [row[each] for each in ("auroc", "auroc_low", "average_precision", "balanced_accuracy")] == [
            None
        ] * 4


@pytest.mark.parametrize("settings", [settings for name, settings in WAYS if name == "simulation"])
def test_one_value_of_every_token_counts_as_no_correlation(lake_of: Any, settings: dict[str, Any]) -> None:
    alike = (0, "every token is predicted alike: the correlation counts as 0")
    silent = valued(lake_of, "simulation", settings, NO).own
    assert {(row["correlation"], row["reason"]) for row in silent} == {alike}
    judged = valued(lake_of, "simulation", settings, YES)  # 5 for every token that the explanation says is silent
    lake = lake_of(scoring={"scorers": ["simulation"], "oracle": YES, "simulation": settings})
    windows = {row["example_id"]: row["activations"] for row in rows_of(lake, "from examples")}
    largest = {row["feature"]: row["max_activation_train"] for row in rows_of(lake, "from feature_stats")}
    for row in judged.scores:
        asked = judged.predictions.filter(explanation_id=row["explanation_id"])
        said = np.concatenate(asked["values"].to_list())
        assert said.min() > 0
        if row["explainer"] == "empty":
            assert {*said} == {5} and (row["correlation"], row["reason"]) == alike
        else:
            fires = np.concatenate([windows[example_id] for example_id in asked["example_id"]])
            truth = on_scale(fires, largest[row["feature"]])
            assert row["correlation"] == pytest.approx(np.corrcoef(said, truth)[0, 1], abs=1e-9)


def on_scale(activations: np.ndarray, largest: float) -> np.ndarray:
    """Activations from 0 to 10, as prompts show them."""
    return np.minimum(10, np.floor(10 * activations / largest + 0.5))


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
