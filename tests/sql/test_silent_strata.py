"""Silent windows: each kind is drawn from all slots of its kind, by a hash that nothing else moves."""

from collections import Counter

import numpy as np
import pytest

from .rows import Database, Document, Firing, by, fill_corpus, fill_firings
from .test_examples import TOP, fill_batch, plain, with_top


def rare_database(n_contexts=300, n_features=1, generation=0):
    """One slot a context, all test. Features 0 to n - 1 fire in the first four, share a neighbour, n, and a token.

    The token stands in 12 further slots, the neighbour fires in 12 others: 4 % of the silent ones each.
    """
    database = Database(9)
    documents = [Document("test", with_top() if 4 <= each < 16 else plain()) for each in range(n_contexts)]
    fill_corpus(database, documents, slot_tokens=8)
    neighbour = n_features
    fill_firings(
        database,
        [
            *(Firing(feature, context, 3) for feature in range(n_features) for context in range(4)),
            *(Firing(neighbour, context, 4) for context in range(16, 28)),
        ],
    )
    fill_batch(database, range(n_features), [(feature, neighbour) for feature in range(n_features)], (TOP,))
    return database


def strata(database, **values):
    database.make_before("silent_strata", **values)
    places = by(database.read("candidate_slots"), "slot")
    rows = database.rows("silent_strata", **values)
    return [row | {"context_id": places[row["slot"]]["context_id"]} for row in rows]


def test_kinds_that_are_rare_among_silent_windows_have_their_share_of_the_questions():
    database = rare_database()
    database.run_stage("example_index")
    rows = database.run_stage("examples", scoring_n_questions=12, sampling_silent_draws=20)
    silent = [row for row in rows if row["kind"] != "activating"]
    asked = Counter(row["kind"] for row in silent if row["draw"] <= 12)
    assert asked == {"same_token": 4, "neighbour": 4, "random": 4}
    assert {(row["kind"], row["n_slots"]) for row in silent} == {
        ("same_token", 12),
        ("neighbour", 12),
        ("random", 300 - 4 - 24),
    }


def test_so_many_of_each_kind_are_drawn_and_all_where_there_are_fewer():
    rows = strata(rare_database(), sampling_silent_draws=20)
    assert Counter(row["kind"] for row in rows) == {"same_token": 12, "neighbour": 12, "random": 20}
    assert sorted(row["draw"] for row in rows) == list(range(1, 45))


def test_a_random_draw_of_all_silent_windows_does_not_prefer_rare_kinds():
    database = rare_database(n_features=60)
    database.run_stage("example_index")
    values = {"scoring_silent": "random", "sampling_silent_draws": 20, "scoring_n_questions": 200}
    rows = database.run_stage("examples", **values)
    asked = Counter(row["kind"] for row in rows if row["kind"] != "activating")
    n, share = 60 * 20, 12 / 296
    assert asked.total() == n, "no more than those drawn of each kind: of further ones only rare kinds are known"
    for kind in ("same_token", "neighbour"):
        assert abs(asked[kind] - n * share) < 4 * np.sqrt(n * share * (1 - share))


def test_every_slot_of_a_kind_has_the_same_chance():
    n_features, n_draws = 200, 5
    rows = strata(rare_database(n_contexts=80, n_features=n_features), sampling_silent_draws=n_draws)
    for kind, n_slots in (("same_token", 12), ("neighbour", 12), ("random", 52)):
        counts = Counter(row["context_id"] for row in rows if row["kind"] == kind)
        expected = n_features * n_draws / n_slots
        assert counts.total() == n_features * n_draws
        chi2 = sum((counts[each] - expected) ** 2 / expected for each in counts)
        chi2 += expected * (n_slots - len(counts))
        assert chi2 < (n_slots - 1) + 4 * np.sqrt(2 * (n_slots - 1))
    orders = {tuple(row["slot"] for row in rows if row["feature"] == feature) for feature in range(n_features)}
    assert len(orders) == n_features, "features draw apart"


def test_added_documents_move_no_slot_before_another():
    orders = []
    for n_contexts in (100, 140):
        rows = sorted(strata(rare_database(n_contexts), sampling_silent_draws=1000), key=lambda row: row["draw"])
        orders.append([row["context_id"] for row in rows])
    assert [each for each in orders[1] if each < 100] == orders[0]
    assert orders[1] != orders[0] + list(range(100, 140)), "added ones come in between"


@pytest.mark.parametrize("change", [{"seed": 1}, {"sae": "layers.2"}])
def test_another_seed_or_sae_draws_in_another_order(change):
    database = rare_database()
    database.make("candidate_slots")
    first, other = (
        [row["slot"] for row in sorted(database.rows("silent_lots", **each), key=lambda row: row["lot"])]
        for each in ({}, change)
    )
    assert sorted(first) == sorted(other) and first != other
