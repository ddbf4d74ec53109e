"""The example index: slots in which a feature fires by decile and draw, and draws that nothing else moves."""

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest

from .rows import SAE, Database, Document, Firing, by, fill_corpus, fill_firings

EVERY = {"sampling_draws_per_decile": 100_000, "sampling_top": 1}
"""Keep every activating slot."""


def corpus_database(n_contexts=40, length=33, copied=(), **values):
    """Contexts of one document each, half of them test, with four slots of 8 tokens from position 1 on."""
    database = Database(length, **values)
    roles = ["train" if i % 2 == 0 else "test" for i in range(n_contexts)]
    fill_corpus(database, [Document(role, range(length)) for role in roles], slot_tokens=8, copied=copied)
    return database


def index(database, **values):
    """example_index by (feature, context_id, start)."""
    return by(database.run_stage("example_index", **values), "feature", "context_id", "start")


def distinct_peaks(rng, n_contexts, share, feature=0):
    """Firings of a feature on a share of the slots, with no two peaks equal and weaker firings beside some."""
    slots = [(context, start) for context in range(n_contexts) for start in (1, 9, 17, 25)]
    chosen = rng.permutation(len(slots))[: int(share * len(slots))]
    peaks = (rng.permutation(len(chosen)) + 1) / 8
    firings = []
    for number, peak in zip(chosen.tolist(), peaks.tolist(), strict=True):
        context, start = slots[number]
        peak_place, weak_place = rng.choice(8, 2, replace=False).tolist()
        firings.append(Firing(feature, context, start + peak_place, peak))
        if rng.random() < 0.5:
            firings.append(Firing(feature, context, start + weak_place, peak / 2))
    return firings


def reference_peaks(database):
    """Peak by (feature, context_id, start) of candidate slots, by walking the firings."""
    slot_at = {
        (row["context_id"], row["start"] + i): row["start"]
        for row in database.read("slots")
        if row["is_candidate"]
        for i in range(row["n_tokens"])
    }
    peaks = {}
    for row in database.read("activations"):
        start = slot_at.get((row["context_id"], row["position"]))
        if start is not None:
            key = row["feature"], row["context_id"], start
            peaks[key] = max(peaks.get(key, 0), row["activation"])
    return peaks


# Activating ---------------------------------------------------------------------------------------------


def test_peak_is_the_largest_activation_of_the_slot():
    database = corpus_database()
    fill_firings(database, distinct_peaks(np.random.default_rng(1), 40, 0.6))
    activating = index(database, **EVERY)
    assert {key: row["peak"] for key, row in activating.items()} == reference_peaks(database)


@pytest.mark.parametrize("n_slots", [1, 2, 5, 9, 10, 11, 37, 80])
def test_deciles_are_tenths_by_rank_of_the_peak(n_slots):
    database = corpus_database(n_contexts=40)
    # All in train contexts, which are the even ones.
    places = [(context, start) for context in range(0, 40, 2) for start in (1, 9, 17, 25)][:n_slots]
    rng = np.random.default_rng(n_slots)
    peaks = (rng.permutation(n_slots) + 1).tolist()
    fill_firings(database, [Firing(0, *place, float(peak)) for place, peak in zip(places, peaks, strict=True)])
    activating = index(database, **EVERY)
    by_rank = {row["rank"]: row for row in activating.values()}
    assert sorted(by_rank) == list(range(1, n_slots + 1))
    for rank, row in by_rank.items():
        assert row["peak"] == n_slots + 1 - rank
        # The strongest tenth, the first n/10 ranks, is decile 10.
        tenths = [tenth for tenth in range(1, 11) if (rank - 1) * 10 < tenth * n_slots]
        assert row["decile"] == 11 - min(tenths)
    sizes = Counter(row["decile"] for row in activating.values())
    assert by_rank[1]["decile"] == 10
    assert max(sizes.values()) - min(sizes[decile] for decile in range(1, 11)) <= 1
    assert all(row["n_slots"] == sizes[row["decile"]] for row in activating.values())


def test_roles_are_ranked_apart():
    database = corpus_database()
    fill_firings(database, distinct_peaks(np.random.default_rng(2), 40, 0.7))
    activating = index(database, **EVERY)
    for role in ("train", "test"):
        rows = sorted((row for row in activating.values() if row["role"] == role), key=lambda row: row["rank"])
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["peak"] for row in rows] == sorted((row["peak"] for row in rows), reverse=True)
        assert sorted(row["draw"] for row in rows) == list(range(1, len(rows) + 1))
        assert all((row["context_id"] % 2 == 0) is (role == "train") for row in rows)


def test_n_slots_are_counted_before_the_draw_and_the_first_draws_are_kept():
    database = corpus_database(n_contexts=60)
    fill_firings(database, distinct_peaks(np.random.default_rng(3), 60, 0.9))
    every = index(database, **EVERY)
    few = index(database, sampling_draws_per_decile=3, sampling_top=1)
    # A smaller draw changes no row but its place among those drawn, whose order stays.
    assert all({**few[key], "draw": 0} == {**every[key], "draw": 0} for key in few)
    for role in ("train", "test"):
        kept = [key for key in few if few[key]["role"] == role and few[key]["draw"] is not None]
        by_draw = sorted(kept, key=lambda key: few[key]["draw"])
        # Three of each decile first; then, of train slots, what is kept for its strength.
        assert Counter(few[key]["decile"] for key in by_draw[:30]) == dict.fromkeys(range(1, 11), 3)
        assert by_draw[:30] == sorted(by_draw[:30], key=lambda key: every[key]["draw"])
        assert len(by_draw) in ({30, 31} if role == "train" else {30})
    groups = defaultdict(list)
    for key, row in every.items():
        groups[row["role"], row["decile"]].append((row["draw"], key))
    for (role, decile), members in groups.items():
        first = {key for _, key in sorted(members)[:3]}
        kept = {key for _, key in members if key in few}
        strongest = {key for _, key in members if every[key]["rank"] == 1}
        assert kept == first | strongest
        # What is kept for its strength alone is in no draw of test slots.
        without = {key for key in kept if few[key]["draw"] is None}
        assert without == (strongest - first if role == "test" else set())
        assert all(every[key]["n_slots"] == len(members) for _, key in members), decile


def test_strongest_slots_of_each_role_are_kept_whatever_the_draw():
    database = corpus_database(n_contexts=60)
    fill_firings(database, distinct_peaks(np.random.default_rng(4), 60, 0.9))
    activating = index(database, sampling_draws_per_decile=1, sampling_top=30)
    for role in ("train", "test"):
        rows = [row for row in activating.values() if row["role"] == role]
        assert {row["rank"] for row in rows} >= set(range(1, 31))
        assert len([row for row in rows if row["rank"] > 30]) <= 10
    draws = sorted(row["draw"] for row in rows if row["draw"] is not None)
    assert draws == list(range(1, 11)), "test slots are drawn alone, one a decile"


def test_as_many_draws_as_the_deciles_give_favour_no_decile():
    database = corpus_database(n_contexts=400)
    fill_firings(database, distinct_peaks(np.random.default_rng(5), 400, 1.0))
    activating = index(database, sampling_draws_per_decile=10, sampling_top=400)
    train = [row for row in activating.values() if row["role"] == "train"]
    assert len(train) > 400
    first = Counter(row["decile"] for row in train if row["draw"] <= 100)
    assert first == dict.fromkeys(range(1, 11), 10)
    half = Counter(row["decile"] for row in train if row["draw"] <= 50)
    assert all(1 <= half[decile] <= 10 for decile in range(1, 11)), "drawn from all, not a decile in turn"
    assert sum(half[decile] for decile in range(6, 11)) < 40


def test_position_0_copied_slots_and_end_pieces_never_appear():
    copied = [(0, 9), (1, 1), (3, 25)]
    database = corpus_database(n_contexts=4, length=36, copied=copied)
    # Feature 0 fires everywhere; its slots are those at 1, 9, 17 and 25, while 33 to 35 are in none.
    fill_firings(database, [Firing(0, context, position) for context in range(4) for position in range(36)])
    activating = index(database, **EVERY)
    slots = {(context, start) for context in range(4) for start in (1, 9, 17, 25)} - set(copied)
    assert {(context, start) for _, context, start in activating} == slots


def test_feature_on_position_0_only_has_no_rows():
    database = corpus_database()
    fill_firings(database, [Firing(0, context, 0) for context in range(40)] + [Firing(1, 5, 3)])
    activating = index(database)
    assert {feature for feature, _, _ in activating} == {1}


def test_ties_of_the_peak_fall_by_hash_not_by_place():
    database = corpus_database(n_contexts=200)
    fill_firings(database, [Firing(0, context, 3, 1.0) for context in range(200)])
    activating = index(database, **EVERY)
    ranks = {context: row["rank"] for (_, context, _), row in activating.items() if row["role"] == "train"}
    correlation = np.corrcoef(list(ranks), list(ranks.values()))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(len(ranks))


def test_lots_are_uniform():
    database = corpus_database(n_contexts=600)
    fill_firings(database, [Firing(0, context, 3) for context in range(600)])
    database.make_before("active_slots")
    lots = np.sort([row["lot"] / 2**64 for row in database.rows("active_slots")])
    assert np.abs(lots - (np.arange(600) + 0.5) / 600).max() < 1.95 / np.sqrt(600), "Kolmogorov-Smirnov at 0.001"


# Draws that nothing else moves --------------------------------------------------------------------------


def large_activations(n_contexts=400, n_features=60, n=200_000):
    """Random firings with few distinct strengths, so that peaks tie."""
    rng = np.random.default_rng(7)
    keys = np.unique(rng.integers(0, n_features * n_contexts * 33, n))
    strength = rng.integers(1, 9, len(keys)) / 4
    return pa.table(
        {
            "sae": pa.array([SAE] * len(keys)),
            "feature": pa.array(keys // (n_contexts * 33), pa.int32()),
            "token_index": keys % (n_contexts * 33),
            "activation": pa.array(strength, pa.float32()),
        }
    )


def test_no_row_depends_on_threads_or_the_order_of_rows():
    activations = large_activations()
    shuffled = activations.take(np.random.default_rng(8).permutation(len(activations)))
    found = []
    for threads, rows in ((1, activations), (4, activations), (4, shuffled)):
        database = corpus_database(n_contexts=400, threads=threads)
        database.fill("activations", rows)
        if rows is shuffled:
            database.fill("slots", database.read("slots")[::-1])
            database.fill("contexts", database.read("contexts")[::-1])
        database.run_stage("example_index")
        found.append(database.connection.sql("from example_index").to_arrow_table())
    assert found[0].num_rows > 20_000
    # `order by` has no ties beyond (feature, role, draw), so that the files are equal, too.
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_feature_has_the_same_rows_among_other_features():
    activations = large_activations(n=20_000)
    database = corpus_database(n_contexts=400)
    database.fill("activations", activations)
    among = [row for row in database.run_stage("example_index") if row["feature"] == 9]
    database.fill("activations", activations.filter(pa.compute.equal(activations["feature"], 9)))
    assert database.run_stage("example_index") == among


@pytest.mark.parametrize("change", [{"seed": 1}, {"sae": "layers.2"}])
def test_another_seed_or_sae_draws_in_another_order(change):
    database = corpus_database(n_contexts=200)
    fill_firings(database, distinct_peaks(np.random.default_rng(9), 200, 0.5))
    first = index(database)
    other = index(database, **change)
    assert {key: row["draw"] for key, row in first.items()} != {key: row["draw"] for key, row in other.items()}


def test_features_draw_apart():
    database = corpus_database(n_contexts=200)
    fill_firings(database, [Firing(feature, context, 3) for feature in (0, 1) for context in range(200)])
    activating = index(database, **EVERY)
    orders = [
        sorted((row["draw"], context) for (each, context, _), row in activating.items() if each == feature)
        for feature in (0, 1)
    ]
    assert orders[0] != orders[1]
