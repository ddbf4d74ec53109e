"""Agreement of scorers: correlations as SciPy has them, over explanations that both judged."""

import random

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from .rows import SAE, Database, by

EXPLAINERS = ("default", "keywords")


def agreements(scores):
    """`scores`: (feature, explainer, scorer, column, value)."""
    database = Database(explaining_explainers=list(EXPLAINERS), scoring_z=1.96)
    database.fill(
        "scores",
        [
            {
                "explanation_id": f"{feature} {explainer}",
                "sae": SAE,
                "feature": feature,
                "explainer": explainer,
                "scorer": scorer,
                "role": "test",
                column: value,
                "chance": 0.2 if column == "accuracy" else None,
            }
            for feature, explainer, scorer, column, value in scores
        ],
    )
    database.make("headline_scores")
    return by(database.rows("scorer_agreements"), "scorer", "other_scorer")


def drawn(n=12, other=("embedding", "auroc")):
    """Two scorers that agree in part, with ties, about two explanations a feature, and controls that do not."""
    rng = random.Random(1)
    rows, pairs = [], []
    for feature in range(n):
        for explainer in EXPLAINERS:
            likeness = rng.random()
            pairs.append((round(likeness, 1), round(0.5 * likeness + 0.5 * rng.random(), 1)))
            rows.append((feature, explainer, "detection", "balanced_accuracy", pairs[-1][0]))
            rows.append((feature, explainer, *other, pairs[-1][1]))
        rows += [
            (feature, "other_feature", "detection", "balanced_accuracy", 0.01 * feature),
            (feature, "other_feature", *other, 1 - 0.01 * feature),
        ]
    return rows, np.array(pairs)


@pytest.mark.parametrize("other", [("embedding", "auroc"), ("detection@mini", "balanced_accuracy")])
def test_correlations_are_those_of_the_explanations_that_both_judged(other):
    rows, pairs = drawn(other=other)
    alone = [(99, "default", "detection", "balanced_accuracy", 0.0), (98, "default", *other, 0.5)]
    row = agreements([*rows, *alone])["detection", other[0]]
    assert (row["n_explanations"], row["n_features"]) == (24, 12)
    assert row["pearson"] == pytest.approx(pearsonr(*pairs.T).statistic)
    assert row["spearman"] == pytest.approx(spearmanr(*pairs.T).statistic)
    ends = np.tanh(np.arctanh(row["pearson"]) + 1.96 / 3 * np.array([-1, 1]))
    assert (row["pearson_low"], row["pearson_high"]) == pytest.approx(tuple(ends))
    wider = 1.96 / 3 * np.sqrt(1 + row["spearman"] ** 2 / 2)
    assert row["spearman_high"] == pytest.approx(np.tanh(np.arctanh(row["spearman"]) + wider))


def test_a_scorer_of_features_goes_beside_every_explanation_of_its_feature():
    rows, pairs = drawn()
    found = [(feature, "empty", "intruder", "accuracy", 0.05 * feature) for feature in range(12)]
    row = agreements([*rows, *found])["detection", "intruder"]
    assert row["n_explanations"] == 24
    assert row["pearson"] == pytest.approx(pearsonr(pairs[:, 0], np.repeat(0.05 * np.arange(12), 2)).statistic)


def test_too_few_features_have_no_interval_and_equal_scores_no_correlation():
    few = [(i, "default", scorer, "balanced_accuracy", i / 10) for i in range(3) for scorer in ("a", "b")]
    row = agreements(few)["a", "b"]
    assert (row["pearson"], row["pearson_low"]) == (pytest.approx(1), None)
    equal = [(i, "default", scorer, "balanced_accuracy", 0.5) for i in range(9) for scorer in ("a", "b")]
    assert agreements(equal)["a", "b"]["pearson"] is None
    assert agreements([]) == {}
