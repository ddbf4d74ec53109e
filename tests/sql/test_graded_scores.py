"""Responsiveness and purity by slots: beside sums over pairs by hand, and what is null."""

import numpy as np
import pytest

from sql.score_reference import SAE, ScoreDatabase


def scores(windows, documents=None, rhos=(), **values):
    """The row of windows (grade or None, peak or None where silent, stratum, n_slots), each of a document."""
    made = ScoreDatabase(**values)
    made.fill("scorer_rhos", [{"sae": SAE, "scorer": "graded", "rho": rho} for rho in rhos])
    documents = documents or range(len(windows))
    made.fill("explanations", [{"explanation_id": "e", "sae": SAE, "feature": 0, "explainer": "default"}])
    made.fill("examples", [
        {"example_id": f"x{place}", "sae": SAE, "feature": 0, "role": "test", "doc_id": f"d{documents[place]}",
         "peak": peak,
         "kind": "activating" if isinstance(stratum, int) else stratum, "n_slots": n_slots,
         "decile": stratum if isinstance(stratum, int) else None}
        for place, (_, peak, stratum, n_slots) in enumerate(windows)
    ])  # fmt: skip
    made.fill("predictions", [
        {"explanation_id": "e", "scorer": "graded", "role": "test", "question_id": f"q{place}",
         "example_id": f"x{place}", "values": None if grade is None else [float(grade)],
         "status": "unparsed" if grade is None else "ok"}
        for place, (grade, *_) in enumerate(windows)
    ])  # fmt: skip
    [row] = made.rows("scores")
    details = {(each["metric"], each["weighting"]): each for each in made.rows("score_details")}
    return row, details


def drawn(seed, n=40):
    random = np.random.default_rng(seed)
    for place in range(n):
        if place % 2:
            kind = ("same_token", "neighbour", "random")[place % 3]
            n_slots = {"same_token": 40, "neighbour": 60}.get(kind, 300)
            yield int(random.choice([0, 0, 0, 1, 2])), None, kind, n_slots
        else:
            decile = place // 2 % 10 + 1
            yield int(random.choice([0, 1, 2, 2, 2])), float(decile + random.random()), decile, 20


def by_hand(windows, weighting="population"):
    known = [each for each in windows if each[0] is not None]
    count = {stratum: sum(each[2] == stratum for each in known) for stratum in {each[2] for each in known}}
    rows = [
        (each[0], each[1] or 0.0, each[3] / count[each[2]] if weighting == "population" else 1.0)
        for each in known
        if each[0] != 1
    ]
    fits, others = ([each for each in rows if each[0] == grade] for grade in (2, 0))
    pairs = [(w * v, (a > b) + (a == b) / 2) for _, a, w in fits for _, b, v in others]
    auroc = sum(weight * right for weight, right in pairs) / sum(weight for weight, _ in pairs)
    total, precision = sum(w for _, _, w in fits), 0.0
    for cut in {a for _, a, _ in rows}:
        gain = sum(w for _, a, w in fits if a == cut)
        above = sum(w for _, a, w in rows if a >= cut)
        precision += gain / total * sum(w for _, a, w in fits if a >= cut) / above
    return auroc, precision


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_by_hand_of_the_sample_and_of_windows_by_their_slots(seed):
    windows = list(drawn(seed))
    row, details = scores(windows, scoring_max_interval=1.0)
    for weighting in ("sample", "population"):
        auroc, precision = by_hand(windows, weighting)
        signed = details["responsiveness", weighting]
        assert signed["value"] == pytest.approx(2 * auroc - 1)
        assert -1 <= signed["ci_low"] < signed["value"] < signed["ci_high"] <= 1
        assert details["purity", weighting]["value"] == pytest.approx(precision)
    auroc, precision = by_hand(windows, "sample")
    assert row["auroc"] == pytest.approx(auroc) and row["average_precision"] == pytest.approx(precision)
    assert row["correlation"] is row["balanced_accuracy"] is None


def logit_half(row):
    low, high = (np.log(row[name] / (1 - row[name])) for name in ("auroc_low", "auroc_high"))
    return (high - low) / 2


def test_the_interval_widens_by_the_documents_of_the_windows_and_the_pilots_rho():
    # One document of ten windows of each grade and ten of one: m = (10 * 10 + 10) / 20 = 5.5, not 20 / 11.
    windows = [(2 * (place % 2), float(place % 7 + 3 * (place % 2)), 1, 20) for place in range(40)]
    documents = [place % 2 if place < 20 else place for place in range(40)]
    (apart, _), (together, _) = scores(windows), scores(windows, documents)
    assert logit_half(together) / logit_half(apart) == pytest.approx((1 + 4.5 * 0.1) ** 0.5)
    piloted, _ = scores(windows, documents, rhos=[0.4])
    assert logit_half(piloted) / logit_half(apart) == pytest.approx((1 + 4.5 * 0.4) ** 0.5)
    assert piloted["auroc"] == apart["auroc"]


def test_one_window_of_a_grade_is_as_uncertain_as_one_answer():
    windows = [(2, 5.5, 1, 20)] + [(0, float(place), 1, 20) for place in range(12)]
    row, _ = scores(windows)
    assert row["auroc"] == 0.5 and row["auroc_high"] - row["auroc_low"] > 0.85


def test_an_unanswered_window_leaves_its_weight_to_those_of_its_stratum():
    windows = [(None, *each[1:]) if place in {3, 8} else each for place, each in enumerate(drawn(5))]
    row, details = scores(windows, scoring_max_interval=1.0)
    assert (row["n_scored"], row["n_unscored"]) == (38, 2)
    assert details["purity", "population"]["value"] == pytest.approx(by_hand(windows)[1])


def test_a_feature_that_fires_on_what_does_not_fit_is_below_chance():
    windows = [(0 if place % 2 else 2, 5.0 if place % 2 else None, 1 if place % 2 else "random", 50)
               for place in range(40)]  # fmt: skip
    row, details = scores(windows)
    assert row["auroc"] == 0 and details["responsiveness", "population"]["value"] == -1


@pytest.mark.parametrize("grades, reason", [
    ((0, 1), "no window was graded 2"),
    ((2, 1), "no window was graded 0"),
    ((0, None), "coverage 0.50 is under 0.80"),
])  # fmt: skip
def test_without_two_grades_there_is_no_figure_and_a_reason(grades, reason):
    windows = [(grades[place % 2], 5.0, place % 10 + 1, 20) for place in range(40)]
    row, details = scores(windows)
    assert (row["auroc"], row["average_precision"], row["reason"]) == (None, None, reason)
    assert details["purity", "sample"]["value"] is details["purity", "population"]["value"] is None


def test_a_wide_interval_hides_the_populations_figures():
    row, details = scores([(2, 5.0, 1, 1), (0, None, "random", 900), (2, None, "random", 900), (0, 4.0, 2, 1)])
    assert row["auroc"] is not None
    for metric in ("responsiveness", "purity"):
        assert details[metric, "population"]["value"] is None is not details[metric, "sample"]["value"]
