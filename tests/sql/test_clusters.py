"""Questions that share their texts: a trial at three strengths is no three trials, and intervals know it.

Answers are simulated: those of a cluster go together by a known correlation (beta-binomial; for gains, normal).
"""

import numpy as np
import pyarrow as pa
import pytest

from .rows import SAE, Database
from .test_score_intervals import report
from .test_scorer_rhos import right_answers

TARGETS = ("kl 0.1", "kl 0.33", "kl 1.0")
N_TRIALS, N_PROMPTS = 8, 24
RHOS = (0.0, 0.25, 0.5, 0.75, 0.95)
RATES = (1 / 3, 0.45, 0.6, 0.75, 0.9)
N_EACH = 300


def put(database, right=None, gains=None, has_clusters=True):
    """Fill predictions by answers [explanation, trial, target] or gains [explanation, label, prompt, target]."""
    given = right if gains is None else gains
    explanation, *label, cluster, target = (each.ravel() for each in np.indices(given.shape))
    database.connection.register(
        "given_rows",
        pa.table(
            {
                "explanation": explanation,
                "cluster": cluster,
                "target": np.array(TARGETS)[target],
                "label": label[0] == 0 if label else np.full(given.size, True),
                "given": given.ravel(),
            }
        ),
    )
    choice = "given as prediction, null::double as probability, 3 as n_choices"
    ranking = "null::boolean as prediction, given as probability, null::int as n_choices"
    database.connection.execute(f"""
        create or replace temp table predictions as
        select 'e' || explanation as explanation_id, '{SAE}' as sae, explanation::int as feature,
            'steered' as scorer, 'test' as role,
            md5(concat_ws(' ', explanation, label, cluster, target)) as question_id, null::varchar as example_id,
            label, {choice if gains is None else ranking}, [target] as strata, 'ok' as status,
            {"'trial ' || cluster" if has_clusters else "null"}::varchar as cluster
        from given_rows;
        create or replace temp table explanations as
        select distinct explanation_id, sae, feature, 'default' as explainer from predictions;
    """)
    database.connection.unregister("given_rows")


def intervals(database, name, low, high):
    """Its lower and upper bounds by explanation, in order."""
    database.make("question_answers", "rate_intervals", "balanced_accuracies", "choice_scores", "ranked_scores")
    rows = sorted(database.read(name), key=lambda row: int(row["explanation_id"][1:]))
    rows = [row for row in rows if row.get("stratum", "all") == "all"]
    return np.array([(row[low], row[high]) for row in rows]).T


def shares(bounds, truth, shape):
    """By rho and rate, the share of the intervals that hold the true value."""
    low, high = bounds
    return ((low - 1e-9 <= truth) & (truth <= high + 1e-9)).reshape(*shape, N_EACH).mean(axis=2)


def test_accuracy_over_several_targets_is_in_its_interval_as_often_as_promised():
    rng = np.random.default_rng(1)
    rates = np.repeat(RATES, N_EACH)
    right = np.concatenate([right_answers(rng, rates, rho, [3] * N_TRIALS) for rho in RHOS])
    right = right.reshape(-1, N_TRIALS, 3)
    held = {}
    for has_clusters in (False, True):
        database = Database()
        put(database, right, has_clusters=has_clusters)
        bounds = intervals(database, "choice_scores", "accuracy_low", "accuracy_high")
        held[has_clusters] = shares(bounds, np.tile(rates, len(RHOS)), (len(RHOS), len(RATES)))
        points = [(rho, f"{rate:.2f}") for rho in RHOS for rate in RATES]
        report(f"accuracy, clusters: {has_clusters}", points, held[has_clusters].ravel())
    assert held[False][2:].mean() < 0.9, "24 questions are no 24 trials"
    assert 0.93 <= held[True].mean() <= 0.97
    assert held[True].min() >= 0.88


@pytest.mark.whole
def test_area_over_several_targets_is_in_its_interval_as_often_as_promised():
    rng = np.random.default_rng(2)
    strengths, distances = np.array([0.5, 1.0, 2.0]), (0.0, 0.7, 1.5)

    def gains(rho, distance, n, n_prompts):
        shape = (n, 2, n_prompts, 3)
        own, shared = rng.standard_normal(shape), rng.standard_normal((*shape[:3], 1))
        fires = np.array([distance, 0.0]).reshape(1, 2, 1, 1)
        return strengths * (fires + np.sqrt(rho) * shared + np.sqrt(1 - rho) * own)

    truths = []
    for distance in distances:
        positive, negative = np.moveaxis(gains(0, distance, 1, 20_000)[0], 0, 0).reshape(2, -1)
        placed = np.searchsorted(np.sort(negative), positive)
        truths.append(placed.mean() / negative.size)
    given = np.concatenate([gains(rho, distance, N_EACH, N_PROMPTS) for rho in RHOS for distance in distances])
    held = {}
    for has_clusters in (False, True):
        database = Database()
        put(database, gains=given, has_clusters=has_clusters)
        bounds = intervals(database, "ranked_scores", "auroc_low", "auroc_high")
        truth = np.tile(np.repeat(truths, N_EACH), len(RHOS))
        held[has_clusters] = shares(bounds, truth, (len(RHOS), len(distances)))
        points = [(rho, f"{auroc:.2f}") for rho in RHOS for auroc in truths]
        report(f"area, clusters: {has_clusters}", points, held[has_clusters].ravel())
    assert held[False][2:].mean() < 0.9
    assert 0.93 <= held[True].mean() <= 0.97
    assert held[True].min() >= 0.88


@pytest.mark.parametrize("n_right", [0, N_TRIALS])
def test_where_all_answers_are_alike_a_trial_counts_once(n_right):
    right = np.zeros((1, N_TRIALS, 3), bool)
    right[:, :n_right] = True
    database, alone = Database(), Database()
    put(database, right)
    put(alone, right[:, :, :1], has_clusters=False)
    bounds = [intervals(each, "choice_scores", "accuracy_low", "accuracy_high") for each in (database, alone)]
    assert bounds[0] == pytest.approx(bounds[1])


def test_each_target_is_told_by_its_trials_and_a_pilots_rho_is_the_least():
    right = np.random.default_rng(3).random((1, N_TRIALS, 3)) < 0.5
    database = Database()
    put(database, right)
    database.make("question_answers", "rate_intervals")
    rows = {row["rate"]: row for row in database.read("rate_intervals")}
    assert {rows[target]["n_effective"] for target in TARGETS} == {N_TRIALS}
    assert N_TRIALS <= rows["accuracy"]["n_effective"] < 3 * N_TRIALS
    database.fill("scorer_rhos", [{"sae": SAE, "scorer": "steered", "rho": 0.9}])
    database.make("rate_intervals")
    [row] = [row for row in database.read("rate_intervals") if row["rate"] == "accuracy"]
    assert row["n_effective"] == pytest.approx(3 * N_TRIALS / (1 + 2 * 0.9))
