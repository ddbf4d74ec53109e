"""The cookbook's counts of features, in an experiment of several SAEs."""

import pytest

from .rows import Database

SAES = ("layers.0", "layers.1")


@pytest.mark.parametrize("name", ["q07_weak_firings", "q09_density_and_score", "q17_cost"])
def test_features_of_the_same_number_in_two_saes_are_two(name):
    database = Database()
    row = {"feature": 7, "explainer": "default", "scorer": "detection", "role": "test"}
    details = {"stratum": "decile 1", "metric": "accuracy", "weighting": "sample", "value": 0.5}
    request = {"feature": 7, "purpose": "explain", "model": "m", "status": "ok"}
    database.fill("score_details", [row | details | {"sae": sae, "explanation_id": sae} for sae in SAES])
    database.fill("scores", [row | {"sae": sae, "explanation_id": sae, "balanced_accuracy": 0.5} for sae in SAES])
    database.fill("feature_stats", [{"sae": sae, "feature": 7, "density": 0.05} for sae in SAES])
    database.fill("llm_requests", [request | {"sae": sae, "request_id": sae} for sae in SAES])
    assert [found["n_features"] for found in database.rows(name)] == [2]


def test_means_of_two_saes_are_told_apart():
    database = Database()
    row = {"scorer": "detection", "route": "llm", "explainer": "default", "n_features": 3, "mean": 0.5}
    database.fill("summary", [row | {"sae": sae} for sae in SAES])
    assert [found["sae"] for found in database.rows("q05_explainers_against_controls")] == [*SAES]
