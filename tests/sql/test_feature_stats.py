"""Counts, quantiles, token statistics and flags of every feature."""

from math import ceil

import numpy as np
import pytest

from .rows import Database, Document, Firing, by, fill_corpus, fill_features, fill_firings

TRAIN, TEST = 0, 1


def stats(database, n_features):
    """feature_stats of an SAE by feature, with the stage before it."""
    fill_features(database, n_features)
    database.run_stage("feature_tokens")
    return by(database.run_stage("feature_stats"), "feature")


def small_corpus(**values):
    """Contexts 0 and 1 (train, 8 and 3 tokens) and 2 (test, 8 tokens), all slots of 3 tokens."""
    database = Database(context_length=8, **values)
    fill_corpus(
        database,
        [
            Document("train", [10, 11, 12, 13, 11, 12, 11, 10, 11, 12, 13]),
            Document("test", [11, 11, 11, 11, 12, 12, 12, 12]),
        ],
    )
    return database


def quantile_disc(values, share):
    """The smallest value with at least this share of the values at or below it."""
    return sorted(values)[max(ceil(round(share * len(values), 9)), 1) - 1]


# Counts -------------------------------------------------------------------------------------------------


def test_dead_feature_has_zero_counts_and_no_quantiles():
    database = small_corpus()
    fill_firings(database, [Firing(1, 0, 1)])
    rows = stats(database, 3)
    assert set(rows) == {0, 1, 2}
    for dead in (rows[0], rows[2]):
        counts = {name: value for name, value in dead.items() if name.startswith("n_")}
        assert set(counts.values()) == {0}
        assert (dead["density"], dead["density_train"], dead["top_tokens"]) == (0, 0, [])
        for name in ("max_activation", "max_activation_train", "mean_activation", "activation_deciles"):
            assert dead[name] is None
        for name in ("information_nats", "information_train_nats", "bias_nats", "score"):
            assert dead[f"position_{name}"] is None
        assert [dead[name] for name in ("is_unigram", "is_previous_token", "is_positional")] == [False] * 3


def test_every_feature_of_an_sae_that_never_fires_has_a_row():
    rows = stats(small_corpus(), 4)
    assert [rows[feature]["n_active"] for feature in range(4)] == [0] * 4


def test_feature_on_every_token_has_density_1():
    database = small_corpus()
    places = [(0, p) for p in range(8)] + [(1, p) for p in range(3)] + [(2, p) for p in range(8)]
    fill_firings(database, [Firing(0, context, position) for context, position in places])
    row = stats(database, 1)[0]
    assert (row["n_active"], row["n_active_first"], row["density"], row["density_train"]) == (19, 3, 1, 1)
    assert row["n_active_train"] == 7 + 2
    assert row["position_information_nats"] == 0
    assert row["position_score"] == 0
    assert [each["fire_share"] for each in row["top_tokens"]] == [1.0] * 4
    # Slots from 1 and 4 in contexts of 8 tokens; context 1 is too short for one.
    assert (row["n_slots_train"], row["n_slots_test"]) == (2, 2)


def test_feature_on_position_0_only_counts_nowhere_but_in_n_active():
    database = small_corpus()
    fill_firings(database, [Firing(0, 0, 0, 2.0), Firing(0, 1, 0, 4.0), Firing(0, 2, 0, 3.0)])
    row = stats(database, 1)[0]
    assert (row["n_active"], row["n_active_first"], row["n_active_train"]) == (3, 3, 0)
    assert (row["max_activation"], row["max_activation_train"], row["mean_activation"]) == (4, None, 3)
    assert (row["n_slots_train"], row["n_slots_test"], row["n_top_tokens"], row["top_tokens"]) == (0, 0, 0, [])
    assert row["n_top_previous_tokens"] == 0
    assert row["position_information_nats"] > 0
    assert (row["position_information_train_nats"], row["position_score"]) == (None, None)
    assert row["density"] == pytest.approx(3 / 19)
    assert row["density_train"] == 0


def test_feature_that_fires_in_test_documents_alone_has_no_train_statistics():
    database = small_corpus()
    fill_firings(database, [Firing(0, 2, 1, 2.0), Firing(0, 2, 2, 5.0)])
    row = stats(database, 1)[0]
    assert (row["n_active"], row["n_active_train"], row["n_slots_train"], row["n_slots_test"]) == (2, 0, 0, 1)
    assert (row["max_activation"], row["max_activation_train"], row["top_tokens"]) == (5, None, [])


def test_slots_contexts_and_documents_are_counted_by_role():
    database = Database(context_length=8)
    documents = [Document("train", range(24)), Document("train", range(8)), Document("test", range(24))]
    fill_corpus(database, documents, copied=[(4, 1)])
    fill_firings(
        database,
        [
            # Document 0: two slots of context 0 (one of them twice), position 0 and end piece of context 1.
            Firing(0, 0, 1),
            Firing(0, 0, 3),
            Firing(0, 0, 4),
            Firing(0, 1, 0),
            Firing(0, 1, 7),
            Firing(0, 2, 5),
            Firing(0, 3, 6),
            # Test: a copied slot, and two that are not, in one document.
            Firing(0, 4, 2),
            Firing(0, 5, 2),
            Firing(0, 6, 2),
        ],
    )
    row = stats(database, 1)[0]
    assert row["n_active"] == 10
    assert (row["n_slots_train"], row["n_contexts_train"], row["n_documents_train"]) == (4, 3, 2)
    assert (row["n_slots_test"], row["n_contexts_test"], row["n_documents_test"]) == (2, 2, 1)


def test_one_document_gives_figures_for_its_role_alone():
    database = Database(context_length=8)
    fill_corpus(database, [Document("test", [1, 2, 3, 4, 5])])
    fill_firings(database, [Firing(0, 0, 2)])
    row = stats(database, 1)[0]
    assert (row["n_active"], row["density"], row["density_train"]) == (1, 1 / 5, 0)
    assert (row["n_slots_train"], row["n_slots_test"]) == (0, 1)


def test_quantiles_are_values_of_the_firings():
    rng = np.random.default_rng(1)
    database = Database(context_length=100)
    fill_corpus(database, [Document("train", range(100)), Document("test", range(100))])
    sizes = [1, 2, 9, 10, 11, 99, 200]
    drawn = {feature: rng.integers(1, 400, n) / 8 for feature, n in enumerate(sizes)}
    fill_firings(
        database,
        [
            Firing(feature, i // 100, i % 100, float(value))
            for feature, values in drawn.items()
            for i, value in enumerate(values)
        ],
    )
    database.make_before("feature_counts")
    rows = by(database.rows("feature_counts"), "feature")
    for feature, values in drawn.items():
        expected = [quantile_disc(values, share / 10) for share in range(1, 10)]
        assert rows[feature]["activation_deciles"] == expected
        assert rows[feature]["mean_activation"] == pytest.approx(values.mean())
        assert rows[feature]["max_activation"] == values.max()


# Tokens -------------------------------------------------------------------------------------------------


def test_token_counts_by_hand():
    database = small_corpus(heuristics_top_tokens=2)
    fill_firings(
        database,
        [
            # Token 11 three times, 12 twice, 13 once; position 0 (token 10) and test firings stay out.
            Firing(0, 0, 1, 8.0),
            Firing(0, 0, 4, 8.0),
            Firing(0, 0, 6, 8.0),
            Firing(0, 0, 2, 4.0),
            Firing(0, 1, 1, 2.0),
            Firing(0, 0, 3, 1.0),
            Firing(0, 0, 0, 50.0),
            Firing(0, 2, 4, 50.0),
        ],
    )
    row = stats(database, 1)[0]
    tokens = by(database.read("feature_tokens"), "token_id")
    assert {token_id: (each["n_active"], each["sum_activation"]) for token_id, each in tokens.items()} == {
        11: (3, 24.0),
        12: (2, 6.0),
        13: (1, 1.0),
    }
    # Strong is above 0.3 x 8 = 2.4.
    assert {token_id: each["n_strong"] for token_id, each in tokens.items()} == {11: 3, 12: 1, 13: 0}
    assert (row["n_active_train"], row["max_activation_train"]) == (6, 8)
    # By mass: 24 of 31 is under 80 %, so the second token counts too, and 30 of 31 is not.
    assert row["n_mass_tokens"] == 2
    assert row["top_tokens"] == [
        # Token 11 stands at positions 1, 4 and 6 of context 0; position 0 of context 1 does not count.
        {"token_id": 11, "text": " t11", "n_active": 3, "n_tokens": 3, "fire_share": 1.0, "mean_activation": 8.0},
        {
            "token_id": 12,
            "text": " t12",
            "n_active": 2,
            "n_tokens": 3,
            "fire_share": 2 / 3,
            "mean_activation": 3.0,
        },
    ]
    # Six firings on tokens 11, 12 and 13, of 9 train tokens beyond position 0.
    assert row["density_train"] == pytest.approx(6 / 9)


def test_tokens_of_equal_mass_are_listed_by_id():
    database = small_corpus()
    fill_firings(database, [Firing(0, 0, 3), Firing(0, 0, 2), Firing(0, 0, 1)])
    assert [each["token_id"] for each in stats(database, 1)[0]["top_tokens"]] == [11, 12, 13]


def line_of_tokens(n):
    """A train document of one context: position p holds token p."""
    database = Database(context_length=n + 1)
    fill_corpus(database, [Document("train", range(n + 1))])
    return database


def test_weakest_fifth_of_the_firings_is_not_among_the_top_tokens():
    database = line_of_tokens(1000)
    fill_firings(database, [Firing(0, 0, position, float(position)) for position in range(1, 1001)])
    row = stats(database, 1)[0]
    # The firing at the 20th percentile itself is counted too.
    assert row["n_top_tokens"] in {800, 801}
    assert row["n_top_previous_tokens"] == row["n_top_tokens"]
    # By mass: the strongest 1000, 999, ... until the sum reaches 80 % of 500,500.
    mass = np.cumsum(np.arange(1000, 0, -1))
    assert row["n_mass_tokens"] == int(np.searchsorted(mass, 0.8 * mass[-1])) + 1


def test_top_share_of_ten_firings_is_eight():
    database = line_of_tokens(10)
    fill_firings(database, [Firing(0, 0, position, float(position)) for position in range(1, 11)])
    assert stats(database, 1)[0]["n_top_tokens"] == 8


def test_equal_activations_are_all_top():
    database = line_of_tokens(30)
    fill_firings(database, [Firing(0, 0, position, 2.0) for position in range(1, 31)])
    row = stats(database, 1)[0]
    assert row["n_top_tokens"] == 30
    assert row["n_mass_tokens"] == 24


def test_first_token_of_a_context_counts_as_the_one_before_position_1_only():
    database = small_corpus()
    fill_firings(database, [Firing(0, 0, 1), Firing(0, 1, 1), Firing(0, 0, 0), Firing(0, 1, 0)])
    row = stats(database, 1)[0]
    # Before the firings stand tokens 10 (context 0) and 11 (context 1); position 0 has none.
    assert (row["n_active_train"], row["n_top_previous_tokens"]) == (2, 2)


# Flags --------------------------------------------------------------------------------------------------


def planted(seed=2, n_contexts=60, length=64, n_vocabulary=200):
    """A corpus of random tokens with planted features, each with weak firings off its pattern.

    0: token 7; 1: tokens 0 to 14; 2: after token 3; 3: at random; 4: token 7, too rarely; 5: position 0; 6: one of
    positions 1 to 4.
    """
    rng = np.random.default_rng(seed)
    database = Database(context_length=length)
    tokens = rng.integers(0, n_vocabulary, (n_contexts, length))
    tokens[rng.random(tokens.shape) < 0.15] = 7
    tokens[rng.random(tokens.shape) < 0.15] = 3
    roles = ["train" if i % 2 == 0 else "test" for i in range(n_contexts)]
    fill_corpus(database, [Document(role, row.tolist()) for role, row in zip(roles, tokens, strict=True)], 8)
    before = np.roll(tokens, 1, axis=1)
    later = np.arange(length)[None, :] >= 1
    everywhere = np.broadcast_to(later, tokens.shape)
    patterns = [
        (tokens == 7) & later,
        (tokens < 15) & later,
        (before == 3) & later,
        everywhere & (rng.random(tokens.shape) < 0.2),
        (tokens == 7) & later & (rng.random(tokens.shape) < 0.1),
        ~everywhere,
        everywhere & (np.arange(length) < 5),
    ]
    firings = []
    for feature, pattern in enumerate(patterns):
        off = everywhere & ~pattern & (rng.random(tokens.shape) < 0.1 * pattern.mean())
        strength = (4 + rng.integers(8, size=pattern.shape) / 8).tolist()
        firings += [Firing(feature, i, p, strength[i][p]) for i, p in np.argwhere(pattern).tolist()]
        firings += [Firing(feature, *place, 0.25) for place in np.argwhere(off).tolist()]
    fill_firings(database, firings)
    return stats(database, len(patterns)), database


def test_planted_features_have_their_flags_and_no_others():
    rows, _ = planted()
    flags = {
        feature: [name for name in ("is_unigram", "is_previous_token") if row[name]]
        for feature, row in rows.items()
    }
    assert flags[0] == ["is_unigram"]
    assert flags[1] == ["is_unigram"]
    assert flags[2] == ["is_previous_token"]
    assert flags[3] == []
    assert rows[0]["n_top_tokens"] == 1
    assert rows[1]["n_top_tokens"] == 15
    assert rows[2]["n_top_previous_tokens"] == 1
    assert rows[6]["position_score"] > 0.05
    # Its figure over all documents and positions is that of the post: the first position counts there alone.
    assert rows[5]["position_information_nats"] > 0.05 > rows[5]["position_information_train_nats"]
    assert all(rows[feature]["position_score"] < 0.05 for feature in range(6))


def test_few_firings_flag_nothing():
    rows, _ = planted()
    assert rows[4]["n_active_train"] < 100
    assert rows[4]["n_top_tokens"] <= 20
    assert rows[4]["is_unigram"] is False
    assert rows[5]["n_active_train"] < 100
    assert rows[5]["is_previous_token"] is False


def test_flags_turn_on_at_their_thresholds():
    database = small_corpus()
    fill_firings(database, [Firing(0, 0, 1), Firing(0, 0, 2), Firing(0, 0, 4)])
    stats(database, 1)
    # Three firings on two tokens, with tokens 10, 11 and 13 before them.
    for min_firings, max_tokens, is_unigram, is_previous in (
        (3, 3, True, True),
        (3, 2, True, False),
        (3, 1, False, False),
        (4, 3, False, False),
    ):
        values = {"heuristics_min_firings": min_firings, "heuristics_max_tokens": max_tokens}
        [row] = database.rows("feature_stats", **values)
        assert (row["is_unigram"], row["is_previous_token"]) == (is_unigram, is_previous)


def test_raw_positional_flag_is_the_cut_on_information():
    database = small_corpus()
    fill_firings(database, [Firing(0, context, 0) for context in range(3)])
    row = stats(database, 1)[0]
    information = row["position_information_nats"]
    for cut, flagged in ((information - 1e-9, True), (information, False)):
        [row] = database.rows("feature_stats", heuristics_positional_information_nats=cut)
        assert row["is_positional"] is flagged


def test_token_shares_agree_with_counting_in_numpy():
    rows, database = planted(seed=3)
    placed = [row for row in database.read("corpus_tokens") if row["role"] == "train" and row["position"] >= 1]
    occurrences = {}
    for row in placed:
        occurrences[row["token_id"]] = occurrences.get(row["token_id"], 0) + 1
    token_at = {row["token_index"]: row["token_id"] for row in placed}
    for feature, row in rows.items():
        fired = {}
        for firing in database.read("activations"):
            if firing["feature"] == feature and firing["token_index"] in token_at:
                fired.setdefault(token_at[firing["token_index"]], []).append(firing["activation"])
        assert row["n_active_train"] == sum(map(len, fired.values()))
        order = sorted(fired, key=lambda token_id: (-sum(fired[token_id]), token_id))[:10]
        assert [each["token_id"] for each in row["top_tokens"]] == order
        for each in row["top_tokens"]:
            assert each["n_active"] == len(fired[each["token_id"]])
            assert each["fire_share"] == pytest.approx(each["n_active"] / occurrences[each["token_id"]])
            assert each["mean_activation"] == pytest.approx(np.mean(fired[each["token_id"]]))
