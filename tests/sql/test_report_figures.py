"""The figures of the report: means with their intervals, correlations, shares."""

import math

import numpy as np
import pyarrow as pa
import pytest
import yaml
from scipy import stats

from pipeline.show.report import PUBLISHED

from .rows import SAE, Database


def detail(feature, value, stratum="decile 1", **changes):
    return {
        "explanation_id": f"{feature}", "sae": SAE, "feature": feature, "explainer": "default",
        "scorer": "detection",
        "role": "test", "metric": "accuracy", "stratum": stratum, "weighting": "sample", "value": value, "n": 5,
        **changes,
    }  # fmt: skip


def strata(*rows):
    database = Database(explaining_explainers=["default"])
    quantiles = pa.table({"n_features": [3], "t": [stats.t.ppf(0.975, 2)]})
    database.fill("student_quantiles", quantiles)
    database.fill("score_details", rows)
    database.fill("explanations", [{"explanation_id": "not chosen", "is_chosen": False}])
    database.make_before("report_strata")
    return database.rows("report_strata")


def test_a_decile_has_the_mean_over_features_with_students_interval():
    values = [0.4, 0.5, 0.6]
    [row] = strata(*(detail(feature, value) for feature, value in enumerate(values)))
    assert (row["n_features"], row["stratum_order"], row["is_control"]) == (3, 1, False)
    low, high = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem(values))
    assert (row["mean"], row["ci_low"], row["ci_high"]) == pytest.approx((0.5, low, high))


def test_two_features_have_no_interval_and_two_draws_are_one_feature():
    others = detail(0, 0.0, explanation_id="not chosen"), detail(2, 0.0, explanation_id="not chosen")
    rows = strata(detail(0, 0.2), detail(0, 0.4, explanation_id="another draw"), detail(1, 0.9), *others)
    assert [(row["n_features"], row["mean"], row["ci_low"]) for row in rows] == [(2, pytest.approx(0.6), None)]


def test_features_count_alike_however_many_windows_of_the_stratum_they_were_asked_about():
    values = {0: (0.5, 20), 1: (1.0, 1), 2: (0.75, 3)}
    rows = [detail(feature, value, "random") | {"n": n} for feature, (value, n) in values.items()]
    [row] = strata(*rows, detail(0, 0.1, "random") | {"weighting": "population"})
    assert (row["n_features"], row["mean"]) == (3, pytest.approx(0.75))


def test_kinds_of_silent_windows_stand_left_of_the_deciles():
    rows = strata(*(detail(0, 0.5, stratum) for stratum in ("same_token", "neighbour", "random", "decile 10")))
    assert {row["stratum"]: row["stratum_order"] for row in rows} == {
        "random": -3, "neighbour": -2, "same_token": -1, "decile 10": 10,
    }  # fmt: skip


def test_answers_about_neighbours_are_by_rank_and_in_no_decile():
    database = Database(explaining_explainers=["default"])
    database.fill("student_quantiles", pa.table({"n_features": [3], "t": [4.3]}))
    rows = [detail(feature, 0.5, f"rank {rank}", scorer="neighbours") for feature in range(3) for rank in (1, 10)]
    database.fill("score_details", [*rows, detail(0, 0.5, "cosine 0.1 to 0.2", scorer="neighbours")])
    database.make_before("report_neighbours")
    found = database.rows("report_neighbours")
    assert [(row["rank"], row["mean"], row["ci_low"]) for row in found] == [(1, 0.5, 0.5), (10, 0.5, 0.5)]
    assert database.rows("report_strata") == []


def score(number, scorer, value, explainer="default"):
    return {
        "explanation_id": f"{number}", "sae": SAE, "feature": number, "explainer": explainer, "scorer": scorer,
        "role": "test", "balanced_accuracy": value,
    }  # fmt: skip


def pairs(*rows):
    database = Database(explaining_explainers=["default"], scoring_z=1.96)
    database.fill("scores", rows)
    database.run_stage("scorer_agreements")
    return database.rows("report_scorer_pairs")


def test_two_scorers_correlate_with_fishers_interval():
    ours = [0.5, 0.6, 0.55, 0.7, 0.9, 0.8, 0.65, 0.75, 0.85, 0.6]
    theirs = [0.6, 0.5, 0.65, 0.7, 0.8, 0.9, 0.6, 0.7, 0.75, 0.5]
    rows = pairs(
        *(score(number, "detection", value) for number, value in enumerate(ours)),
        *(score(number, "fuzzing", value) for number, value in enumerate(theirs)),
        score(99, "detection", 0.1, "empty"), score(99, "fuzzing", 0.9, "empty"),
    )  # fmt: skip
    r = stats.pearsonr(ours, theirs).statistic
    assert len(rows) == 10 and rows[0]["correlation"] == pytest.approx(r)
    reach = 1.96 / math.sqrt(7)
    ends = math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)
    assert (rows[0]["correlation_low"], rows[0]["correlation_high"]) == pytest.approx(ends)


def test_explanations_of_one_feature_are_one_observation_of_how_scorers_agree():
    rows = pairs(*(
        score(number % 5, name, value + 0.01 * number) | {"explanation_id": f"e{number}"}
        for number in range(10) for name, value in (("detection", 0.5), ("fuzzing", 0.6 + 0.01 * (number % 3)))
    ))  # fmt: skip
    assert len(rows) == 10 and rows[0]["n"] == 5
    reach = 1.96 / math.sqrt(5 - 3)
    assert rows[0]["correlation_low"] == pytest.approx(math.tanh(math.atanh(rows[0]["correlation"]) - reach))


def test_where_all_scores_of_one_scorer_are_the_same_there_is_no_correlation():
    rows = pairs(*(score(number, name, 0.5) for number in range(3) for name in ("detection", "fuzzing")))
    assert [row["correlation"] for row in rows] == [None] * 3


def test_positional_shares_leave_out_features_that_hardly_fire():
    database = Database()
    few = {"sae": SAE, "feature": 2, "n_active": 99, "position_score": 0.9, "position_information_nats": 0.9}
    few_train = {"sae": SAE, "feature": 3, "n_active": 100, "n_active_train": 99, "position_score": 0.9}
    known = {"sae": SAE, "n_active": 100, "n_active_train": 100}
    database.fill("feature_stats", [
        few,
        few_train,
        known | {"feature": 0, "position_score": 0.06, "position_information_nats": 0.001},
        known | {"feature": 1, "position_score": 0.0, "position_information_nats": 0.0},
    ])  # fmt: skip
    rows = database.rows("report_positional")
    shares = {(row["measure"], row["threshold"]): row["share"] for row in rows}
    assert (shares["score", 0.05], shares["score", 0.1], shares["information", 0.01]) == (0.5, 0, 0)


def test_tokens_and_price_are_of_a_feature_and_no_price_is_none():
    request = {"purpose": "explain", "model": "m", "sae": SAE, "status": "ok", "prompt_tokens": 10,
               "completion_tokens": 2, "duration_ms": 500}  # fmt: skip
    database = Database()
    rows = [
        request | {"request_id": "a", "feature": 0, "cost_usd": 0.5},
        request | {"request_id": "b", "feature": 0, "cost_usd": 0.5, "status": "unparsed"},
        request | {"request_id": "c", "feature": 1, "cost_usd": 1.0},
        request | {"request_id": "d", "feature": 2, "status": "http_error", "prompt_tokens": None},
        request | {"request_id": "e", "feature": 1, "purpose": "detection"},
        request | {"request_id": "of earlier words", "feature": 0, "cost_usd": 4.0},
    ]
    database.fill("llm_requests", rows)
    name_requests(database, *"abcde")
    detection, explain = database.rows("method_costs")
    assert (explain["n_requests"], explain["n_ok"], explain["n_features"]) == (3, 2, 2)
    assert (explain["prompt_tokens_a_feature"], explain["seconds_a_feature"]) == (15, 0.75)
    assert explain["cost_usd_a_million_features"] == pytest.approx(1_000_000)
    assert detection["cost_usd"] is None
    [spent] = database.rows("lifetime_costs")  # d was not answered, and one price is not known
    assert (spent["n_requests"], spent["prompt_tokens"], spent["cost_usd"]) == (5, 50, None)


def name_requests(database, *names):
    """Let the tables come from these requests: explanations, what judged them, and answers."""
    first, second, *others = names
    database.fill("explanations", [{"explanation_id": "any", "request_id": first, "judge_request_ids": [second]}])
    asked = [*others, *others, None]
    database.fill("predictions", [{"explanation_id": "any", "request_id": each} for each in asked])
    database.make("current_requests")


def test_of_what_was_asked_twice_the_explorer_tells_what_the_tables_come_from():
    request = {"purpose": "explain", "model": "m", "sae": SAE, "status": "ok", "prompt_tokens": 10,
               "cost_usd": 0.5}  # fmt: skip
    database = Database()
    asked = [("new", 0), ("judge", 0), ("next", 1), ("before", 0), ("before next", 1)]
    rows = [request | {"request_id": name, "feature": n} for name, n in asked]
    rows[2]["status"] = "http_error"  # it failed, and its tokens were counted and paid
    database.fill("llm_requests", rows)
    name_requests(database, "new", "judge", "next")
    [row] = database.rows("request_costs")
    assert (row["n_requests"], row["n_features"], row["prompt_tokens"]) == (3, 2, 30)
    assert (row["cost_usd"], row["usd_a_million"]) == pytest.approx((1.5, 750_000))
    assert database.rows("lifetime_costs")[0]["cost_usd"] == pytest.approx(2.5)


def beside(scores=(), features=(), requests=()):
    database = Database(explaining_explainers=["default"], scoring_z=1.96)
    database.fill("student_quantiles", pa.table({"n_features": [3], "t": [4.302652729749464]}))
    database.fill("scores", scores)
    database.fill("feature_stats", features)
    database.fill("llm_requests", requests)
    database.fill("predictions", [{"request_id": each["request_id"]} for each in requests])
    database.fill("explanations", [{"explanation_id": "not chosen", "is_chosen": False}])
    database.make_before("beside_post")
    return {(row["sae"], row["quantity"]): row for row in database.rows("beside_post")}


def judged(feature, scorer, value, explainer="default"):
    column = "correlation" if scorer == "simulation" else "balanced_accuracy"
    return {
        "explanation_id": f"{feature} {explainer}", "sae": SAE, "feature": feature, "explainer": explainer,
        "scorer": scorer, "role": "test", column: value,
    }  # fmt: skip


def test_scores_that_happen_to_be_alike_make_no_mean_beside_the_posts_certain():
    bounds = {"ci_low": 0.4, "ci_high": 0.6}
    near = beside([judged(feature, "neighbours", 0.5) | bounds for feature in range(3)])[SAE, "neighbours"]
    half = 4.302652729749464 * 0.2 / (2 * 1.96) / 3**0.5
    assert (near["low"], near["high"]) == pytest.approx((0.5 - half, 0.5 + half))


def test_beside_the_posts_figures_stand_the_same_of_this_experiment():
    draw = np.random.default_rng(0)
    detection, fuzzing = 0.5 + draw.random((2, 12)) / 2
    simulation = detection - 0.3 * draw.random(12)
    scores = [
        judged(feature, scorer, value)
        for scorer, values in (("detection", detection), ("fuzzing", fuzzing), ("simulation", simulation))
        for feature, value in enumerate(values)
    ]
    controls = [judged(feature, "detection", 0.0, "empty") for feature in range(12)]
    near = [judged(feature, "neighbours", value) for feature, value in enumerate([0.4, 0.5, 0.6])]
    near.append(judged(0, "neighbours", 0.0) | {"explanation_id": "not chosen"})
    stats_of = [
        {"sae": SAE, "feature": feature, "n_active": 100, "position_information_nats": value}
        for feature, value in enumerate([0.06, 0.04, 0.0, 0.0])
    ]
    requests = [
        {
            "request_id": f"{number}",
            "purpose": purpose,
            "sae": SAE,
            "feature": 0,
            "status": "ok",
            "model": "m",
            "prompt_tokens": prompt,
            "completion_tokens": 10,
        }
        for number, (purpose, prompt) in enumerate(
            [("explain", 900), ("detection", 700), ("fuzzing", 800), ("simulation", 500), ("simulation", 700)]
        )
    ]
    rows = beside([*scores, *controls, *near], stats_of, requests)
    r = stats.pearsonr((detection + fuzzing) / 2, simulation).statistic
    ends = np.tanh(np.arctanh(r) + 1.96 / 3 * np.array([-1, 1]))
    told = rows[SAE, "agreement"]
    assert (told["value"], told["low"], told["high"], told["n"]) == pytest.approx((r, *ends, 12))
    assert rows[SAE, "detection"]["value"] == pytest.approx(detection.mean())
    low, high = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem([0.4, 0.5, 0.6]))
    near_ones = rows[SAE, "neighbours"]
    assert (near_ones["value"], near_ones["low"], near_ones["high"]) == pytest.approx((0.5, low, high))
    assert rows[SAE, "positional"]["value"] == 0.25
    tokens = {quantity: row["value"] for (sae, quantity), row in rows.items() if sae is None}
    assert tokens == {
        "explanation_prompt_tokens": 900, "explanation_answer_tokens": 10, "question_prompt_tokens": 750,
        "question_answer_tokens": 10, "simulation_prompt_tokens": 1200, "simulation_answer_tokens": 20,
    }  # fmt: skip
    published = yaml.safe_load((PUBLISHED / "post.yaml").read_text(encoding="utf-8"))["figures"]
    assert {quantity for _, quantity in rows} == set(published)


def test_beside_the_posts_figures_nothing_stands_where_there_is_nothing():
    assert {quantity for _, quantity in beside()} <= {"positional"}
