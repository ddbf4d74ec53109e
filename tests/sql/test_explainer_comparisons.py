"""Explainers held against each other on the same features, beside what each took."""

import random

import pytest

from .rows import Database
from .score_reference import SAE, ScoreDatabase, t_of, z_of

DETECTION = {"default": [0.5, 0.6, 0.7, 0.9], "best_of_k": [0.7, 0.6, 0.8, 0.8], "empty": [0.5, None, 0.4, 0.5]}


def database_of(scores, scorer="detection", requests=(), metric="balanced_accuracy", bounds=(), coverage=None):
    """An explanation a feature by each explainer, its score, and the request `<explainer><feature>`."""
    names = ("ci_low", "ci_high") if metric == "balanced_accuracy" else (f"{metric}_low", f"{metric}_high")
    database = ScoreDatabase()
    rows = [
        (explainer, feature, value) for explainer, values in scores.items() for feature, value in enumerate(values)
    ]
    database.fill(
        "explanations",
        [
            {
                "explanation_id": f"{explainer}{feature}",
                "sae": SAE,
                "feature": feature,
                "explainer": explainer,
                "draw": 0,
                "request_id": f"{explainer}{feature}",
                "judge_request_ids": [f"judge {explainer}{feature}"],
            }
            for explainer, feature, _ in rows
        ],
    )
    database.fill(
        "scores",
        [
            {
                "explanation_id": f"{explainer}{feature}",
                "sae": SAE,
                "feature": feature,
                "explainer": explainer,
                "scorer": scorer,
                "role": "test",
                metric: value,
                "coverage": coverage,
                **dict(zip(names, bounds, strict=False)),
            }
            for explainer, feature, value in rows
        ],
    )
    database.fill("llm_requests", list(requests))
    fill_routes(database, ["llm"] * max(map(len, scores.values())))
    return database


def fill_routes(database, routes):
    """The route of each feature."""
    rows = [{"sae": SAE, "feature": feature, "route": route} for feature, route in enumerate(routes)]
    database.fill("feature_routes", rows)


def compared(database, route="all"):
    rows = database.run("explainer_comparisons").to_pylist()
    return {(row["explainer_a"], row["explainer_b"]): row for row in rows if row["route"] == route}


def test_differences_are_paired_by_feature_and_have_students_interval():
    row = compared(database_of(DETECTION))["best_of_k", "default"]
    differences = [0.2, 0.0, 0.1, -0.1]
    mean = sum(differences) / 4
    error = (sum((each - mean) ** 2 for each in differences) / 3 / 4) ** 0.5
    assert row["difference"] == pytest.approx(mean)
    assert row["ci_low"] == pytest.approx(mean - t_of(0.95, 3) * error, rel=1e-6)
    assert row["ci_high"] == pytest.approx(mean + t_of(0.95, 3) * error, rel=1e-6)
    assert (row["n_features"], row["share_better"], row["share_equal"]) == (4, 0.5, 0.25)
    assert (row["mean_a"], row["mean_b"]) == pytest.approx((0.725, 0.675))


def test_differences_that_happen_to_be_alike_make_no_mean_certain():
    alike = {"default": [0.5, 0.6, 0.7], "rule": [0.6, 0.7, 0.8]}
    row = compared(database_of(alike, bounds=(0.5, 0.7)))["rule", "default"]
    half = t_of(0.95, 2) * 0.1 / z_of(0.95) / 3**0.5
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.1 - half, 0.1 + half))


@pytest.mark.parametrize("metric, most", [("balanced_accuracy", 1), ("correlation", 2)])
def test_a_difference_is_within_what_it_can_be(metric, most):
    apart = {"default": [0.0, 1.0, 0.0], "rule": [1.0, 0.0, 1.0]}
    row = compared(database_of(apart, metric=metric))["rule", "default"]
    assert (row["ci_low"], row["ci_high"]) == (-most, most)


def test_either_can_be_a_and_a_feature_without_both_scores_is_left_out():
    rows = compared(database_of(DETECTION))
    assert len(rows) == 6
    one, other = rows["default", "empty"], rows["empty", "default"]
    assert one["n_features"] == other["n_features"] == 3
    assert one["difference"] == pytest.approx(-other["difference"])
    assert one["ci_low"] == pytest.approx(-other["ci_high"])
    assert compared(database_of({"default": [0.5], "rule": [None]})) == {}
    two = compared(database_of({"default": [0.5, 0.6], "rule": [0.6, 0.8]}))["rule", "default"]
    assert (two["difference"], two["ci_low"], two["ci_high"]) == (pytest.approx(0.15), None, None)


def test_routes_are_compared_apart_and_all_together():
    database = database_of({"rule": [0.9, 0.8, 0.6, 0.5, 0.4], "default": [0.5, 0.6, 0.5, 0.7, 0.8]})
    fill_routes(database, ["rule", "rule", "rule", "llm", "llm"])
    by_route = {route: compared(database, route)["rule", "default"] for route in ("rule", "llm", "all")}
    found = {route: (row["n_features"], row["difference"]) for route, row in by_route.items()}
    assert found == {
        "rule": (3, pytest.approx(0.7 / 3)),
        "llm": (2, pytest.approx(-0.3)),
        "all": (5, pytest.approx(0.02)),
    }
    assert by_route["rule"]["ci_low"] is not None and by_route["llm"]["ci_low"] is None


def test_an_explainer_gains_nothing_by_features_on_which_it_fails():
    # Of features 3 and 4 `default` has no words, of 5 too few answers came; of 6 nobody has any.
    scores = {
        "default": [0.9, 0.8, 0.7, None, None, None, None],
        "best_of_k": [0.8, 0.7, 0.6, 0.6, 0.7, 0.8, None],
    }
    database = database_of(scores, coverage=1.0)
    failed = {"default3", "default4", "default6", "best_of_k6"}
    explanations = database.connection.sql("from explanations").to_arrow_table().to_pylist()
    database.fill("explanations", [
        row | ({"status": "refused", "explanation": None} if row["explanation_id"] in failed else {})
        for row in explanations
    ])  # fmt: skip
    rows = database.connection.sql("from scores").to_arrow_table().to_pylist()
    database.fill("scores", [
        row | {"n_scored": 20, "n_unscored": 20 * (row["explanation_id"] == "default5")}
        for row in rows
        if row["explanation_id"] not in failed
    ])  # fmt: skip
    one, other = (compared(database)[pair] for pair in (("default", "best_of_k"), ("best_of_k", "default")))
    assert (one["n_features"], one["difference"]) == (3, pytest.approx(0.1))
    differences = [0.1, 0.1, 0.1, -0.1, -0.2, -0.3]
    mean = sum(differences) / 6
    error = (sum((each - mean) ** 2 for each in differences) / 5 / 6) ** 0.5
    assert (one["n_features_failed_at_chance"], one["difference_failed_at_chance"]) == (6, pytest.approx(mean))
    assert one["ci_low_failed_at_chance"] == pytest.approx(mean - t_of(0.95, 5) * error, rel=1e-6)
    assert other["ci_high_failed_at_chance"] == pytest.approx(-one["ci_low_failed_at_chance"])
    # One that fails everywhere has a row, too.
    for each in explanations:
        each["status"] = "refused" if each["explainer"] == "default" else each["status"]
    database.fill("explanations", explanations)
    database.fill("scores", [row for row in rows if row["explainer"] != "default"])
    row = compared(database)["default", "best_of_k"]
    assert (row["n_features"], row["difference"], row["n_features_failed_at_chance"]) == (0, None, 6)
    assert row["difference_failed_at_chance"] == pytest.approx(-1.2 / 6)
    assert (row["cost_usd_a"], row["n_tokens_a"], row["share_better"]) == (0, 0, None)


@pytest.mark.parametrize(("coverage", "n_features", "mean"), [(1.0, 4, 0.7), (0.5, 2, 0.9)])
def test_an_explanation_that_no_graded_window_fits_counts_as_chance(coverage, n_features, mean):
    scores = {"default": [0.9, 0.9, None, None], "best_of_k": [0.8, 0.8, 0.7, 0.7]}
    database = database_of(scores, "graded", metric="auroc", coverage=coverage)
    row = compared(database)["default", "best_of_k"]
    assert (row["n_features"], row["mean_a"]) == (n_features, pytest.approx(mean))
    [row] = [row for row in database.rows("summary") if row["explainer"] == "default"]
    assert (row["metric"], row["n_features"], row["mean"]) == ("auroc", n_features, pytest.approx(mean))


def test_areas_of_a_scorer_that_does_not_grade_have_no_value_for_want_of_an_answer():
    scores = {"default": [0.9, None], "best_of_k": [0.8, 0.7]}
    row = compared(database_of(scores, "embedding", metric="auroc", coverage=1.0))["default", "best_of_k"]
    assert (row["n_features"], row["mean_a"]) == (1, 0.9)


def test_the_cost_of_a_search_is_that_of_all_draws_and_of_those_who_judged_them():
    def request(request_id, cost):
        return {"request_id": request_id, "cost_usd": cost, "prompt_tokens": 90, "completion_tokens": 10}

    names = ("best_of_k0", "judge best_of_k0", "draw 1", "judge draw 1", "default0")
    requests = [request(name, 0.25) for name in names]
    database = database_of({"default": [0.5], "best_of_k": [0.7]}, requests=requests)
    rows = database.connection.sql("from explanations").to_arrow_table().to_pylist()
    # The draw that was not chosen, judged beside the other by one request.
    draw = {**rows[-1], "explanation_id": "x", "draw": 1, "request_id": "draw 1", "is_chosen": False}
    draw["judge_request_ids"] = ["judge draw 1", "judge best_of_k0"]
    database.fill("explanations", [*rows, draw])
    row = compared(database)["best_of_k", "default"]
    assert (row["cost_usd_a"], row["cost_usd_b"]) == (1.0, 0.25)
    assert (row["n_tokens_a"], row["n_tokens_b"]) == (400, 100)
    [summed] = [row for row in database.run("summary").to_pylist() if row["explainer"] == "best_of_k"]
    assert (summed["cost_usd"], summed["search_cost_usd"], summed["search_tokens"]) == (1.0, 0.75, 300)


def test_the_gain_of_a_search_is_the_chosen_draws_over_the_first_where_there_was_a_search():
    database = database_of({"best_of_k": [0.5] * 5})
    first = database.connection.sql("from explanations order by feature").to_arrow_table().to_pylist()
    # Of feature 0 the second draw is better, of 1 the first, 2 has one draw that nobody judged, the draws of 3 say
    # the same, and the first of 4 cannot be used.
    scores = {0: (0.6, 0.9), 1: (0.7, 0.5), 3: (None, None), 4: (None, 0.8)}
    draws = []
    for row in first:
        feature, judged_by = row["feature"], ["judge"] if row["feature"] in (0, 1, 4) else []
        own, other = scores.get(feature, (None, None))
        is_other = feature in (0, 4)
        status = "unparsed" if feature == 4 else "ok"
        same = {"judge_request_ids": judged_by, "draw": 0}
        draws.append({**row, **same, "train_score": own, "is_chosen": not is_other, "status": status})
        if feature in scores:
            changed = {"draw": 1, "train_score": other, "is_chosen": is_other, "status": "ok"}
            draws.append({**row, **same, **changed, "explanation_id": f"other {feature}"})
    database.fill("explanations", draws)
    [summed] = database.run("summary").to_pylist()
    assert summed["n_searched_features"] == 4
    assert summed["search_gain"] == pytest.approx((0.3 + 0 + 0) / 3)


def test_echoes_are_counted_beside_the_features_that_were_asked_about():
    database = database_of({"default": [0.5, None, None]})
    rows = database.connection.sql("from explanations order by feature").to_arrow_table().to_pylist()
    rows = [
        row | {"status": status, "judge_request_ids": []}
        for row, status in zip(rows, ("ok", "echoed", "unparsed"), strict=True)
    ]
    database.fill("explanations", rows)
    [summed] = database.run("summary").to_pylist()
    counts = (summed["n_asked_features"], summed["n_echoed_features"], summed["n_searched_features"])
    assert counts == (3, 1, 0) and summed["search_gain"] is None


def test_answers_that_could_not_be_used_were_paid_too():
    def request(request_id, repeats=None):
        return {
            "request_id": request_id,
            "repeats": repeats,
            "cost_usd": 0.25,
            "prompt_tokens": 90,
            "cached_tokens": 0,
            "completion_tokens": 10,
        }

    # The third draw of the explanation counts, the second of the judge's, the first of the scorer's.
    requests = [
        request("first"),
        request("second", "first"),
        request("best_of_k0", "first"),
        request("asked"),
        request("judge best_of_k0", "asked"),
        request("put"),
        request("put again", "put"),
        request("of another"),
    ]
    database = database_of({"default": [0.5], "best_of_k": [0.7]}, requests=requests)
    row = compared(database)["best_of_k", "default"]
    assert (row["cost_usd_a"], row["n_tokens_a"], row["cost_usd_b"]) == (1.25, 500, 0)
    database.fill(
        "predictions",
        [
            {
                "explanation_id": "best_of_k0",
                "scorer": "detection",
                "role": "test",
                "question_id": f"q{number}",
                "request_id": "put",
            }
            for number in range(2)
        ],
    )
    [summed] = [row for row in database.run("summary").to_pylist() if row["explainer"] == "best_of_k"]
    assert (summed["cost_usd"], summed["prompt_tokens"], summed["search_cost_usd"]) == (1.75, 7 * 90, 0.5)


def test_a_cost_is_null_where_one_price_is_not_known():
    def request(request_id, cost):
        return {"request_id": request_id, "cost_usd": cost, "prompt_tokens": 90, "completion_tokens": 10}

    requests = [request("default0", 0.25), request("default1", None), request("rule0", 0.5), request("rule1", 0.5)]
    database = database_of({"default": [0.5, 0.6], "rule": [0.7, 0.8]}, requests=requests)
    row = compared(database)["default", "rule"]
    assert (row["cost_usd_a"], row["cost_usd_b"], row["n_tokens_a"]) == (None, 1.0, 200)
    summed = {row["explainer"]: row for row in database.run("summary").to_pylist()}
    assert {name: row["cost_usd"] for name, row in summed.items()} == {"default": None, "rule": 1.0}
    assert summed["default"]["search_cost_usd"] == 0


def test_a_draw_that_was_not_chosen_is_not_compared():
    database = database_of(DETECTION)
    rows = database.connection.sql("from explanations").to_arrow_table().to_pylist()
    for row in rows:
        row["is_chosen"] = row["explainer"] != "best_of_k"
    database.fill("explanations", rows)
    assert compared(database).keys() == {("default", "empty"), ("empty", "default")}


def test_the_order_of_rows_changes_nothing():
    rng = random.Random(0)
    scores = {name: [rng.random() for _ in range(50)] for name in ("a", "b")}
    database = database_of(scores)
    before = database.run("explainer_comparisons")
    rows = database.connection.sql("from scores").to_arrow_table().to_pylist()
    rng.shuffle(rows)
    database.fill("scores", rows)
    assert database.run("explainer_comparisons").equals(before)


def test_of_many_pairs_those_are_printed_that_differ():
    names = [f"explainer_{place}" for place in range(6)]
    database = Database()
    database.fill(
        "explainer_comparisons",
        [
            {
                "sae": SAE,
                "scorer": "detection",
                "explainer_a": a,
                "explainer_b": b,
                "route": route,
                "n_features": 9,
                "difference": 0.01 * (i + j),
                "ci_low": 0.001 if (i, j) == (1, 0) else -0.1,
                "ci_high": 0.2,
            }
            for i, a in enumerate(names)
            for j, b in enumerate(names)
            for route in ("llm", "all")
            if i != j
        ],
    )
    rows = database.rows("closing_comparisons", sae=SAE, n=3, explaining_explainers=names)
    assert [(row["explainer_a"], row["explainer_b"]) for row in rows] == [
        ("explainer_1", "explainer_0"),
        ("explainer_5", "explainer_3"),
        ("explainer_5", "explainer_4"),
    ]
    assert {row["n_pairs"] for row in rows} == {15}
