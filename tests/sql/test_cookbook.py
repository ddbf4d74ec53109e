"""The cookbook's counts of features, in an experiment of several SAEs, and its means."""

import hashlib

import numpy as np
import pytest

from .rows import Database

SAES = ("layers.0", "layers.1")


@pytest.mark.parametrize("name", ["q07_weak_firings", "q09_density_and_score", "q17_cost"])
def test_features_of_the_same_number_in_two_saes_are_two(name):
    database = Database()
    row = {"feature": 7, "explainer": "default", "scorer": "detection", "role": "test"}
    details = {"stratum": "decile 1", "metric": "accuracy", "weighting": "sample", "value": 0.5}
    request = {"feature": 7, "purpose": "explain", "model": "m", "status": "ok"}
    whole = {**details, "stratum": "all", "metric": "balanced_accuracy"}
    of_saes = [{"sae": sae, "explanation_id": sae} for sae in SAES]
    database.fill("score_details", [row | each | found for each in of_saes for found in (details, whole)])
    database.fill("explanations", of_saes)
    database.fill("summary", [{"sae": sae, "scorer": "detection", "metric": "balanced_accuracy"} for sae in SAES])
    database.fill("feature_stats", [{"sae": sae, "feature": 7, "density": 0.05} for sae in SAES])
    database.fill("llm_requests", [request | {"sae": sae, "request_id": sae} for sae in SAES])
    assert [found["n_features"] for found in database.rows(name)] == [2]


def test_means_of_two_saes_are_told_apart():
    database = Database()
    row = {"scorer": "detection", "route": "llm", "explainer": "default", "n_features": 3, "mean": 0.5}
    database.fill("summary", [row | {"sae": sae} for sae in SAES])
    assert [found["sae"] for found in database.rows("q05_explainers_against_controls")] == [*SAES]


def details(explainer: str, feature: int, value: float, **columns: object) -> dict[str, object]:
    """A row of score_details: an AUROC of embedding, unless `columns` say otherwise."""
    whole = {"scorer": "embedding", "metric": "auroc", "stratum": "all", "weighting": "sample"}
    ends = {"value": value, "ci_low": value - 0.1, "ci_high": value + 0.1}
    of = {"sae": SAES[0], "feature": feature, "explainer": explainer, "explanation_id": f"{explainer} {feature}"}
    return {**of, **whole, **ends, **columns}


def fill_details(database: Database, rows: list[dict[str, object]]) -> None:
    names = ("sae", "feature", "explainer", "explanation_id")
    database.fill("score_details", rows)
    database.fill("explanations", [{name: row[name] for name in names} for row in rows])
    metrics = {(row["scorer"], row["metric"]) for row in rows if row["stratum"] == "all"}
    database.fill("summary", [{"sae": SAES[0], "scorer": scorer, "metric": metric} for scorer, metric in metrics])


def test_the_best_explanations_are_no_controls_and_of_the_main_metric():
    database = Database()
    controls = [details("other_feature", 1, 0.9), details("empty", 1, 0.9)]
    rows = [details("default", 1, 0.7), details("default", 2, 0.8), *controls]
    fill_details(database, rows)
    others = [details("default", 1, 0.99, metric="f1"), details("default", 2, 0.99, stratum="random")]
    database.fill("score_details", [*rows, *others])
    found = database.rows("q04_best_explanations")
    assert [(row["feature"], row["score"], row["low"]) for row in found] == [(2, 0.8, 0.7), (1, 0.7, 0.6)]


def test_a_mean_by_decile_has_students_interval_and_deciles_in_their_order():
    database = Database()
    of_deciles = [
        details("default", feature, value, metric="accuracy", stratum=f"decile {decile}")
        for decile, values in ((10, (0.4, 0.5, 0.6)), (2, (0.5, 0.7)))
        for feature, value in enumerate(values)
    ]
    fill_details(database, of_deciles)
    rows = database.rows("q22_score_by_decile")
    assert [(row["decile"], row["n_features"], row["share_correct"]) for row in rows] == [
        (2, 2, 0.6),
        (10, 3, 0.5),
    ]
    assert rows[0]["low"] is None
    # Student's t of 2 degrees of freedom, 4.3, times 0.1 / sqrt(3): the spread exceeds the intervals of one value.
    assert rows[1]["low"] == pytest.approx(0.5 - 4.303 * 0.1 / 3**0.5, abs=0.006)


def test_the_mean_of_an_explainer_weighs_routes_by_their_features_and_not_by_the_sample():
    database = Database()
    routes = ["llm"] * 30 + ["rule"] * 10 + ["dead"] * 60
    database.fill(
        "feature_routes", [{"sae": SAES[0], "feature": n, "route": route} for n, route in enumerate(routes)]
    )
    row = {"sae": SAES[0], "scorer": "detection", "metric": "balanced_accuracy", "explainer": "default"}
    llm = {"route": "llm", "n_features": 5, "mean": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    rule = {"route": "rule", "n_features": 5, "mean": 0.9, "ci_low": 0.7, "ci_high": 1.0}
    database.fill("summary", [row | llm, row | rule, row | {"route": "dead", "n_features": 0}])
    (found,) = database.rows("q24_one_mean_per_explainer")
    assert (found["routes"], found["n_scored"], found["n_features"]) == ("llm, rule", 10, 40)
    assert found["mean_score"] == 0.6
    assert found["low"] == pytest.approx(0.6 - ((0.75 * 0.1) ** 2 + (0.25 * 0.2) ** 2) ** 0.5, abs=0.001)
    assert found["high"] == pytest.approx(0.6 + ((0.75 * 0.1) ** 2 + (0.25 * 0.1) ** 2) ** 0.5, abs=0.001)
    database.fill("summary", [row | llm, row | rule | {"ci_low": None, "ci_high": None}])
    (found,) = database.rows("q24_one_mean_per_explainer")
    assert (found["mean_score"], found["low"], found["high"]) == (0.6, None, None)


def test_a_scorer_is_compared_with_readers_without_controls_and_with_an_interval():
    database = Database()
    shares = {"default": (0, 1, 1, 2, 2), "other_feature": (2,)}
    rows = [
        (details(explainer, number + 10 * (explainer != "default"), (0.2, 0.4, 0.5, 0.7, 0.9)[number]), fits)
        for explainer, all_fits in shares.items()
        for number, fits in enumerate(all_fits)
    ]
    fill_details(database, [row for row, _ in rows])
    ids = [{"explanation_id": row["explanation_id"], "explanation": "words"} for row, _ in rows]
    database.fill("explanations", ids)
    rated = {"explanation_sha256": hashlib.sha256(b"words").hexdigest(), "rated_at": "2026"}
    verdicts = [
        {
            **rated,
            "explanation_id": row["explanation_id"],
            "rater": str(n),
            "verdict": "fits" if n < fits else "no",
        }
        for row, fits in rows
        for n in range(2)
    ]
    database.fill("ratings", verdicts)
    (found,) = database.rows("q21_scorers_and_readers")
    r = np.corrcoef((0.2, 0.4, 0.5, 0.7, 0.9), (0, 0.5, 0.5, 1, 1))[0, 1]
    ends = np.tanh(np.arctanh(r) + np.array([-1, 1]) * 1.96 / 2**0.5)
    assert (found["n_explanations"], found["n_features"], found["n_verdicts"]) == (5, 5, 10)
    assert (found["pearson"], found["low"], found["high"]) == pytest.approx((r, *ends), abs=0.006)


def test_the_best_and_the_worst_features_are_told_by_their_ranks():
    database = Database()
    fill_details(database, [details("default", feature, feature / 10) for feature in range(1, 9)])
    found = database.rows("q23_best_and_worst_features")
    assert [(row["rank_from_best"], row["feature"]) for row in found] == [
        (1, 8),
        (2, 7),
        (3, 6),
        (6, 3),
        (7, 2),
        (8, 1),
    ]
