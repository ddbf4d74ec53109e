"""Scrambled contexts: which tokens are verified, the texts that are drawn, and what their firings come to."""

import pyarrow as pa
import pytest

from .rows import SAE, Database, by

N_TOKENS = 60
SPECIAL = {0, 1}


def candidates(tokens_of, is_unigram=True, **values):
    """A database with unigram candidates: {feature: [token]}, every token seen ten times and fired on five."""
    database = Database(scrambling_n_fillers=5, **values)
    database.fill(
        "tokens",
        [
            {"token_id": token_id, "text": f" t{token_id}", "is_special": token_id in SPECIAL}
            for token_id in range(N_TOKENS)
        ],
    )
    database.fill(
        "feature_stats", [{"sae": SAE, "feature": feature, "is_unigram": is_unigram} for feature in tokens_of]
    )
    database.fill(
        "feature_tokens",
        [
            {"sae": SAE, "feature": feature, "token_id": token_id, "n_active": 5, "n_top": 3}
            for feature, token_ids in tokens_of.items()
            for token_id in token_ids
        ],
    )
    used = sorted({token_id for token_ids in tokens_of.values() for token_id in token_ids})
    database.fill("train_tokens", pa.table({"token_id": pa.array(used, pa.int32()), "n_tokens": [10] * len(used)}))
    return database


def texts_of(database):
    database.make("unigram_tokens", "scrambled_texts")
    return database.read("scrambled_texts")


# Which tokens ------------------------------------------------------------------------------------------


def test_tokens_among_top_firings_of_candidates_are_verified_with_their_share_in_text():
    database = candidates({0: [7, 8], 1: [8]})
    database.fill(
        "feature_tokens",
        [
            {"sae": SAE, "feature": 0, "token_id": 7, "n_active": 4, "n_top": 1},
            {"sae": SAE, "feature": 0, "token_id": 8, "n_active": 9, "n_top": 0},
        ],
    )
    assert database.rows("unigram_tokens") == [{"feature": 0, "token_id": 7, "fire_share": 0.4}]


def test_features_without_the_unigram_flag_are_not_verified():
    assert candidates({0: [7]}, is_unigram=False).rows("unigram_tokens") == []


def test_a_smaller_limit_verifies_some_of_the_same_candidates():
    tokens_of = {feature: [feature + 2] for feature in range(40)}
    few, more = (
        {row["feature"] for row in candidates(tokens_of, scrambling_max_features=n).rows("unigram_tokens")}
        for n in (5, 20)
    )
    assert (len(few), len(more)) == (5, 20)
    assert few < more
    assert few != set(range(5))


# The texts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bos", [[], [0]])
def test_the_token_stands_at_its_place_among_fillers_and_never_first(bos):
    texts = texts_of(candidates({0: list(range(2, N_TOKENS))}, scrambling_repeats=3, bos_token_id=bos))
    assert len(texts) == 3 * (N_TOKENS - 2)
    assert [text["context_id"] for text in texts] == list(range(len(texts)))
    for text in texts:
        assert len(text["token_ids"]) == len(bos) + 6
        assert text["token_ids"][: len(bos)] == bos
        assert text["token_ids"][text["place"]] == text["token_id"]
        assert len(bos) + 1 <= text["place"] <= len(bos) + 5
    assert {text["place"] - len(bos) for text in texts} == {1, 2, 3, 4, 5}


def test_fillers_are_drawn_from_the_whole_vocabulary_but_special_tokens():
    texts = texts_of(candidates({0: list(range(2, N_TOKENS))}, scrambling_repeats=8))
    fillers = [
        token_id for text in texts for place, token_id in enumerate(text["token_ids"]) if place != text["place"]
    ]
    counts = {token_id: fillers.count(token_id) for token_id in range(N_TOKENS)}
    assert {token_id for token_id in counts if counts[token_id] == 0} == SPECIAL
    expected = len(fillers) / (N_TOKENS - 2)  # 40; 5 standard deviations are 31
    assert all(expected - 31 < counts[token_id] < expected + 31 for token_id in range(2, N_TOKENS))


def test_fillers_from_the_corpus_are_as_frequent_as_there():
    database = candidates({0: list(range(2, N_TOKENS))}, scrambling_repeats=8, scrambling_fillers="corpus")
    database.fill(
        "train_tokens",
        [
            {"token_id": 2, "n_tokens": 300},
            {"token_id": 3, "n_tokens": 100},
            {"token_id": 1, "n_tokens": 600},
        ],
    )
    texts = texts_of(database)
    fillers = [
        token_id for text in texts for place, token_id in enumerate(text["token_ids"]) if place != text["place"]
    ]
    assert set(fillers) == {2, 3}  # 1 is special
    assert 0.6 < fillers.count(2) / len(fillers) < 0.9


def test_a_text_depends_on_seed_token_and_repeat_alone():
    def key(database):
        return {(text["token_id"], tuple(text["token_ids"])) for text in texts_of(database)}

    alone, among = key(candidates({3: [7]})), key(candidates({9: [50, 7, 4], 1: [7]}))
    assert len(alone) == 2
    assert alone < among
    assert len(among) == 6  # one text serves both features that have the token
    assert alone.isdisjoint(key(candidates({3: [7]}, seed=1)))


def test_no_candidate_means_no_text():
    assert texts_of(candidates({})) == []


# What they come to -------------------------------------------------------------------------------------


def verified(firings, threads=None):
    """scrambled_contexts of features 0 (token 7) and 1 (tokens 7 and 8) on four texts of 4 tokens."""
    database = Database(threads=threads)
    database.fill(
        "unigram_tokens",
        [
            {"feature": 0, "token_id": 7, "fire_share": 0.5},
            {"feature": 1, "token_id": 7, "fire_share": 0.25},
            {"feature": 1, "token_id": 8, "fire_share": 1.0},
        ],
    )
    database.fill(
        "scrambled_texts",
        [
            {"context_id": 0, "token_id": 7, "place": 2, "token_ids": [11, 12, 7, 13]},
            {"context_id": 1, "token_id": 7, "place": 2, "token_ids": [14, 15, 7, 16]},
            {"context_id": 2, "token_id": 8, "place": 1, "token_ids": [17, 8, 18, 19]},
            {"context_id": 3, "token_id": 8, "place": 3, "token_ids": [20, 21, 22, 8]},
        ],
    )
    database.fill(
        "scrambled_firings",
        [
            {"feature": feature, "token_index": 4 * context_id + position, "activation": activation}
            for feature, context_id, position, activation in firings
        ],
    )
    database.make("scrambled_contexts")
    return by(database.read("scrambled_contexts"), "feature", "token_id", "place")


def test_a_firing_counts_on_the_token_and_others_count_as_the_fillers_rate():
    found = verified(
        [
            (0, 0, 2, 3.0),
            (0, 1, 2, 5.0),
            (0, 1, 1, 9.0),
            (0, 1, 0, 9.0),  # position 0 is left out
            (1, 2, 2, 1.0),
            (1, 3, 3, 2.0),
            (4, 2, 1, 8.0),  # 4 is no candidate
            (0, 2, 1, 8.0),  # a text of a token that is not among feature 0's
        ]
    )
    assert set(found) == {(0, 7, 2), (1, 7, 2), (1, 8, 1), (1, 8, 3)}
    counts = ("n_contexts", "n_active", "mean_activation", "n_fillers", "n_fillers_active", "fire_share")
    assert {key: tuple(row[name] for name in counts) for key, row in found.items()} == {
        (0, 7, 2): (2, 2, 4.0, 4, 1, 0.5),
        (1, 7, 2): (2, 0, None, 4, 0, 0.25),
        (1, 8, 1): (1, 0, None, 2, 1, 1.0),
        (1, 8, 3): (1, 1, 2.0, 2, 0, 1.0),
    }
    assert {row["fillers"] for row in found.values()} == {"vocabulary"}


def test_candidates_that_fire_nowhere_have_rows():
    assert all(row["n_active"] == 0 for row in verified([]).values())


# The post's figure -------------------------------------------------------------------------------------


def independence(shares, n_features=20, n_candidates=4):
    """context_independence where feature f fires in shares[f] of its ten contexts, in two rows."""
    database = Database()
    database.fill(
        "feature_stats",
        [{"sae": SAE, "feature": feature, "is_unigram": feature < n_candidates} for feature in range(n_features)],
    )
    database.fill(
        "scrambled_contexts",
        [
            {
                "sae": SAE,
                "feature": feature,
                "token_id": 7,
                "place": place,
                "n_contexts": 5,
                "n_active": min(max(n_active - 5 * (place - 1), 0), 5),
            }
            for feature, n_active in enumerate(shares)
            for place in (1, 2)
        ],
    )
    return by(database.run_stage("context_independence"), "threshold")


def test_a_feature_counts_at_every_threshold_up_to_its_share_over_all_its_contexts():
    found = independence([0, 3, 9, 10])
    assert [row["n_independent"] for row in found.values()] == [3, 3, 3, 2, 2, 2, 2, 2, 2]
    assert found[0.3]["share_of_candidates"] == 0.75
    assert found[0.3]["share_of_features"] == pytest.approx(3 / 20)


def test_a_draw_of_candidates_stands_for_all_of_them_with_its_interval():
    row = independence([10, 0], n_features=100, n_candidates=10)[0.5]
    assert (row["n_features"], row["n_candidates"], row["n_verified"], row["n_independent"]) == (100, 10, 2, 1)
    assert row["share_of_features"] == pytest.approx(0.5 * 10 / 100)
    # Wilson (1927) for 1 of 2.
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(0.0945, abs=1e-4), pytest.approx(0.9055, abs=1e-4))


def test_an_sae_without_candidates_has_a_share_of_0_of_its_features():
    for row in independence([], n_candidates=0).values():
        assert (row["n_verified"], row["share_of_candidates"], row["share_of_features"]) == (0, None, 0)


def test_candidates_of_whom_none_was_verified_have_no_share():
    row = independence([], n_candidates=4)[0.1]
    assert row["share_of_features"] is row["ci_low"] is row["ci_high"] is None


def test_figures_tell_the_shares():
    database = Database()
    database.fill(
        "scrambled_contexts",
        [
            {
                "feature": feature,
                "n_contexts": 2,
                "n_active": n_active,
                "n_fillers": 36,
                "n_fillers_active": 9,
                "fire_share": share,
            }
            for feature, n_active, share in ((0, 2, 1.0), (1, 1, 0.5))
        ],
    )
    assert {row["figure"]: row["value"] for row in database.rows("figures/scrambled_contexts")} == {
        "candidates_verified": 2,
        "share_active": 0.75,
        "share_active_in_text": 0.75,
        "share_of_fillers_active": 0.25,
    }
