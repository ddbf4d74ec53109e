"""Questions: labels and marks of detection and fuzzing, and that nothing but the explanation tells them apart."""

from collections import Counter, defaultdict
from functools import cache

import numpy as np

from pipeline.plugins import find_plugin
from pipeline.tables.sql import steps_of

from .rows import SAE, Database, by

DETECTION, FUZZING = (find_plugin("scorers", name).path / "questions.sql" for name in ("detection", "fuzzing"))
TOP = 50


def window(name, activations, draw=1, kind=None, token_ids=None, feature=0, role="test"):
    """A row of `examples`; activating if any activation is above 0."""
    peak = max(activations)
    return {
        "example_id": name,
        "sae": SAE,
        "feature": feature,
        "role": role,
        "draw": draw,
        "peak": peak or None,
        "kind": kind or ("activating" if peak else "random"),
        "activations": activations,
        "token_ids": token_ids or [1] * len(activations),
    }


def silent(name, length=4, draw=1, **columns):
    return window(name, [0.0] * length, draw, **columns)


def database_of(windows, features=(0,), explainers=("default",), **values):
    database = Database(**values)
    database.fill("examples", windows)
    database.fill(
        "feature_stats",
        [{"sae": SAE, "feature": feature, "top_tokens": [{"token_id": TOP}]} for feature in features],
    )
    database.fill("feature_routes", [{"sae": SAE, "feature": feature, "route": "llm"} for feature in features])
    database.fill(
        "selected_features",
        [
            {"sae": SAE, "feature": feature, "batch": 0, "place": place}
            for place, feature in enumerate(features, 1)
        ],
    )
    database.fill(
        "explanations",
        [
            {
                "explanation_id": f"{explainer}{feature}",
                "sae": SAE,
                "feature": feature,
                "explainer": explainer,
                "explanation": "words",
                "status": "ok",
            }
            for feature in features
            for explainer in explainers
        ],
    )
    database.make("batch_features", "scored_explanations")
    return database


def fuzzing(windows, **values):
    """The questions as (example, marked) to label."""
    database = database_of(windows)
    database.make("fuzzing_pairs", **values)
    rows = database.rows(FUZZING)
    found = {(row["example_id"], tuple(row["marked"])): row["label"] for row in rows}
    assert len(found) == len(rows) == len({row["question_id"] for row in rows})
    return found


# Detection ----------------------------------------------------------------------------------------------


def test_detection_asks_about_n_windows_of_each_side():
    windows = [
        *(window(f"a{draw}", [0, 1.0], draw) for draw in range(1, 8)),
        *(silent(f"s{draw}", draw=draw, kind="same_token") for draw in range(1, 15)),
        *(window(f"t{draw}", [0, 1.0], draw, role="train") for draw in range(1, 8)),
    ]
    rows = database_of(windows).rows(DETECTION, scoring_n_questions=5, scoring_n_noes=5)
    labels = {row["example_id"]: row["label"] for row in rows}
    assert labels == {f"a{i}": True for i in range(1, 6)} | {f"s{i}": False for i in range(1, 6)}
    assert all(row["marked"] is None for row in rows)


def test_questions_are_put_for_each_explanation_with_ids_of_their_own_and_are_shuffled():
    windows = [window(f"a{i}", [0, 1.0, 0], i) for i in range(1, 9)] + [silent(f"s{i}", 3, i) for i in range(1, 9)]
    database = database_of(windows, explainers=("default", "empty"))
    database.make("fuzzing_pairs")
    for scorer in (DETECTION, FUZZING):
        rows = database.rows(scorer)
        assert len({row["question_id"] for row in rows}) == len(rows)
        asked = defaultdict(list)
        for row in rows:
            asked[row["explanation_id"]].append((row["example_id"], str(row["marked"]), row["label"]))
        assert set(asked["default0"]) == set(asked["empty0"])
        labels = [label for _, _, label in asked["default0"]]
        assert labels != sorted(labels) and labels != sorted(labels, reverse=True)


def test_two_explanations_in_the_same_words_are_put_alike():
    windows = [window(f"a{i}", [0, 1.0, 0], i) for i in range(1, 9)] + [silent(f"s{i}", 3, i) for i in range(1, 9)]
    database = database_of(windows, explainers=("default", "refinement"))
    database.make("fuzzing_pairs")
    for scorer in (DETECTION, FUZZING):
        database.fill("predictions", [])
        database.fill("own_questions", database.table(scorer))
        given = ("predictions", "questions", "scored_explanations")
        database.make("questions", *steps_of("next_questions", given=given)[:-1])
        rows = database.rows("next_questions", questions_per_prompt=4)
        put = defaultdict(list)
        for row in rows:
            put[row["explanation_id"]].append((row["prompt"], row["example_id"], row["marked"], row["label"]))
        assert len(put["default0"]) >= 12 and put["default0"] == put["refinement0"]
        assert [label for *_, label in put["default0"]] != sorted(label for *_, label in put["default0"])


def test_explanations_that_failed_are_not_asked_about():
    database = database_of([window("a", [1.0, 0]), silent("s", 2)])
    database.fill(
        "explanations",
        [{"explanation_id": "e", "sae": SAE, "feature": 0, "explainer": "default", "status": "refused"}],
    )
    database.make("scored_explanations")
    assert database.rows(DETECTION) == database.rows(FUZZING) == []


# Fuzzing ------------------------------------------------------------------------------------------------


def test_right_window_is_marked_above_a_share_of_its_peak_and_the_wrong_one_in_the_same_places():
    windows = [window("a", [1.0, 0, 4.0, 1.5]), silent("s")]
    assert fuzzing(windows, explaining_marked_share=0.3) == {("a", (2, 3)): True, ("s", (2, 3)): False}
    assert fuzzing(windows, explaining_marked_share=0.2) == {("a", (0, 2, 3)): True, ("s", (0, 2, 3)): False}


def test_right_window_without_partner_is_dropped():
    # In the only other window the place fires, if weakly.
    found = fuzzing([window("a", [0, 1.0, 0, 0]), window("b", [0, 0.01, 1.0, 0], draw=2)])
    assert found == {("b", (2,)): True, ("a", (2,)): False}


def test_a_window_without_marks_is_dropped():
    assert fuzzing([window("a", [0, 1.0]), silent("s", 2)], explaining_marked_share=1.0) == {}


def test_windows_that_are_taken_for_other_scorers_are_nobodys_partner():
    windows = [window("a", [0, 1.0, 0]), window("b", [1.0, 0, 0], draw=9), silent("s", 3, draw=10)]
    assert fuzzing([*windows, silent("n", 3, draw=None)], scoring_n_questions=4) == {}


def test_activating_window_can_be_wrong_where_it_is_silent():
    found = fuzzing([window("a", [0, 1.0, 0]), window("b", [1.0, 0, 0])])
    assert found == {("a", (1,)): True, ("b", (0,)): True, ("a", (0,)): False, ("b", (1,)): False}


def test_marks_never_lie_beyond_the_end_of_a_window():
    windows = [window("a", [0, 0, 0, 1.0]), silent("short", 3), window("b", [1.0, 0])]
    assert fuzzing(windows) == {
        ("b", (0,)): True,
        **{key: label for key, label in fuzzing(windows).items() if key[0] != "b"},
    }
    assert ("a", (3,)) not in fuzzing(windows)
    assert fuzzing([*windows, silent("long", 4)])["a", (3,)] is True


def test_every_other_pair_marks_a_top_token_elsewhere():
    rights = [window(f"a{draw}", [0, 0, 1.0], draw, token_ids=[1, 1, TOP]) for draw in (1, 2)]
    rest = [silent(f"s{i}", 3) for i in range(40)]
    hard = silent("hard", token_ids=[1, 1, TOP], kind="same_token", length=3)
    elsewhere = silent("elsewhere", token_ids=[1, TOP, 1], kind="same_token", length=3)
    found = fuzzing([*rights, *rest, hard, elsewhere])
    assert {key: label for key, label in found.items() if label} == {("a1", (2,)): True, ("a2", (2,)): True}
    assert found["hard", (2,)] is False
    assert len(found) == 4


def test_same_wrong_question_is_asked_once():
    found = fuzzing([window("a", [0, 1.0], 1), window("b", [0, 2.0], 2), silent("s", 2)])
    assert found == {("a", (1,)): True, ("b", (1,)): True, ("s", (1,)): False}


def test_pair_is_dropped_after_twenty_windows_that_fire_there():
    # 200 windows fire on the place and one does not: it is among the tries of the twenty rights before it.
    database = database_of([*(window(f"a{i}", [0, 1.0], i) for i in range(1, 201)), silent("s", 2)])
    database.make("fuzzing_pairs", scoring_n_questions=200)
    rows = database.read("fuzzing_pairs")
    tries = [row["try"] for row in rows if row["partner_id"] == "s"]
    assert 20 <= len(tries) <= 40 and max(tries) == 20
    assert [row["partner_id"] for row in rows] == len(tries) * ["s"] + (200 - len(tries)) * [None]


def test_wrong_marks_stand_in_many_documents_and_the_first_ones_in_distinct_ones():
    # Right windows fire on a place each, so that any other window may be wrong.
    rights = [window(f"a{i}", np.eye(16)[i].tolist(), i + 1) | {"doc_id": "a"} for i in range(16)]
    rest = [silent(f"s{i}", 16, i + 1) | {"doc_id": f"d{i % 12}"} for i in range(32)]
    database = database_of(rights + rest, scoring_n_questions=16)
    database.make("fuzzing_pairs")
    rows = database.read("fuzzing_pairs")
    document = {row["example_id"]: row["doc_id"] for row in rights + rest}
    wrong = [document[row["partner_id"]] for row in sorted(rows, key=lambda row: row["draw"])]
    n = len(set(wrong))
    assert n >= 12 and len(set(wrong[:n])) == n, "sixteen drawn of thirteen at random are some nine"


# Many random features -----------------------------------------------------------------------------------

N_FEATURES = 60


@cache
def random_windows(seed=0, n=20):
    """n activating and 2n silent windows a feature; runs of firings, habits that differ by feature, short ends."""
    rng = np.random.default_rng(seed)
    windows = []
    for feature in range(N_FEATURES):
        extend, home = rng.uniform(0.05, 0.6), rng.uniform(0, 1)
        for number in range(3 * n):
            length = int(rng.integers(16, 32)) if rng.random() < 0.1 else 32
            activations = np.zeros(length)
            if number < n:
                place = int(rng.beta(1 + 2 * home, 3 - 2 * home) * length)
                while place < length:
                    activations[place] = rng.integers(1, 33) / 8
                    place += 1 if rng.random() < extend else int(rng.geometric(0.05))
            windows.append(
                window(
                    f"{feature}/{number}",
                    activations.tolist(),
                    number + 1 if number < n else number - n + 1,
                    token_ids=rng.integers(0, 200, length).tolist(),
                    feature=feature,
                )
            )
    return windows


def random_database(**values):
    database = database_of(random_windows(), range(N_FEATURES), **values)
    database.make("fuzzing_pairs")
    return database


def test_wrong_marks_are_exactly_silent_and_pairs_have_equal_places():
    database = random_database()
    windows = by(database.read("examples"), "example_id")
    rows = database.rows(FUZZING)
    places = {True: defaultdict(Counter), False: defaultdict(Counter)}
    for row in rows:
        example = windows[row["example_id"]]
        strengths = [example["activations"][place] for place in row["marked"]]
        assert row["marked"] and max(row["marked"]) < len(example["token_ids"])
        assert example["feature"] == row["feature"] and example["role"] == "test"
        if row["label"]:
            assert min(strengths) > 0.3 * example["peak"]
        else:
            assert max(strengths) == 0
        places[row["label"]][row["feature"]][tuple(row["marked"])] += 1
    n_right, n_wrong = (sum(sum(each.values()) for each in places[label].values()) for label in (True, False))
    assert n_right > 0.95 * N_FEATURES * 20
    # A wrong question that two rights share is asked once; nothing else may differ.
    assert all(places[False][feature] <= places[True][feature] for feature in range(N_FEATURES))
    assert all(places[True][feature].keys() == places[False][feature].keys() for feature in range(N_FEATURES))
    assert n_right - n_wrong < 0.02 * n_right


def test_no_question_depends_on_threads_or_the_order_of_rows():
    windows = random_windows()
    found = []
    for threads, rows in ((1, windows), (4, windows), (4, windows[::-1])):
        database = database_of(rows, range(N_FEATURES), threads=threads)
        database.make("fuzzing_pairs")
        found.append([database.rows(scorer) for scorer in (DETECTION, FUZZING)])
    assert found[0] == found[1] == found[2]


# The leak audit -----------------------------------------------------------------------------------------


def auroc(scores, labels):
    """Share of (positive, negative) pairs in the right order, ties half."""
    ordered = np.sort(scores[~labels])
    below = np.searchsorted(ordered, scores[labels], "left")
    up_to = np.searchsorted(ordered, scores[labels], "right")
    return float((below + up_to).mean() / 2 / len(ordered))


def logistic(x, y, rounds=30, ridge=1e-3):
    """Weights of a logistic regression with intercept, by Newton's method."""
    x = np.column_stack([x, np.ones(len(x))])
    weights = np.zeros(x.shape[1])
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-x @ weights))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(x.shape[1])
        weights += np.linalg.solve(hessian, x.T @ (y - p) - ridge * weights)
    return weights


def audit(x, labels, features):
    """AUROC of the regression on features that it was not fitted on (5 folds), and of each column, largest."""
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    x = np.column_stack([x, x**2])
    scores = np.zeros(len(x))
    for fold in range(5):
        out = features % 5 == fold
        weights = logistic(x[~out], labels[~out])
        # Ranks, so that folds with other intercepts are comparable.
        scores[out] = (x[out] @ weights[:-1]).argsort().argsort() / out.sum()
    singles = [auroc(column, labels) for column in x.T]
    return auroc(scores, labels), max(max(each, 1 - each) for each in singles)


def chance_bound(labels):
    """0.5 and three and a half standard errors of an AUROC at chance, sqrt((1/n1 + 1/n0) / 12)."""
    return 0.5 + 3.5 * float(np.sqrt((1 / labels.sum() + 1 / (~labels).sum()) / 12))


def test_number_and_places_of_marks_tell_no_label():
    rows = random_database().rows(FUZZING)
    columns = [[len(row["marked"]), np.mean(row["marked"]), row["marked"][0], row["marked"][-1]] for row in rows]
    labels = np.array([row["label"] for row in rows])
    fitted, single = audit(np.array(columns, float), labels, np.array([row["feature"] for row in rows]))
    print(f"fuzzing, marks: AUROC {fitted:.3f}, best column {single:.3f}, {len(labels)} questions")
    assert max(fitted, single) < chance_bound(labels)


def test_length_of_a_window_tells_no_detection_label():
    database = random_database()
    tokens = {row["example_id"]: row["token_ids"] for row in database.read("examples")}
    rows = database.rows(DETECTION)
    columns = [[len(tokens[row["example_id"]]), len(set(tokens[row["example_id"]]))] for row in rows]
    labels = np.array([row["label"] for row in rows])
    fitted, single = audit(np.array(columns, float), labels, np.array([row["feature"] for row in rows]))
    print(f"detection: AUROC {fitted:.3f}, best column {single:.3f}, {len(labels)} questions")
    assert max(fitted, single) < chance_bound(labels)


def test_short_windows_are_as_common_among_wrong_as_among_right():
    shares = short_shares()
    error = np.sqrt(sum(share * (1 - share) / n for share, n in shares))
    assert abs(shares[0][0] - shares[1][0]) < 3 * error, shares


def test_length_tells_little_of_a_fuzzing_label():
    # With a tenth of the windows short, the leak above is worth an AUROC of 0.525; it must not grow.
    (right, _), (wrong, _) = short_shares()
    assert 0.5 + abs(right - wrong) / 2 < 0.55


def short_shares():
    """Share of short windows among right and wrong fuzzing questions, and how many these are."""
    database = random_database()
    lengths = {row["example_id"]: len(row["token_ids"]) for row in database.read("examples")}
    rows = database.rows(FUZZING)
    each = [[lengths[row["example_id"]] < 32 for row in rows if row["label"] is label] for label in (True, False)]
    return [(float(np.mean(short)), len(short)) for short in each]


def test_audit_finds_a_leak():
    rng = np.random.default_rng(1)
    labels = rng.random(2000) < 0.5
    leaky = np.column_stack([rng.normal(size=2000) + 0.3 * labels, rng.normal(size=2000)])
    assert audit(leaky, labels, rng.integers(0, 60, 2000))[0] > chance_bound(labels)
