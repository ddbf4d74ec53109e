"""Intervals of the scores hold: simulated explanations of known rates, all of a setting in one run of the SQL."""

import functools
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from .score_reference import SAE, SAMPLE_STEPS, ScoreDatabase, fill_index

N_EXPLANATIONS = 1000
RATES = ((0.5, 0.5), (0.7, 0.8), (0.9, 0.6), (0.95, 0.98), (0.99, 0.995))
SIZES = (20, 50)
POINTS = [(rates, n) for rates in RATES for n in SIZES]
AREAS = [(area, n) for area in (0.6, 0.8, 0.95) for n in SIZES]


class Questions(NamedTuple):
    """Questions of many explanations: each column has one entry a question; document numbers are global."""

    explanation: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    document: np.ndarray
    probability: np.ndarray | None = None
    stratum: np.ndarray | None = None


def fill_questions(database, questions, n_slots=None):
    """Fill explanations, predictions and examples; strata 0 to 9 are deciles, 10 random and 11 same_token."""
    columns = {
        "explanation": questions.explanation,
        "label": questions.label,
        "prediction": questions.prediction,
        "document": questions.document,
        "probability": np.full(len(questions.label), np.nan)
        if questions.probability is None
        else questions.probability,
        "stratum": np.zeros(len(questions.label), int) if questions.stratum is None else questions.stratum,
    }
    connection = database.connection
    connection.register("given_questions", pa.table({key: pa.array(column) for key, column in columns.items()}))
    connection.execute("create or replace temp table questions as from given_questions")
    connection.unregister("given_questions")
    slots = n_slots or [1]
    connection.execute(f"""
        create or replace temp table explanations as
        select distinct 'e' || explanation as explanation_id, '{SAE}' as sae, explanation::int as feature,
            'default' as explainer, null::varchar as request_id
        from questions;
        create or replace temp table predictions as
        select 'e' || explanation as explanation_id, 'detection' as scorer, 'test' as role,
            'q' || rowid as question_id, 'x' || rowid as example_id, label, prediction,
            if(isnan(probability), null, probability) as probability, 'ok' as status,
            null::int as n_choices, null::varchar[] as strata, null::varchar as cluster, null::double[] as "values"
        from questions;
        create or replace temp table examples as
        select 'x' || rowid as example_id, '{SAE}' as sae, explanation::int as feature, 'test' as role,
            if(label, 'activating', if(stratum = 11, 'same_token', 'random')) as kind,
            if(label, stratum + 1, null)::tinyint as decile,
            {slots}[stratum + 1] as n_slots, 'd' || document as doc_id,
            null::int as n_document_slots, null::double as reach
        from questions
    """)


N_SLOTS = [100] * 10 + [18_000, 2_000]
"""Slots of each stratum: a feature that fires in one slot of 21."""


class Population(NamedTuple):
    """Rates of positive answers by stratum."""

    deciles: tuple[float, ...]
    random: float
    same_token: float

    @property
    def recall(self):
        return sum(self.deciles) / 10

    @property
    def false_positive_rate(self):
        return (18 * self.random + 2 * self.same_token) / 20

    @property
    def precision(self):
        return self.recall / (self.recall + 20 * self.false_positive_rate)

    @property
    def f1(self):
        return 2 * self.recall / (self.recall + 20 * self.false_positive_rate + 1)


RISING = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
POPULATIONS = [
    (population, n)
    for population in (
        Population((0.5,) * 10, 0.5, 0.5),
        Population(RISING, 0.2, 0.6),
        Population(RISING, 0.05, 0.4),
        Population((0.95,) * 10, 0.01, 0.1),
        Population((0.99,) * 10, 0.002, 0.05),
    )
    for n in SIZES
]


def stratified(rng):
    """For every population, n positives over ten deciles and n negatives, half of them same_token."""
    parts = []
    for point, (population, n) in enumerate(POPULATIONS):
        explanation, label, _ = repeated(N_EXPLANATIONS, n, rng, 0, 0)
        strata = np.concatenate([np.arange(n) % 10, 10 + np.arange(n) % 2])
        stratum = np.tile(strata, N_EXPLANATIONS)
        rates = np.array([*population.deciles, population.random, population.same_token])
        parts.append(
            (explanation + point * N_EXPLANATIONS, label, rng.random(len(label)) < rates[stratum], stratum)
        )
    explanation, label, prediction, stratum = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Questions(explanation, label, prediction, np.arange(len(label)), None, stratum)


def repeated(n_explanations, n, rng, tpr, tnr):
    """n questions of each label for every explanation, one a document."""
    explanation = np.repeat(np.arange(n_explanations), 2 * n)
    label = np.tile(np.arange(2 * n) < n, n_explanations)
    right = rng.random(len(label)) < np.where(label, tpr, tnr)
    return explanation, label, right


def simple(rng):
    """For every point of the grid, explanations with one question a document."""
    parts = []
    for point, ((tpr, tnr), n) in enumerate(POINTS):
        explanation, label, right = repeated(N_EXPLANATIONS, n, rng, tpr, tnr)
        parts.append((explanation + point * N_EXPLANATIONS, label, label == right))
    explanation, label, prediction = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Questions(explanation, label, prediction, np.arange(len(label)))


def clustered(rng, correlation=0.1):
    """For every point, documents of 2 to 4 questions whose answers go together (beta-binomial)."""
    parts, n_documents = [], 0
    for point, (rates, n) in enumerate(POINTS):
        for is_positive, rate in zip((True, False), rates, strict=True):
            sizes = {20: [2, 3, 4, 2, 3, 4, 2], 50: [2, 3, 4] * 5 + [2, 3]}[n]
            assert sum(sizes) == n
            strength = 1 / correlation - 1
            chance = rng.beta(rate * strength, (1 - rate) * strength, (N_EXPLANATIONS, len(sizes)))
            document = n_documents + np.arange(chance.size).reshape(chance.shape)
            n_documents += chance.size
            right = rng.random((N_EXPLANATIONS, n)) < np.repeat(chance, sizes, axis=1)
            explanation = np.repeat(np.arange(N_EXPLANATIONS) + point * N_EXPLANATIONS, n)
            label = np.full(right.size, is_positive)
            parts.append((explanation, label, label == right.ravel(), np.repeat(document, sizes, axis=1).ravel()))
    return Questions(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def binormal(rng):
    """For every area, positives' scores one normal and negatives' another, shifted so that AUC is the area."""
    parts = []
    for point, (area, n) in enumerate(AREAS):
        explanation, label, _ = repeated(N_EXPLANATIONS, n, rng, 0, 0)
        probability = rng.standard_normal(len(label)) + label * np.sqrt(2) * NormalDist().inv_cdf(area)
        parts.append((explanation + point * N_EXPLANATIONS, label, probability))
    explanation, label, probability = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Questions(explanation, label, probability > 0.5, np.arange(len(label)), probability)


LOPSIDED = [(*sizes, kind) for sizes in ((2, 36), (3, 36), (36, 2), (4, 18)) for kind in ("normal", "two values")]
"""Positives, negatives and what ranks them: normals 1 apart, or answers that are 0 or 1."""
LOPSIDED_AREA = {"normal": NormalDist().cdf(1 / 2**0.5), "two values": 0.7}


def lopsided(rng):
    """For every point, explanations with few questions of one label."""
    parts = []
    for point, (n_positive, n_negative, kind) in enumerate(LOPSIDED):
        explanation = np.repeat(np.arange(N_EXPLANATIONS), n_positive + n_negative) + point * N_EXPLANATIONS
        label = np.tile(np.arange(n_positive + n_negative) < n_positive, N_EXPLANATIONS)
        two = rng.random(len(label)) < np.where(label, 0.7, 0.3)
        parts.append(
            (explanation, label, rng.standard_normal(len(label)) + label if kind == "normal" else 1.0 * two)
        )
    explanation, label, probability = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Questions(explanation, label, probability > 0.5, np.arange(len(label)), probability)


def covered(rows, value, names):
    """By point of the grid, the share of explanations whose interval holds the true value."""
    index = np.array([int(each[1:]) for each in rows["explanation_id"].to_pylist()])
    low, high = (rows[name].to_numpy() for name in names)
    point = index // N_EXPLANATIONS
    truth = np.asarray(value)[point]
    holds = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
    assert not np.isnan(low).any()
    return [float(holds[point == each].mean()) for each in range(len(value))], high - low


@functools.cache
def simulated(kind):
    """sample_scores of the questions of one kind."""
    database = ScoreDatabase()
    fill_questions(
        database,
        {"simple": simple, "clustered": clustered, "binormal": binormal, "lopsided": lopsided}[kind](
            np.random.default_rng(8)
        ),
    )
    database.make(*SAMPLE_STEPS)
    return database.connection.sql("from sample_scores").to_arrow_table()


def simulated_population():
    """population_scores of the questions of every population."""
    database = ScoreDatabase()
    fill_questions(database, stratified(np.random.default_rng(9)), N_SLOTS)
    fill_index(database.connection)
    database.make(*SAMPLE_STEPS, "question_weights", "population_scores")
    return database.connection.sql("from population_scores where precision is not null").to_arrow_table()


def report(title, points, shares):
    print(f"\n{title}")
    for point, share in zip(points, shares, strict=True):
        print(f"  {point!s:24} {100 * share:.1f} %")
    print(f"  {'mean':24} {100 * np.mean(shares):.1f} %")


@pytest.mark.whole
@pytest.mark.parametrize("kind", ["simple", "clustered"])
def test_balanced_accuracy_is_in_its_interval_as_often_as_promised(kind):
    truth = [sum(rates) / 2 for rates, _ in POINTS]
    shares, _ = covered(simulated(kind), truth, ("balanced_accuracy_low", "balanced_accuracy_high"))
    report(f"balanced accuracy, {kind}", POINTS, shares)
    assert 0.93 <= np.mean(shares) <= 0.97
    assert min(shares) >= 0.88


@pytest.mark.whole  # simulates thousands of explanations
def test_area_is_in_its_interval_as_often_as_promised():
    shares, widths = covered(simulated("binormal"), [area for area, _ in AREAS], ("auroc_low", "auroc_high"))
    report("auroc", AREAS, shares)
    assert 0.93 <= np.mean(shares) <= 0.97
    assert min(shares) >= 0.88
    assert widths.min() > 0.01


def test_area_is_in_its_interval_where_few_questions_have_one_of_the_answers():
    truth = [LOPSIDED_AREA[kind] for *_, kind in LOPSIDED]
    shares, _ = covered(simulated("lopsided"), truth, ("auroc_low", "auroc_high"))
    report("auroc of few", LOPSIDED, shares)
    assert 0.93 <= np.mean(shares) <= 0.98
    assert min(shares) >= 0.88


@pytest.mark.whole
def test_figures_for_the_population_are_in_their_intervals_at_least_as_often_as_promised():
    # Bounds from two rates at once are wider than one rate's: over the promise, never far under it.
    rows = simulated_population()
    points = [f"{each.recall:.2f} {each.false_positive_rate:.3f} {n}" for each, n in POPULATIONS]
    for metric in ("recall", "false_positive_rate", "precision", "f1"):
        truth = [getattr(population, metric) for population, _ in POPULATIONS]
        shares, widths = covered(rows, truth, (f"{metric}_low", f"{metric}_high"))
        report(f"population {metric} (recall, false-positive rate, n)", points, shares)
        print(f"  mean width {widths.mean():.2f}, over 0.5 in {100 * (widths > 0.5).mean():.0f} %")
        assert np.mean(shares) >= 0.93
        assert min(shares) >= 0.88
