"""rho by a pilot: what it is shrunk to, and that intervals hold whatever the true correlation is.

Answers are simulated: right answers about one document go together by a known correlation (beta-binomial). Each
scorer has a pilot of 32 features, and its intervals are those of other explanations, by the rho of its pilot.
"""

import numpy as np
import pyarrow as pa
import pytest

from .rows import SAE, Database
from .test_score_intervals import report
from .test_sequential_scoring import Scoring

RHOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
RATES = ((0.5, 0.5), (0.6, 0.8), (0.9, 0.7), (0.95, 0.9))
SIZES = (4, 4, 3, 3, 2, 2, 1, 1)
"""Questions about each document: twenty, three about the document of a question on average."""
N_PILOTS, N_EACH = 15, 12


def right_answers(rng, rates, rho, sizes):
    """Right or wrong [*rates.shape, sum(sizes)]: those of a document share a chance."""
    rates = np.asarray(rates)
    if rho == 0:
        chance = np.broadcast_to(rates[..., None], (*rates.shape, len(sizes)))
    else:
        strength = 1 / rho - 1
        chance = np.moveaxis(rng.beta(rates * strength, (1 - rates) * strength, (len(sizes), *rates.shape)), 0, -1)
    chance = np.repeat(chance, sizes, axis=-1)
    return rng.random(chance.shape) < chance


def put_answers(database, scorer, right, value=None):
    """Fill question_answers by answers [scorer, explanation, side, question]; an explanation a feature."""
    number, explanation, side, place = (each.ravel() for each in np.indices(right.shape))
    document = np.repeat(np.arange(len(SIZES)), SIZES)[place]
    database.connection.register(
        "given_rows",
        pa.table(
            {
                "scorer": np.asarray(scorer)[number],
                "explanation": explanation,
                "side": side,
                "document": document,
                "right": right.ravel(),
                "value": np.full(right.size, np.nan) if value is None else value.ravel(),
            }
        ),
    )
    database.connection.execute(f"""
        create or replace temp table question_answers as
        select '{SAE}' as sae, explanation::int as feature, concat_ws(' ', scorer, explanation) as explanation_id,
            'default' as explainer, scorer, 'test' as role, side = 0 as label, 'd' || document as document,
            'random' as kind, null::int as decile, true as is_scored, null::int as n_choices,
            null::varchar[] as strata, true as is_put, false as is_clustered,
            if(isnan(value), "right", null) as is_right,
            if("right", side = 0, side <> 0) as prediction, if(isnan(value), null, value) as probability
        from given_rows
    """)
    database.connection.unregister("given_rows")


def told_by(database, scorers):
    """The rows of scorer_rhos of the answers that are there, by scorer."""
    database.fill("pilot_scorers", [{"scorer": scorer} for scorer in scorers])
    database.make("answer_correlations")
    return {row["scorer"]: row for row in database.rows("shrunk_rhos")}


def pilot_of(rng, rho, n_scorers=1):
    """Right answers of pilots: 32 explanations of different worth, [scorer, explanation, side, question]."""
    return right_answers(rng, rng.uniform(0.55, 0.95, (n_scorers, 32, 2)), rho, SIZES)


def test_intervals_hold_whatever_the_correlation_once_a_pilot_has_told_it():
    rng = np.random.default_rng(5)
    database = Database()
    scorers = [f"{rho} {number}" for rho in RHOS for number in range(N_PILOTS)]
    put_answers(database, scorers, np.concatenate([pilot_of(rng, rho, N_PILOTS) for rho in RHOS]))
    rhos = told_by(database, scorers)
    for rho in RHOS:
        found = [rhos[f"{rho} {number}"]["rho"] for number in range(N_PILOTS)]
        print(f"rho {rho}: told {np.mean(found):.2f}, {min(found):.2f} to {max(found):.2f}")
        assert min(found) >= 0.1 and abs(np.mean(found) - max(rho, 0.1)) < 0.06
    put_answers(
        database,
        scorers,
        np.concatenate(
            [
                right_answers(rng, np.tile(np.repeat(RATES, N_EACH, axis=0), (N_PILOTS, 1, 1)), rho, SIZES)
                for rho in RHOS
            ]
        ),
    )
    points = [(rho, rates) for rho in RHOS for rates in RATES]
    shares = coverage(database)
    database.fill("scorer_rhos", list(rhos.values()))
    told = coverage(database)
    report("balanced accuracy by the pilot's rho", points, told)
    print(f"by the config's rho alone: {min(shares):.2f} at least, {np.mean(shares[-8:]):.3f} from 0.4 on")
    assert 0.93 <= np.mean(told) <= 0.97
    assert min(told) >= 0.88
    assert np.mean(shares[-8:]) < 0.9, "0.1 would have been too little"


def coverage(database):
    """By rho and rates, the share of the intervals that hold the true balanced accuracy."""
    database.make("rate_intervals", "balanced_accuracies")
    rows = database.read("balanced_accuracies")
    held = np.zeros((len(RHOS), len(RATES)))
    for row in rows:
        rho, _, explanation = row["explanation_id"].split()
        point = int(explanation) // N_EACH
        truth = sum(RATES[point]) / 2
        is_held = row["balanced_accuracy_low"] - 1e-9 <= truth <= row["balanced_accuracy_high"] + 1e-9
        held[RHOS.index(float(rho)), point] += is_held / (N_PILOTS * N_EACH)
    return held.ravel().tolist()


@pytest.mark.whole  # simulates 1,200 explanations to their last round
def test_sequential_scoring_holds_its_intervals_by_the_pilots_rho():
    rng = np.random.default_rng(6)
    rhos, n_each, n_questions = (0.0, 0.25, 0.5), 100, 60
    points = [(rho, rates) for rho in rhos for rates in RATES]
    right, told = [], []
    for rho in rhos:
        database = Database()
        put_answers(database, ["detection"], pilot_of(rng, rho))
        told.append(told_by(database, ["detection"])["detection"] | {"sae": f"rho {rho}"})
        # Distinct documents first: question n is about document n of 24, and then about the same ones again.
        answers = right_answers(rng, np.repeat(RATES, n_each, axis=0), rho, [3] * 24)
        right.append(answers[:, :, [3 * (n % 24) + n // 24 for n in range(n_questions)]])
    document = np.tile(np.arange(n_questions) % 24, (2, 1))
    scoring = Scoring(np.concatenate(right), document, scoring_target_half_width=0.1)
    scoring.database.connection.execute(
        f"update explanations set sae = {list(map('rho {}'.format, rhos))}[feature // {n_each * len(RATES)} + 1]"
    )
    scoring.database.fill("scorer_rhos", told)
    rows = scoring.end()
    truth = np.array([sum(rates) / 2 for _, rates in points]).repeat(n_each)
    low, high, n = (
        np.array([row[name] for row in rows])
        for name in ("balanced_accuracy_low", "balanced_accuracy_high", "n_scored")
    )
    held = ((low - 1e-9 <= truth) & (truth <= high + 1e-9)).reshape(len(points), n_each).mean(axis=1)
    report("sequential scoring by the pilot's rho", points, held)
    n = n.reshape(len(rhos), -1).mean(axis=1)
    print("questions by rho:", n, "rho told:", [round(row["rho"], 2) for row in told])
    assert 0.93 <= held.mean() <= 0.97
    assert held.min() >= 0.88
    assert n[0] < n[-1], "a larger rho asks for more"


def test_area_of_what_only_ranks_is_told_from_what_it_ranks_by():
    rng = np.random.default_rng(7)
    database = Database()
    shape = (2, 32, 2, sum(SIZES))
    shared = np.repeat(rng.standard_normal((*shape[:3], len(SIZES))), SIZES, axis=-1)
    alone = rng.standard_normal(shape)
    rho = np.array([0.4, 0.0]).reshape(2, 1, 1, 1)
    cosines = 0.3 + 0.1 * (np.sqrt(rho) * shared + np.sqrt(1 - rho) * alone)
    put_answers(database, ["alike", "apart"], np.zeros(shape, bool), cosines)
    rows = told_by(database, ["alike", "apart"])
    assert rows["alike"]["rho_found"] == pytest.approx(0.4, abs=0.08) and rows["alike"]["reason"] is None
    assert rows["apart"]["rho"] == 0.1 and "no more than the config's" in rows["apart"]["reason"]


def test_a_pilot_that_tells_nothing_leaves_the_configs_rho_with_its_reason():
    rng = np.random.default_rng(8)
    right = pilot_of(rng, 0.5)
    reasons = {}
    for name, answers in {"few": right[:, :31], "all right": np.ones_like(right), "told": right}.items():
        database = Database()
        put_answers(database, [name], answers)
        database.fill("predictions", [{"scorer": "few", "status": "budget"}])
        [row] = told_by(database, [name]).values()
        assert (row["rho"] == 0.1) == (row["reason"] is not None)
        reasons[name] = row["reason"]
        database.fill("scorer_rhos", [{**row, "reason": "in other words"}])
        assert len(database.rows("open_pilots")) == (name == "few")
    assert reasons == {
        "few": "31 of the 32 explanations that it takes were judged; 1 requests failed",
        "all right": "all answers are alike",
        "told": None,
    }
    database = Database(scoring_pilot_features=0)
    database.make("question_answers")
    [row] = told_by(database, ["embedding"]).values()
    assert (row["rho"], row["n_explanations"], row["reason"]) == (0.1, 0, "scoring.pilot_features is 0")
    database = Database(scoring_activation_scorers=["simulation"])
    database.make("question_answers")
    [row] = told_by(database, ["simulation"]).values()
    assert row["reason"] == "its intervals are over documents, without a rho"


@pytest.mark.parametrize("n_features", [4, 7, 8])
def test_a_pilot_of_few_features_tells_nothing_however_many_explainers_explain_them(n_features):
    # Explanations of one feature are judged on the same windows: 8 explainers make no 32 features of 4.
    right = right_answers(np.random.default_rng(10), np.full((1, n_features, 2), 0.7), 0.5, SIZES)
    database = Database()
    put_answers(database, ["one"], np.repeat(right, 8, axis=1))
    database.connection.execute("update question_answers set feature = feature // 8")
    [row] = told_by(database, ["one"]).values()
    assert (row["n_features"], row["n_explanations"]) == (n_features, 8 * n_features)
    reason = None if n_features == 8 else f"{n_features} of the 8 features that it takes were judged"
    assert (row["reason"], row["rho"] > 0.1) == (reason, n_features == 8)


def test_features_of_the_pilot_are_the_first_of_the_first_batches_and_more_batches_change_nothing():
    rows = [
        {"sae": SAE, "feature": 10 * batch + number, "batch": batch, "place": number + 1, "priority": priority}
        for batch, priority in ((0, 0), (1, 5), (2, 0))
        for number in range(4)
    ]
    drawn = {}
    for name, selected, first in (("two", rows, 2), ("more", rows, 3), ("without the last", rows[:8], 2)):
        database = Database(scoring_pilot_features=6, selection_batches_per_run=first)
        database.fill("selected_features", selected)
        database.make("selected_batches")
        drawn[name] = [row["feature"] for row in database.rows("pilot_features")]
    assert drawn["two"] == [10, 11, 12, 13, 0, 1] == drawn["more"] == drawn["without the last"]


def test_answers_of_one_feature_are_one_to_the_standard_error():
    rng = np.random.default_rng(9)
    right = pilot_of(rng, 0.3)
    once, twice = Database(), Database()
    put_answers(once, ["one"], right)
    put_answers(twice, ["one"], np.concatenate([right, right], axis=1))
    twice.connection.execute("update question_answers set feature = feature % 32")
    [one], [two] = (told_by(each, ["one"]).values() for each in (once, twice))
    assert two["standard_error"] == pytest.approx(one["standard_error"])
    assert (one["n_features"], two["n_features"], two["n_explanations"]) == (32, 32, 64)
