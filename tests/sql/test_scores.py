"""Scores: figures of hand-made answers, edge cases first, and agreement with formulas written independently."""

import random
from statistics import NormalDist

import pytest

from .score_reference import (
    CONTEXT_LENGTH,
    SAE,
    Interval,
    ScoreDatabase,
    auroc,
    average_precision,
    effective,
    f1_of,
    fill_index,
    mover,
    precision_of,
    ratio,
    t_of,
    wilson,
    wilson_of,
)


def answer(label, prediction, number, scorer="detection", status="ok", **columns):
    return {
        "explanation_id": "e",
        "scorer": scorer,
        "role": "test",
        "question_id": f"q{number}",
        "label": label,
        "prediction": prediction,
        "status": status,
    } | columns


def answers(true_positives=0, false_negatives=0, true_negatives=0, false_positives=0, failed=(0, 0), **columns):
    """Rows of predictions by how they were answered; `failed` by label, positive first."""
    outcomes = (
        [(True, True)] * true_positives
        + [(True, False)] * false_negatives
        + [(False, False)] * true_negatives
        + [(False, True)] * false_positives
    )
    rows = [answer(label, prediction, i, **columns) for i, (label, prediction) in enumerate(outcomes)]
    return rows + [
        answer(i < failed[0], None, f"f{i}", **columns | {"status": "refused"}) for i in range(sum(failed))
    ]


def database_of(predictions, examples=(), explainer="default", threads=2, **values):
    database = ScoreDatabase(threads, **values)
    names = {row["explanation_id"] for row in predictions} or {"e"}
    database.fill(
        "explanations",
        [{"explanation_id": name, "sae": SAE, "feature": 7, "explainer": explainer} for name in sorted(names)],
    )
    database.fill("predictions", predictions)
    database.fill("examples", list(examples))
    fill_index(database.connection)
    return database


def score(predictions, examples=(), **values):
    [row] = database_of(predictions, examples, **values).rows("scores")
    return row


def details(database):
    rows = database.rows("score_details")
    found = {(row["scorer"], row["weighting"], row["metric"], row["stratum"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def bounds(row):
    return row["value"], row["ci_low"], row["ci_high"]


FIGURES = ("balanced_accuracy", "ci_low", "ci_high", "precision", "recall", "f1", "auroc", "average_precision")


# Edges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scores", "score_details", "summary", "explainer_comparisons"])
def test_no_predictions_give_no_rows(name):
    rows = database_of([]).run(name)
    assert rows.num_rows == 0
    assert rows.schema.names[0] == ("explanation_id" if name.startswith("score") else "sae")
    assert "null" not in {str(each.type) for each in rows.schema}


def test_all_failed_is_no_score_with_the_widest_bounds():
    row = score(answers(failed=(3, 4)))
    assert all(row[name] is None for name in FIGURES)
    assert (row["n_scored"], row["n_unscored"], row["coverage"]) == (0, 7, 0)
    assert row["reason"] == "coverage 0.00 is under 0.80"
    assert (row["balanced_accuracy_all_wrong"], row["balanced_accuracy_all_right"]) == (0, 1)


def test_equal_balanced_accuracies_are_the_same_number_whatever_the_rates():
    # (0.6 + 0.7) / 2 and (0.5 + 0.8) / 2 differ in the last digit; one of them would count as the better.
    rows = [answers(yes, 10 - yes, no, 10 - no, explanation_id=f"{yes}") for yes, no in ((6, 7), (5, 8), (9, 4))]
    found = database_of([row for each in rows for row in each]).rows("scores")
    assert [row["balanced_accuracy"] for row in found] == [0.65] * 3


def test_under_the_minimum_coverage_only_the_bounds_stay():
    row = score(answers(5, 1, 4, 1, failed=(4, 5), probability=0.5))
    assert all(row[name] is None for name in FIGURES)
    assert row["reason"] == "coverage 0.55 is under 0.80"
    assert row["balanced_accuracy_all_wrong"] == pytest.approx((5 / 10 + 4 / 10) / 2)
    assert row["balanced_accuracy_all_right"] == pytest.approx((9 / 10 + 9 / 10) / 2)
    found = details(database_of(answers(5, 1, 4, 1, failed=(4, 5))))
    assert all(row["value"] is None for row in found.values())


def test_reason_never_says_that_a_coverage_is_under_itself():
    assert score(answers(159, 0, 638, 0, failed=(3, 200)))["reason"] == "coverage 0.79 is under 0.80"
    assert score(answers(8, 0, 8, 0, failed=(2, 2)))["reason"] is None


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"true_negatives": 9, "false_positives": 1}, "no positive question could be asked"),
        ({"true_positives": 9, "false_negatives": 1}, "no negative question could be asked"),
        ({"true_negatives": 9, "false_positives": 1, "failed": (2, 0)}, "no positive question was answered"),
        ({"true_positives": 9, "false_negatives": 1, "failed": (0, 2)}, "no negative question was answered"),
    ],
)
def test_one_class_has_no_balanced_accuracy(counts, reason):
    row = score(answers(**counts, probability=0.5))
    assert row["reason"] == reason
    assert row["recall"] == (0.9 if "true_positives" in counts else None)
    assert all(row[name] is None for name in FIGURES if name != "recall")
    # Where some were asked and failed, both bounds are there: the accuracy if all had failed, or none.
    assert (row["balanced_accuracy_all_wrong"] is None) == ("failed" not in counts)


def test_every_answer_negative_has_no_precision_and_f1_of_zero():
    row = score(answers(0, 5, 5, 0))
    assert (row["balanced_accuracy"], row["precision"], row["recall"], row["f1"]) == (0.5, None, 0, 0)
    assert row["reason"] == "no precision: every answer was negative"


def test_an_ok_answer_without_a_prediction_and_a_failed_one_with_it_are_unscored():
    rows = [*answers(5, 0, 5, 0), answer(True, None, "a"), answer(True, False, "b", status="unparsed")]
    row = score(rows)
    assert (row["n_scored"], row["n_unscored"], row["recall"]) == (10, 2, 1)


def test_fuzzing_rows_are_scored_apart_and_have_no_population():
    examples = [
        {
            "example_id": "x",
            "sae": SAE,
            "feature": 7,
            "role": "test",
            "kind": "activating",
            "decile": 3,
            "n_slots": 5,
            "doc_id": "d",
        }
    ]
    rows = [
        *answers(3, 1, 4, 0),
        *answers(2, 2, 2, 2, scorer="fuzzing", marked=[1, 4], example_id="x"),
    ]
    database = database_of(rows, examples)
    scores = {row["scorer"]: row for row in database.rows("scores")}
    assert (scores["detection"]["balanced_accuracy"], scores["fuzzing"]["balanced_accuracy"]) == (0.875, 0.5)
    found = details(database)
    assert {weighting for scorer, weighting, _, _ in found if scorer == "fuzzing"} == {"sample"}
    assert found["fuzzing", "sample", "accuracy", "decile 3"]["n"] == 4, "its positives alone"
    assert found["fuzzing", "sample", "accuracy", "activating"]["n"] == 8


def test_an_answer_without_a_probability_is_unscored_in_the_ranking_alone():
    predictions, _ = drawn_answers(5, n=20)
    for row in predictions:
        row["example_id"] = None
    whole = score(predictions)
    assert whole["auroc_coverage"] == 1
    for row in predictions[:3]:
        row["probability"] = None
    row, rest = score(predictions), score(predictions[3:])
    assert row["auroc_coverage"] == 37 / 40 and row["coverage"] == 1
    for figure in ("auroc", "auroc_low", "auroc_high", "average_precision"):
        assert row[figure] == pytest.approx(rest[figure])
    assert row["balanced_accuracy"] == whole["balanced_accuracy"]
    counts = {name: told["n"] for (_, _, name, stratum), told in details(database_of(predictions)).items()}
    assert (counts["auroc"], counts["average_precision"], counts["balanced_accuracy"]) == (37, 37, 40)


def test_too_few_probabilities_are_no_ranking():
    rows = answers(3, 1, 4, 0, probability=0.4)
    assert score(rows)["auroc"] == 0.5
    for row in rows[:2]:
        row["probability"] = None
    told = score(rows)
    assert (told["auroc"], told["auroc_coverage"], told["balanced_accuracy"]) == (None, 0.75, 0.875)
    none = score(answers(3, 1, 4, 0))
    assert (none["auroc"], none["auroc_coverage"]) == (None, None)


def choices(right, wrong, failed=0, n_choices=5):
    """Rows of predictions of a scorer that chooses, every question about a document of its own."""
    rows = [answer(True, i < right, i, "intruder", n_choices=n_choices) for i in range(right + wrong)]
    return rows + [answer(True, None, f"f{i}", "intruder", "unparsed", n_choices=n_choices) for i in range(failed)]


def test_choices_have_an_accuracy_beside_that_of_guessing_and_no_rates_of_yes():
    row = score(choices(15, 5, failed=5))
    assert (row["accuracy"], row["accuracy_low"], row["accuracy_high"]) == pytest.approx(wilson_of(0.75, 20))
    assert (row["chance"], row["n_scored"], row["n_unscored"], row["reason"]) == (0.2, 20, 5, None)
    assert (row["accuracy_all_wrong"], row["accuracy_all_right"]) == (0.6, 0.8)
    assert all(row[name] is None for name in FIGURES) and row["balanced_accuracy_all_wrong"] is None


def test_choices_under_the_minimum_coverage_have_no_accuracy_and_both_bounds():
    row = score(choices(5, 5, failed=10))
    assert (row["accuracy"], row["accuracy_low"], row["chance"]) == (None, None, 0.2)
    assert row["reason"] == "coverage 0.50 is under 0.80"
    assert (row["accuracy_all_wrong"], row["accuracy_all_right"]) == (0.25, 0.75)
    assert score(choices(0, 0, failed=4))["accuracy"] is None


def test_choices_are_told_by_stratum_with_the_design_effect_of_shared_documents():
    rows = choices(15, 5)
    for i, row in enumerate(rows):
        row |= {"example_id": f"x{i}", "strata": [f"decile {1 + i % 2}"]}
    examples = [
        {
            "example_id": f"x{i}",
            "sae": SAE,
            "feature": 7,
            "role": "test",
            "kind": "activating",
            "decile": 9,
            "doc_id": f"d{i // 2}",
        }
        for i in range(20)
    ]
    found = details(database_of(rows, examples))
    told = found["intruder", "sample", "accuracy", "all"]
    documents = [i // 2 for i in range(20)]
    assert bounds(told) == pytest.approx(wilson_of(0.75, effective(20, documents, 0.1))) and told["n"] == 20
    assert bounds(found["intruder", "sample", "accuracy", "decile 1"]) == pytest.approx(wilson_of(0.8, 10))
    assert ("intruder", "sample", "accuracy", "decile 9") not in found, (
        "the intruder's own decile is not asked about"
    )
    assert found["intruder", "sample", "recall", "all"]["value"] is None


def trials(right, wrong, missing=0, failed=0, target="kl 1.0"):
    """Rows of a scorer that chooses among three: so many trials of a target right, wrong, not put, and failed."""
    ends = [("ok", True)] * right + [("ok", False)] * wrong + [("no_input", None)] * missing
    ends += [("unparsed", None)] * failed
    return [
        answer(True, says, f"{target} {i}", "intervention", status, n_choices=3, strata=[target], cluster=f"{i}")
        for i, (status, says) in enumerate(ends)
    ]


def test_what_could_not_be_asked_is_neither_scored_nor_unscored():
    near, far = trials(8, 0, target="kl 0.1"), trials(6, 2, target="kl 0.33")
    row = score([*near, *far, *trials(0, 0, missing=8)])
    without = score([*near, *far])
    assert row == without
    assert (row["accuracy"], row["n_scored"], row["n_unscored"], row["reason"]) == (14 / 16, 16, 0, None)
    assert (row["accuracy_all_wrong"], row["accuracy_all_right"]) == (14 / 16, 14 / 16)
    found = details(database_of([*near, *far, *trials(0, 0, missing=8)]))
    told = {stratum: row["value"] for (_, _, metric, stratum), row in found.items() if metric == "accuracy"}
    assert told == {"all": 14 / 16, "kl 0.1": 1, "kl 0.33": 0.75}


def test_where_nothing_could_be_asked_the_score_is_null_and_says_so():
    row = score(trials(0, 0, missing=8))
    assert (row["accuracy"], row["n_scored"], row["n_unscored"], row["coverage"]) == (None, 0, 0, None)
    assert row["reason"] == "nothing could be asked: what it asks about is not there"
    assert (row["accuracy_all_wrong"], row["accuracy_all_right"]) == (None, None)
    assert row["chance"] == pytest.approx(1 / 3)


def test_a_stratum_is_told_by_its_own_coverage():
    rows = [*trials(6, 2, target="kl 0.1"), *trials(6, 2, target="kl 0.33"), *trials(3, 2, failed=3)]
    found = details(database_of(rows))
    told = {stratum: row["value"] for (_, _, metric, stratum), row in found.items() if metric == "accuracy"}
    assert told == {"all": 15 / 21, "kl 0.1": 0.75, "kl 0.33": 0.75, "kl 1.0": None}
    found = details(database_of([*trials(6, 2, target="kl 0.1"), *trials(3, 2, failed=3)]))
    told = {stratum: row["value"] for (_, _, metric, stratum), row in found.items() if metric == "accuracy"}
    assert told == {"all": 9 / 13, "kl 0.1": 0.75, "kl 1.0": None}
    found = details(database_of([*trials(6, 2, target="kl 0.1"), *trials(0, 2, failed=6)]))
    told = {stratum: row["value"] for (_, _, metric, stratum), row in found.items() if metric == "accuracy"}
    assert told == {"all": None, "kl 0.1": 0.75, "kl 1.0": None}


@pytest.mark.parametrize(("of_positives", "value"), [(0.9, 1), (0.1, 0), (0.5, 0.5)])
def test_a_ranking_without_spread_has_an_interval_all_the_same(of_positives, value):
    rows = [answer(i < 10, i < 10, i, probability=of_positives if i < 10 else 0.5) for i in range(30)]
    found = details(database_of(rows))["detection", "sample", "auroc", "all"]
    assert bounds(found) == pytest.approx(wilson_of(value, 10))
    assert found["ci_high"] - found["ci_low"] > 0.2


RANKED_KINDS = {0: "same_token", 1: "neighbour", 2: "random"}


def ranked_answers(n=30):
    """Answers of a scorer that ranks: positives above the random windows alone."""
    rows, examples = [], []
    for i in range(2 * n):
        kind = "activating" if i < n else RANKED_KINDS[i % 3]
        likeness = {"activating": 0.5, "same_token": 0.6, "neighbour": 0.5, "random": 0.2}[kind]
        rows.append(
            answer(i < n, None, i, "embedding", example_id=f"x{i}", probability=likeness + 0.001 * (i % 5))
        )
        examples.append(
            {
                "example_id": f"x{i}",
                "sae": SAE,
                "feature": 7,
                "role": "test",
                "kind": kind,
                "doc_id": f"d{i}",
                "decile": 1 + i % 10 if i < n else None,
                "n_slots": 100,
            }
        )
    return rows, examples


def test_a_scorer_that_only_ranks_has_an_area_and_no_accuracy():
    rows, examples = ranked_answers()
    row = score(rows, examples)
    assert [row[name] for name in ("balanced_accuracy", "ci_low", "precision", "recall", "f1")] == [None] * 5
    assert (row["balanced_accuracy_all_wrong"], row["balanced_accuracy_all_right"]) == (None, None)
    assert (row["n_scored"], row["n_unscored"], row["coverage"]) == (60, 0, 1)
    assert row["reason"] == "it ranks windows and says neither yes nor no: read auroc"
    likeness = {label: [each["probability"] for each in rows if each["label"] is label] for label in (True, False)}
    expected = auroc(likeness[True], likeness[False])
    assert (row["auroc"], row["auroc_low"], row["auroc_high"]) == pytest.approx(expected)


def test_an_area_is_told_against_each_kind_of_silent_windows():
    rows, examples = ranked_answers()
    found = details(database_of(rows, examples))
    kinds = {each["example_id"]: each["kind"] for each in examples}
    positives = [row["probability"] for row in rows if row["label"]]
    for kind in RANKED_KINDS.values():
        negatives = [row["probability"] for row in rows if kinds[row["example_id"]] == kind]
        told = found["embedding", "sample", "auroc", kind]
        assert told["n"] == 40
        if kind == "neighbour":
            assert bounds(told) == pytest.approx(auroc(positives, negatives))
        else:
            assert told["value"] == {"same_token": 0, "random": 1}[kind]
    assert not [key for key in found if key[2] == "accuracy" and found[key]["value"] is not None]


def test_an_area_is_null_against_a_kind_of_which_too_few_windows_were_answered():
    rows, examples = ranked_answers()
    kinds = {each["example_id"]: each["kind"] for each in examples}
    of_random = [row for row in rows if kinds[row["example_id"]] == "random"]
    for row in of_random[: len(of_random) // 2]:
        row |= {"status": "refused", "probability": None}
    found = details(database_of(rows, examples))
    assert found["embedding", "sample", "auroc", "all"]["value"] is not None
    assert found["embedding", "sample", "auroc", "same_token"]["value"] is not None
    assert bounds(found["embedding", "sample", "auroc", "random"]) == (None, None, None)


def test_a_summary_is_of_accuracies_where_a_scorer_chooses():
    database = ScoreDatabase()
    database.fill("feature_routes", [{"sae": SAE, "feature": i, "route": "llm"} for i in range(4)])
    database.fill(
        "scores",
        [
            {
                "explanation_id": f"e{i}",
                "sae": SAE,
                "feature": i,
                "explainer": "empty",
                "scorer": "intruder",
                "role": "test",
                "accuracy": 0.2 * i if i else None,
                "chance": 0.2,
                "n_scored": 9,
                "n_unscored": 0,
                "accuracy_all_wrong": 0.1 * i,
                "accuracy_all_right": 0.9,
            }
            for i in range(4)
        ],
    )
    [row] = database.rows("summary")
    assert (row["metric"], row["n_features"], row["chance"]) == ("accuracy", 3, 0.2)
    assert (row["mean"], row["mean_all_wrong"], row["mean_all_right"]) == pytest.approx((0.4, 0.15, 0.9))


def test_a_summary_of_correlations_stays_within_what_they_can_be():
    database = ScoreDatabase()
    database.fill("feature_routes", [{"sae": SAE, "feature": i, "route": "llm"} for i in range(3)])
    database.fill(
        "scores",
        [
            {
                "explanation_id": f"e{i}",
                "sae": SAE,
                "feature": i,
                "explainer": "empty",
                "scorer": "simulation",
                "role": "test",
                "correlation": (-1) ** i * 0.9,
                "n_scored": 9,
                "n_unscored": 0,
            }
            for i in range(3)
        ],
    )
    [row] = database.rows("summary")
    assert (row["metric"], row["ci_low"], row["ci_high"]) == ("correlation", -1, 1)


def test_a_summary_is_of_areas_where_a_scorer_only_ranks():
    database = ScoreDatabase()
    database.fill("feature_routes", [{"sae": SAE, "feature": i, "route": "llm"} for i in range(4)])
    database.fill(
        "scores",
        [
            {
                "explanation_id": f"e{i}",
                "sae": SAE,
                "feature": i,
                "explainer": "keywords",
                "scorer": scorer,
                "role": "test",
                "auroc": 0.1 * (6 + i),
                "balanced_accuracy": accuracy,
                "n_scored": 9,
                "n_unscored": 0,
            }
            for i in range(4)
            for scorer, accuracy in (("embedding", None), ("detection", 0.5 if i else None))
        ],
    )
    rows = {row["scorer"]: row for row in database.rows("summary")}
    told = {scorer: (row["metric"], row["n_features"], row["mean"]) for scorer, row in rows.items()}
    assert told["embedding"] == ("auroc", 4, pytest.approx(0.75))
    assert told["detection"] == ("balanced_accuracy", 3, pytest.approx(0.5))


# Agreement with the reference ---------------------------------------------------------------------------


SLOTS = {"random": 5000, "neighbour": 700, "same_token": 300}


def drawn_answers(seed, n=60, with_ties=True):
    """Answers of one explanation about n positives and n negatives, several questions a document."""
    rng = random.Random(seed)
    predictions, examples = [], []
    for i in range(2 * n):
        label = i < n
        kind = "activating" if label else rng.choice(list(SLOTS))
        decile = i % 10 + 1 if label else None
        probability = rng.gauss(0.6 if label else 0.4, 0.2)
        if with_ties:
            probability = round(probability, 1)
        examples.append(
            {
                "example_id": f"x{i}",
                "sae": SAE,
                "feature": 7,
                "role": "test",
                "kind": kind,
                "decile": decile,
                "n_slots": 40 + decile if label else SLOTS[kind],
                "doc_id": f"d{rng.randrange(50)}",
            }
        )
        predictions.append(answer(label, probability > 0.45, i, example_id=f"x{i}", probability=probability))
    rng.shuffle(predictions)
    return predictions, examples


def rates_of(predictions, examples):
    """Recall and specificity by the reference, and every stratum's rate with its slots."""
    place = {row["example_id"]: row for row in examples}

    def rate(chosen):
        return wilson(
            [row["label"] == row["prediction"] for row in chosen],
            [place[row["example_id"]]["doc_id"] for row in chosen],
        )

    strata = {}
    for row in predictions:
        example = place[row["example_id"]]
        name = f"decile {example['decile']}" if row["label"] else example["kind"]
        strata.setdefault((name, example["n_slots"]), []).append(row)
    positives = [row for row in predictions if row["label"]]
    negatives = [row for row in predictions if not row["label"]]
    yes = [row for row in predictions if row["prediction"]]
    return (
        rate(positives),
        rate(negatives),
        rate(yes),
        {name: (n_slots, rate(rows), len(rows)) for (name, n_slots), rows in strata.items()},
    )


@pytest.mark.parametrize("seed", range(2))
def test_sample_figures_agree_with_the_reference(seed):
    predictions, examples = drawn_answers(seed)
    recall, specificity, precision, strata = rates_of(predictions, examples)
    database = database_of(predictions, examples)
    found = details(database)

    def sample(metric):
        return bounds(found["detection", "sample", metric, "all"])

    balanced = mover([(0.5, recall), (0.5, specificity)])
    assert sample("recall") == pytest.approx(recall)
    assert sample("false_positive_rate") == pytest.approx(
        [1 - specificity.value, 1 - specificity.high, 1 - specificity.low]
    )
    assert sample("precision") == pytest.approx(precision)
    assert sample("balanced_accuracy") == pytest.approx(balanced)
    assert sample("f1") == pytest.approx(f1_of(recall, specificity, 60, 60))
    for name, (_, rate, n) in strata.items():
        row = found["detection", "sample", "accuracy", name]
        assert (*bounds(row), row["n"]) == pytest.approx((*rate, n))
    [row] = database.rows("scores")
    assert (row["balanced_accuracy"], row["ci_low"], row["ci_high"]) == pytest.approx(balanced)


@pytest.mark.parametrize("with_ties", [True, False])
def test_rankings_agree_with_the_reference(with_ties):
    # One question a document, so that DeLong's variance stands as it is.
    predictions, _ = drawn_answers(5, with_ties=with_ties)
    for row in predictions:
        row["example_id"] = None
    positives = [row["probability"] for row in predictions if row["label"]]
    negatives = [row["probability"] for row in predictions if not row["label"]]
    found = details(database_of(predictions))
    assert bounds(found["detection", "sample", "auroc", "all"]) == pytest.approx(auroc(positives, negatives))
    value = found["detection", "sample", "average_precision", "all"]["value"]
    assert value == pytest.approx(average_precision(positives, negatives))


def test_rankings_are_less_sure_where_documents_are_shared():
    predictions, examples = drawn_answers(6)
    for i, row in enumerate(examples):
        row["doc_id"] = f"d{i // 3}"
    positives = [row["probability"] for row in predictions if row["label"]]
    negatives = [row["probability"] for row in predictions if not row["label"]]
    found = details(database_of(predictions, examples))["detection", "sample", "auroc", "all"]
    assert bounds(found) == pytest.approx(auroc(positives, negatives, rho_effect=1.2))


@pytest.mark.parametrize("seed", range(2))
def test_population_figures_weigh_strata_by_their_slots(seed):
    predictions, examples = drawn_answers(seed, n=200)
    recall, _, _, strata = rates_of(predictions, examples)
    deciles = [each for name, each in strata.items() if name.startswith("decile")]
    silent = [each for name, each in strata.items() if not name.startswith("decile")]
    n_activating, n_silent = sum(each[0] for each in deciles), sum(each[0] for each in silent)
    specificity = mover([(n_slots / n_silent, rate) for n_slots, rate, _ in silent])
    place = {row["example_id"]: row["doc_id"] for row in examples}
    documents = [place[row["example_id"]] for row in predictions if row["label"]]
    kish = n_activating**2 / sum(n_slots**2 / n for n_slots, _, n in deciles)
    share = effective(len(documents), documents, 0.1) / len(documents)
    value = sum(n_slots * rate.value for n_slots, rate, _ in deciles) / n_activating
    recall = wilson_of(value, kish * share)
    found = details(database_of(predictions, examples, scoring_max_interval=1))

    def population(metric):
        return bounds(found["detection", "population", metric, "all"])

    assert population("recall") == pytest.approx(recall)
    assert population("false_positive_rate") == pytest.approx(
        [1 - specificity.value, 1 - specificity.high, 1 - specificity.low]
    )
    assert population("balanced_accuracy") == pytest.approx(mover([(0.5, recall), (0.5, specificity)]))
    assert population("precision") == pytest.approx(precision_of(recall, specificity, n_activating, n_silent))
    assert population("f1") == pytest.approx(f1_of(recall, specificity, n_activating, n_silent))


def slots(kind, n_slots, numbers, decile=None):
    return [
        {
            "example_id": f"x{i}",
            "sae": SAE,
            "feature": 7,
            "role": "test",
            "kind": kind,
            "decile": decile,
            "n_slots": n_slots,
            "doc_id": f"d{i}",
        }
        for i in numbers
    ]


def test_a_population_figure_of_too_wide_an_interval_is_null():
    # 1 alarm in 20 silent questions for 10,000 slots, against 100 that fire: precision is hardly determined.
    examples = [*slots("activating", 100, range(20), 1), *slots("random", 10_000, range(20, 40))]
    predictions = [answer(i < 20, i < 21, i, example_id=f"x{i}") for i in range(40)]
    found = details(database_of(predictions, examples))
    recall, precision = (found["detection", "population", name, "all"] for name in ("recall", "precision"))
    assert bounds(recall) == pytest.approx(wilson_of(1, 20))
    assert precision["value"] == pytest.approx(100 / (100 + 10_000 / 20))
    assert precision["ci_high"] - precision["ci_low"] < 0.5
    narrow = details(database_of(predictions, examples, scoring_max_interval=0.3))
    assert bounds(narrow["detection", "population", "precision", "all"]) == (None, None, None)
    assert narrow["detection", "population", "recall", "all"]["value"] == 1
    assert found["detection", "sample", "precision", "all"]["value"] == pytest.approx(20 / 21)


@pytest.mark.parametrize(("n_missing", "is_told"), [(20, True), (400, False)])
def test_a_stratum_without_answers_lowers_the_coverage_of_the_population(n_missing, is_told):
    examples = [
        *slots("activating", 100, range(20), 1),
        *slots("random", 100, range(20, 40)),
        *slots("neighbour", n_missing, [40]),
    ]
    predictions = [answer(i < 20, i < 20, i, example_id=f"x{i}") for i in range(40)]
    found = details(database_of([*predictions, answer(False, None, 40, status="refused")], examples))
    shares = {name: found["detection", "population", "coverage", name] for name in ("activating", "silent")}
    assert shares["activating"]["value"] == 1
    assert shares["silent"]["value"] == pytest.approx(100 / (100 + n_missing))
    assert shares["silent"]["n"] == 100 + n_missing
    for metric in ("balanced_accuracy", "false_positive_rate", "precision", "f1"):
        assert (found["detection", "population", metric, "all"]["value"] is not None) == is_told
    assert found["detection", "population", "recall", "all"]["value"] == 1


def test_a_silent_stratum_of_which_no_window_was_drawn_lowers_the_coverage_as_well():
    examples = [*slots("activating", 100, range(20), 1), *slots("random", 100, range(20, 40))]
    database = database_of([answer(i < 20, i < 21, i, example_id=f"x{i}") for i in range(40)], examples)
    fill_index(database.connection, n_undrawn=20)
    [silent] = [row for row in database.rows("score_details") if row["stratum"] == "silent"]
    assert (silent["value"], silent["n"]) == (pytest.approx(100 / 120), 120)
    [row] = database.connection.sql("from population_scores").to_arrow_table().to_pylist()
    assert row["precision"] == pytest.approx(100 / (100 + 120 / 20))


def test_without_an_answer_there_is_no_figure_for_the_population_whatever_the_coverage():
    examples = [*slots("activating", 100, range(20), 1), *slots("random", 100, range(20, 40))]
    predictions = [answer(i < 20, True if i < 20 else None, i, example_id=f"x{i}",
                          status="ok" if i < 20 else "refused") for i in range(40)]  # fmt: skip
    database = database_of(predictions, examples, scoring_min_coverage=0)
    database.rows("score_details")
    [row] = database.connection.sql("from population_scores").to_arrow_table().to_pylist()
    assert (row["recall"], row["false_positive_rate"], row["precision"]) == (1, None, None)


# The exact score of a rule ------------------------------------------------------------------------------


def rule_database(documents, token_ids):
    """Test documents as lists of (token_id, fires); position 0 comes before each and must not count."""
    database = ScoreDatabase()
    database.fill("explanations", [{"explanation_id": "r", "sae": SAE, "feature": 7, "explainer": "rule"}])
    database.fill(
        "feature_rules",
        [
            {"sae": SAE, "feature": 7, "token_ids": token_ids, "is_chosen": True},
            {"sae": SAE, "feature": 7, "token_ids": [99], "is_chosen": False},
        ],
    )
    contexts, firings = [], []
    for number, document in enumerate([*documents, [(1, False), (2, True)]]):
        tokens = [(1, True), *document]
        token_ids = [token_id for token_id, _ in tokens]
        contexts.append({"context_id": number, "doc_id": f"d{number}", "token_ids": token_ids})
        firings += [
            {"sae": SAE, "feature": 7, "token_index": number * CONTEXT_LENGTH + position, "activation": 1}
            for position, (_, fires) in enumerate(tokens)
            if fires
        ]
    database.fill("contexts", contexts)
    database.fill(
        "documents",
        [
            {"doc_id": f"d{i}", "first_context_id": i, "role": "test" if i < len(documents) else "train"}
            for i in range(len(contexts))
        ],
    )
    database.fill("activations", firings)
    return database


def test_rule_is_judged_on_every_test_token_but_those_at_position_0():
    document = [(1, True)] * 3 + [(1, False)] + [(2, True)] + [(3, False)] * 5
    [row] = rule_database([document], [1]).rows("scores")
    assert (row["scorer"], row["role"], row["n_scored"], row["n_unscored"]) == ("rule_exact", "test", 10, 0)
    assert (row["precision"], row["recall"], row["f1"]) == (3 / 4, 3 / 4, 3 / 4)
    assert row["balanced_accuracy"] == pytest.approx((3 / 4 + 5 / 6) / 2)
    assert (row["ci_low"], row["ci_high"], row["reason"]) == (None, None, None), "one document has no interval"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([(1, False), (2, False)], "the feature fires in no test document"),
        ([(2, True), (2, False)], "no precision: the rule says so in no test document"),
    ],
)
def test_rule_without_firings_or_occurrences_says_so(document, reason):
    [row] = rule_database([document] * 12, [1]).rows("scores")
    assert row["reason"] == reason
    assert (row["balanced_accuracy"] is None) == ("fires" in reason)
    assert row["precision"] == (0 if "fires" in reason else None)
    found = details(rule_database([document] * 12, [1]))
    empty = found["rule_exact", "population", "recall" if "fires" in reason else "precision", "all"]
    assert bounds(empty) == (None, None, None)


def test_rule_intervals_vary_documents():
    rng = random.Random(3)
    documents = [
        [(token_id := rng.randrange(4), rng.random() < (0.8 if token_id == 1 else 0.1)) for _ in range(size)]
        for size in (rng.randrange(5, 60) for _ in range(40))
    ] + [[(3, False)] * 20] * 3
    sums = [
        (sum(t == 1 and f for t, f in each), sum(f for _, f in each), sum(t == 1 for t, _ in each), len(each))
        for each in documents
    ]
    recall = ratio([(hit, fired) for hit, fired, _, _ in sums if fired])
    specificity = ratio([(n - fired - said + hit, n - fired) for hit, fired, said, n in sums])
    expected = {
        "recall": recall,
        "precision": ratio([(hit, said) for hit, _, said, _ in sums if said]),
        "f1": ratio([(2 * hit, fired + said) for hit, fired, said, _ in sums if fired + said]),
        "false_positive_rate": Interval(1 - specificity.value, 1 - specificity.high, 1 - specificity.low),
        "balanced_accuracy": mover([(0.5, recall), (0.5, specificity)]),
    }
    found = details(rule_database(documents, [1]))
    for metric, interval in expected.items():
        # In SQL, Student's quantile is by its expansion.
        told = bounds(found["rule_exact", "population", metric, "all"])
        assert told == pytest.approx(interval, rel=1e-5), metric


def test_perfect_rule_keeps_an_interval_by_its_documents():
    documents = [[(1, True), (2, False), (3, False)]] * 12
    found = details(rule_database(documents, [1]))
    assert bounds(found["rule_exact", "population", "recall", "all"]) == pytest.approx(wilson_of(1, 12))


# The summary --------------------------------------------------------------------------------------------


def summary(values, requests=(), predictions=(), confidence=0.95, half_widths=None):
    database = ScoreDatabase(confidence=confidence)
    features = range(len(values))
    half_widths = half_widths or [None] * len(values)
    database.fill(
        "scores",
        [
            {
                "explanation_id": f"e{i}",
                "sae": SAE,
                "feature": i,
                "explainer": "default",
                "scorer": "detection",
                "role": "test",
                "balanced_accuracy": values[i],
                "n_scored": 30,
                "n_unscored": 10,
                "balanced_accuracy_all_wrong": 0.4,
                "balanced_accuracy_all_right": 0.8,
                **({"ci_low": values[i] - half, "ci_high": values[i] + half} if (half := half_widths[i]) else {}),
            }
            for i in features
        ],
    )
    database.fill(
        "explanations",
        [
            {
                "explanation_id": f"e{i}",
                "sae": SAE,
                "feature": i,
                "explainer": "default",
                "status": "ok",
                "request_id": f"explain{i}",
            }
            for i in features
        ],
    )
    database.fill("feature_routes", [{"sae": SAE, "feature": i, "route": "llm"} for i in features])
    database.fill("predictions", list(predictions))
    database.fill("llm_requests", list(requests))
    [row] = database.rows("summary")
    return row


@pytest.mark.parametrize(
    ("n", "confidence"),
    [
        (3, 0.95),
        (4, 0.95),
        (5, 0.95),
        (7, 0.95),
        (16, 0.95),
        (60, 0.95),
        (3, 0.8),
        (4, 0.8),
        (4, 0.99),
        (20, 0.99),
    ],
)
def test_mean_has_the_interval_of_student(n, confidence):
    rng = random.Random(n)
    values = [rng.uniform(0.5, 0.7) for _ in range(n)]
    mean = sum(values) / n
    error = (sum((value - mean) ** 2 for value in values) / (n - 1) / n) ** 0.5
    row = summary(values, confidence=confidence)
    assert row["mean"] == pytest.approx(mean)
    t = (row["mean"] - row["ci_low"]) / error
    assert t == pytest.approx((row["ci_high"] - row["mean"]) / error)
    assert t == pytest.approx(t_of(confidence, n - 1), rel=1e-7)


def test_scores_that_happen_to_be_alike_make_no_mean_certain():
    row = summary([0.55, 0.55, 0.55], half_widths=[0.15] * 3)
    error = 0.15 / NormalDist().inv_cdf(0.975) / 3**0.5
    assert row["ci_high"] - row["mean"] == pytest.approx(t_of(0.95, 2) * error)
    row = summary([0.3, 0.5, 0.7], half_widths=[0.15] * 3)  # they differ by more
    assert row["ci_high"] - row["mean"] == pytest.approx(t_of(0.95, 2) * 0.2 / 3**0.5)


def test_a_score_without_an_interval_is_taken_to_be_no_surer_than_the_others():
    """As in explainer_comparisons; a score of few documents may have none."""
    row = summary([0.55, 0.55, 0.55], half_widths=[0.15, None, 0.15])
    error = 0.15 / NormalDist().inv_cdf(0.975) / 3**0.5
    assert row["ci_high"] - row["mean"] == pytest.approx(t_of(0.95, 2) * error)


def explained(of_default, controls=("empty",)):
    """The summary's rows by scorer and explainer; `of_default`: status and score of `default`, feature by feature.

    Every feature has keywords too, which score 0.6. `embedding` ranks; the rule of feature 0 is exact.
    """
    database = ScoreDatabase()
    own = [("default", i, *each) for i, each in enumerate(of_default)]
    own += [("keywords", i, "ok", 0.6) for i in range(len(of_default))] + [("rule", 0, "ok", 1.0)]
    own += [(name, i, "ok", 0.5) for name in controls for i in range(2)]
    database.fill(
        "explanations",
        [
            {
                "explanation_id": f"{name} {i}",
                "sae": SAE,
                "feature": i,
                "explainer": name,
                "status": status,
                "request_id": f"{name} {i}",
            }
            for name, i, status, _ in own
        ],
    )
    database.fill("feature_routes", [{"sae": SAE, "feature": i, "route": "llm"} for i in range(len(of_default))])
    columns = {
        "detection": "balanced_accuracy",
        "embedding": "auroc",
        "intervention": "accuracy",
        "intruder": "accuracy",
        "rule_exact": "balanced_accuracy",
    }
    database.fill(
        "scores",
        [
            {
                "explanation_id": f"{name} {i}",
                "sae": SAE,
                "feature": i,
                "explainer": name,
                "scorer": scorer,
                "role": "test",
                columns[scorer]: value,
                "chance": 1 / 3 if columns[scorer] == "accuracy" else None,
                "n_scored": 10,
                "n_unscored": 0,
            }
            for name, i, status, value in own
            for scorer in columns
            if status == "ok"
            and (scorer == "rule_exact") == (name == "rule")
            and (scorer != "intruder" or name == "empty")
        ],
    )
    database.fill(
        "llm_requests",
        [
            {"request_id": f"default {i}", "prompt_tokens": 100, "completion_tokens": 10, "cost_usd": 0.5}
            for i in range(len(of_default))
        ],
    )
    return {(row["scorer"], row["explainer"]): row for row in database.rows("summary")}


def test_a_mean_says_of_how_many_features_it_is_and_what_failures_at_chance_would_make_it():
    rows = explained([("ok", 0.9), ("ok", 0.8), ("unparsed", None), ("no_input", None), ("not_asked", None)])
    row = rows["detection", "default"]
    assert (row["n_features"], row["n_asked_features"], row["explained_share"]) == (2, 4, 0.5)
    assert (row["mean"], row["mean_failed_at_chance"]) == pytest.approx((0.85, (0.9 + 0.8 + 0.5 + 0.5) / 4))
    assert row["coverage"] == 1 and row["cost_usd"] == 2, "a failed explanation is paid as well"
    assert rows["intervention", "default"]["mean_failed_at_chance"] == pytest.approx((0.85 + 1 / 3) / 2)
    row = rows["detection", "keywords"]
    assert (row["n_asked_features"], row["explained_share"]) == (5, 1)
    assert row["mean"] == row["mean_failed_at_chance"] == pytest.approx(0.6)


def test_a_feature_whose_answers_are_too_few_for_a_score_counts_at_chance_in_the_second_mean():
    row = summary([0.5, 0.9, None])
    assert (row["n_features"], row["n_unscored_features"], row["mean"]) == (2, 1, pytest.approx(0.7))
    assert row["mean_failed_at_chance"] == pytest.approx((0.5 + 0.9 + 0.5) / 3)


def test_an_explainer_that_failed_on_every_feature_has_a_row_of_each_scorer_of_explanations():
    rows = explained([("unparsed", None)] * 3)
    assert {scorer for scorer, explainer in rows if explainer == "default"} == {
        "detection",
        "embedding",
        "intervention",
    }
    for scorer, metric, chance in (("detection", "balanced_accuracy", 0.5), ("intervention", "accuracy", 1 / 3)):
        row = rows[scorer, "default"]
        assert (row["n_features"], row["mean"], row["coverage"]) == (0, None, None)
        assert (row["n_asked_features"], row["explained_share"], row["metric"]) == (3, 0, metric)
        assert row["mean_failed_at_chance"] == row["chance"] == pytest.approx(chance)


def test_features_without_a_score_count_in_coverage_alone():
    row = summary([0.5, 0.9, None])
    assert (row["n_features"], row["mean"], row["ci_low"], row["ci_high"]) == (2, 0.7, None, None)
    assert (row["coverage"], row["mean_all_wrong"], row["mean_all_right"]) == pytest.approx((0.75, 0.4, 0.8))
    assert (row["p10"], row["p50"], row["p90"]) == pytest.approx((0.54, 0.7, 0.86))
    row = summary([None])
    assert (row["n_features"], row["mean"], row["p50"], row["cost_usd"]) == (0, None, None, 0)


def test_costs_are_of_distinct_requests():
    predictions = [answer(True, True, i, request_id=f"ask{i // 5}") | {"explanation_id": "e0"} for i in range(10)]
    predictions.append(answer(True, True, 0, scorer="fuzzing", request_id="other") | {"explanation_id": "e0"})
    requests = [
        {"request_id": name, "prompt_tokens": 100, "completion_tokens": 10, "cost_usd": 0.25}
        for name in ("explain0", "ask0", "ask1", "other")
    ]
    row = summary([0.5, 0.5, 0.5], requests, predictions)
    assert (row["cost_usd"], row["prompt_tokens"], row["completion_tokens"]) == (0.75, 300, 30)


# Order --------------------------------------------------------------------------------------------------


def test_threads_and_the_order_of_rows_change_nothing():
    tables = []
    for threads, seed in ((1, 0), (2, 1), (2, 2)):
        predictions, examples = [], []
        for i in range(8):
            asked, shown = drawn_answers(i, n=30)
            predictions += [
                row | {"explanation_id": f"e{i}", "example_id": f"{i}{row['example_id']}"} for row in asked
            ]
            examples += [row | {"example_id": f"{i}{row['example_id']}"} for row in shown]
        random.Random(seed).shuffle(predictions)
        random.Random(seed).shuffle(examples)
        database = database_of(predictions, examples, threads=threads)
        tables.append([database.run(name) for name in ("scores", "score_details")])
    for other in tables[1:]:
        assert all(one.equals(two) for one, two in zip(tables[0], other, strict=True))
