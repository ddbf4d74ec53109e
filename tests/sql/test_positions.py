"""Mutual information of firing and position, its bias, and the score that routes."""

from math import exp, lgamma, log

import numpy as np
import pyarrow as pa
import pytest

from .rows import Database, by

FIRINGS = (5, 30, 300, 3000)
FULL = np.full(300, 64)
UNEQUAL = np.random.default_rng(0).integers(8, 65, 300)
CORPORA = {"full": FULL, "unequal": UNEQUAL}


def position_rows(lengths, fired, context_length=None, is_train=False, test=()):
    """feature_positions of features that fire at the given (context, position) rows, by feature.

    fired: for each feature an array (n, 2), or a list of pairs. test: the contexts of test documents.
    """
    context_length = context_length or int(max(lengths))
    database = Database(context_length)
    contexts = [
        {"context_id": i, "doc_id": f"d{i}", "shard": 0, "token_ids": [0] * int(n)} for i, n in enumerate(lengths)
    ]
    database.fill("contexts", contexts)
    in_train = np.isin(np.arange(len(contexts)), list(test), invert=True)
    roles = np.where(in_train, "train", "test").tolist()
    database.fill("documents", [{"doc_id": f"d{i}", "role": role} for i, role in enumerate(roles)])
    places = [np.asarray(each, dtype=np.int64).reshape(-1, 2) for each in fired]
    feature = np.repeat(np.arange(len(places), dtype=np.int32), [len(each) for each in places])
    context, position = np.concatenate(places).T
    columns = {"feature": feature, "position": position.astype(np.int32), "is_train": in_train[context]}
    database.fill("firings", pa.table(columns))
    database.make("reached_positions", "cell_bias", "position_counts")
    return by([row for row in database.rows("feature_positions") if row.pop("is_train") == is_train], "feature")


def all_places(lengths):
    """Every (context, position), shape (N, 2)."""
    return np.array([(i, p) for i, n in enumerate(lengths) for p in range(n)])


def reached(lengths):
    """Contexts that reach each position, shape (P,)."""
    return (np.asarray(lengths)[:, None] > np.arange(max(lengths))).sum(axis=0)


def plug_in_information(counts, sizes):
    """Mutual information in nats from the joint table of (position, fired or not), by its definition.

    counts: firings by position, shape (..., P); sizes: contexts that reach each, shape (P,).
    """
    joint = np.stack([counts, sizes - counts], axis=-1) / sizes.sum()
    product = joint.sum(axis=-1, keepdims=True) * joint.sum(axis=-2, keepdims=True)
    terms = np.where(joint > 0, joint * np.log(np.where(joint > 0, joint, 1) / np.where(joint > 0, product, 1)), 0)
    return terms.sum(axis=(-1, -2))


def exact_bias(n_fired, sizes):
    """Expectation of the plug-in under independence: counts are hypergeometric at each position."""
    n_all = int(sizes.sum())
    total = 0.0
    for size in map(int, sizes):
        counts = np.arange(max(0, n_fired - (n_all - size)), min(size, n_fired) + 1)
        log_ways = [
            lgamma(size + 1)
            - lgamma(c + 1)
            - lgamma(size - c + 1)
            + lgamma(n_all - size + 1)
            - lgamma(n_fired - c + 1)
            - lgamma(n_all - size - n_fired + c + 1)
            - lgamma(n_all + 1)
            + lgamma(n_fired + 1)
            + lgamma(n_all - n_fired + 1)
            for c in counts.tolist()
        ]
        for c, log_share in zip(counts.tolist(), log_ways, strict=True):
            cell = c * log(c * n_all / (n_fired * size)) if c else 0.0
            rest = size - c
            cell += rest * log(rest * n_all / ((n_all - n_fired) * size)) if rest else 0.0
            total += exp(log_share) * cell
    return total / n_all


def entropy(density):
    return -(density * log(density) + (1 - density) * log(1 - density))


def draw(rng, places, weights, n):
    """n different places drawn with weights, shape (n, 2)."""
    return places[rng.choice(len(places), n, replace=False, p=weights / weights.sum())]


# Information --------------------------------------------------------------------------------------------


def test_information_by_hand_counts_positions_that_never_fire():
    # Two contexts of two tokens; the feature fires on both first positions: one bit.
    row = position_rows([2, 2], [[(0, 0), (1, 0)]])[0]
    assert row["position_information_nats"] == pytest.approx(log(2))


@pytest.mark.parametrize("lengths", [FULL, UNEQUAL, [64], [1, 64], [1, 1, 1, 2]], ids=len)
def test_information_is_the_plug_in_of_the_joint_table(lengths):
    rng = np.random.default_rng(1)
    places = all_places(lengths)
    sizes = [min(n, len(places)) for n in (1, 2, 5, 17, 200, 3000)]
    fired = [draw(rng, places, np.exp(-places[:, 1] / 20), n) for n in sizes]
    rows = position_rows(lengths, fired)
    for feature, each in enumerate(fired):
        counts = np.bincount(each[:, 1], minlength=max(lengths))
        expected = plug_in_information(counts, reached(lengths))
        assert rows[feature]["position_information_nats"] == pytest.approx(expected, abs=1e-12)


def test_feature_on_every_token_has_no_information_and_no_score():
    row = position_rows([3, 5, 8], [all_places([3, 5, 8])])[0]
    assert row["position_information_nats"] == 0
    assert row["position_score"] == 0
    assert np.isfinite(row["position_bias_nats"])


def test_feature_on_all_tokens_but_one_has_finite_figures():
    row = position_rows([3, 5, 8], [all_places([3, 5, 8])[:-1]])[0]
    expected = plug_in_information(np.array([3, 3, 3, 2, 2, 1, 1, 0]), reached([3, 5, 8]))
    assert row["position_information_nats"] == pytest.approx(expected)
    assert all(np.isfinite(value) for value in row.values())


def test_dead_feature_has_no_row():
    rows = position_rows([4, 4], [[(0, 1)], [], [(1, 2)]])
    assert set(rows) == {0, 2}


def test_first_positions_hold_all_the_information_of_a_feature_that_fires_there_alone():
    # 100 contexts of 256: H(1/256) = 0.0257 nats, under the published cut of 0.05, and all of it is position.
    lengths = [256] * 100
    row = position_rows(lengths, [[(i, 0) for i in range(100)]])[0]
    assert row["position_information_nats"] == pytest.approx(entropy(1 / 256))
    assert row["position_information_nats"] < 0.05
    assert row["position_score"] > 0.7
    expected = (entropy(1 / 256) - exact_bias(100, reached(lengths))) / entropy(1 / 256)
    assert row["position_score"] == pytest.approx(expected, abs=0.01)


# The sample that routes ---------------------------------------------------------------------------------


def test_score_that_routes_is_of_train_documents_without_position_0():
    rng = np.random.default_rng(6)
    places = all_places(UNEQUAL)
    fired = [draw(rng, places, np.exp(-places[:, 1] / 20), n) for n in (5, 200, 3000)]
    alone = position_rows(UNEQUAL, fired)
    # A first token before each context, on which they fire too; and as many test documents, which they fire on.
    first, n = all_places(np.ones(len(UNEQUAL), int)), len(UNEQUAL)
    within = [np.concatenate([first, np.add(each, (0, 1)), np.add(each, (n, 1))]) for each in fired]
    twice = np.concatenate([UNEQUAL, UNEQUAL]) + 1
    found = position_rows(twice, within, is_train=True, test=range(n, 2 * n))
    assert found == alone


def test_feature_that_fires_at_every_first_position_has_no_more_score_than_without():
    rng = np.random.default_rng(7)
    places = all_places(FULL)
    first, later = places[places[:, 1] == 0], places[places[:, 1] > 0]
    fired = [np.concatenate([first, draw(rng, later, np.ones(len(later)), 1000)])]
    assert position_rows(FULL, fired)[0]["position_score"] > 0.05
    assert abs(position_rows(FULL, fired, is_train=True)[0]["position_score"]) < 0.02


def test_feature_that_fires_at_position_0_alone_has_no_row_in_the_sample_that_routes():
    rows = position_rows([4, 4], [[(0, 0), (1, 0)], [(0, 0), (1, 2)]], is_train=True)
    assert set(rows) == {1}


# Bias ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corpus", CORPORA)
def test_bias_agrees_with_a_simulation_of_firings_at_random_places(corpus):
    lengths = CORPORA[corpus]
    sizes, places = reached(lengths), all_places(lengths)
    rows = position_rows(lengths, [places[:n] for n in FIRINGS])
    rng = np.random.default_rng(2)
    for feature, n in enumerate(FIRINGS):
        drawn = rng.multivariate_hypergeometric(sizes, n, size=2000)
        information = plug_in_information(drawn, sizes)
        error = information.std() / np.sqrt(len(information))
        bias = rows[feature]["position_bias_nats"]
        assert abs(information.mean() - exact_bias(n, sizes)) < 4 * error, "the two references agree"
        assert abs(bias - information.mean()) < 0.02 * information.mean() + 4 * error, n


@pytest.mark.parametrize("corpus", CORPORA)
def test_bias_is_within_2_percent_of_the_exact_expectation(corpus):
    lengths = CORPORA[corpus]
    sizes, places = reached(lengths), all_places(lengths)
    firings = [1, 2, *FIRINGS, len(places) // 2]
    rows = position_rows(lengths, [places[:n] for n in firings])
    for feature, n in enumerate(firings):
        assert rows[feature]["position_bias_nats"] == pytest.approx(exact_bias(n, sizes), rel=0.02), n


@pytest.mark.parametrize(("n", "tolerance"), [(3, 0.1), (40, 0.02), (400, 0.02), (2000, 0.002), (3600, 0.01)])
def test_bias_with_few_positions_is_near_the_exact_expectation(n, tolerance):
    # With 8 positions and 3 firings the Poisson counts are 7 % off; nothing is flagged under 100 firings.
    lengths = [8] * 500
    rows = position_rows(lengths, [all_places(lengths)[:n]])
    assert rows[0]["position_bias_nats"] == pytest.approx(exact_bias(n, reached(lengths)), rel=tolerance)


def test_feature_without_position_dependence_scores_near_0_also_with_unequal_contexts():
    rng = np.random.default_rng(3)
    for lengths in CORPORA.values():
        places = all_places(lengths)
        firings = np.repeat([100, 300, 3000], 40)
        fired = [draw(rng, places, np.ones(len(places)), n) for n in firings]
        rows = position_rows(lengths, fired)
        scores = np.array([rows[feature]["position_score"] for feature in range(len(fired))])
        assert np.abs(scores).max() < 0.05, "none is flagged"
        for n in (100, 300, 3000):
            group = scores[firings == n]
            assert abs(group.mean()) < 4 * group.std() / np.sqrt(len(group))


# Planted features ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("corpus", CORPORA)
def test_planted_positional_features_are_flagged_through_noise(corpus):
    rng = np.random.default_rng(4)
    lengths = CORPORA[corpus]
    places = all_places(lengths)
    first = places[places[:, 1] == 0]
    noise = draw(rng, places[places[:, 1] > 0], np.ones(len(places) - len(first)), 300)
    second = places[places[:, 1] == 5][:150]
    rows = position_rows(
        lengths,
        [
            first,
            np.concatenate([first, noise]),
            np.concatenate([first[: len(first) // 3], noise]),
            np.concatenate([second, noise[noise[:, 1] != 5]]),
        ],
    )
    assert all(rows[feature]["position_score"] > 0.05 for feature in range(4))


def test_rate_that_falls_along_the_context_scores_between_noise_and_the_cut():
    rng = np.random.default_rng(5)
    places = all_places(FULL)
    falling = 1 - 0.9 * places[:, 1] / 63
    steep = np.exp(-log(1000) * places[:, 1] / 63)
    rows = position_rows(
        FULL,
        [
            draw(rng, places, falling, 1000),
            draw(rng, places, np.ones(len(places)), 1000),
            draw(rng, places, steep, 1000),
        ],
    )
    flat, tenfold, thousandfold = (rows[feature]["position_score"] for feature in (1, 0, 2))
    assert abs(flat) < 0.01 < tenfold < 0.05 < thousandfold, "a tenfold fall is real, and too weak to be flagged"


@pytest.mark.parametrize("lengths", [[64] * 10, list(range(8, 40))], ids=["full", "unequal"])
def test_few_contexts_leave_little_bias_in_the_score(lengths):
    # With ten contexts the expansion for large counts is 2 to 4 % off: under 0.015 of the score.
    sizes, places = reached(lengths), all_places(lengths)
    firings = [1, 2, 5, 10, 30, 100, 300]
    rows = position_rows(lengths, [places[:n] for n in firings])
    for feature, n in enumerate(firings):
        left = exact_bias(n, sizes) - rows[feature]["position_bias_nats"]
        assert abs(left) / entropy(n / len(places)) < 0.015


def test_position_score_is_information_less_bias_over_entropy():
    places = all_places([5, 9, 9])
    row = position_rows([5, 9, 9], [places[places[:, 1] < 2]])[0]
    expected = (row["position_information_nats"] - row["position_bias_nats"]) / entropy(6 / 23)
    assert row["position_score"] == pytest.approx(expected)
