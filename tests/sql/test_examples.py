"""Examples: strata of silent windows, the explainer's sampling, rendering, and draws that nothing else moves."""

from collections import Counter, defaultdict
from typing import get_args

import numpy as np

from pipeline.plugins import find_plugin
from pipeline.sampling import Sampling
from pipeline.tables.sql import steps_of
from pipeline.tables.stages import own_windows

from .rows import SAE, Database, Document, Firing, by, fill_corpus, fill_firings

ALL = {"sampling_draws_per_decile": 100_000, "sampling_silent_draws": 400}
"""Keep every slot."""

TOP = 50


def fill_batch(database, features, neighbours=(), top_tokens=(TOP,)):
    """Select features into batch 0; pairs of neighbours; the same top tokens for each."""
    database.fill(
        "selected_features", [{"sae": SAE, "feature": feature, "batch": 0, "priority": 0} for feature in features]
    )
    database.fill(
        "feature_neighbours",
        [
            {"sae": SAE, "feature": feature, "neighbour": other, "rank": 1, "cosine": 0.5}
            for feature, other in neighbours
        ],
    )
    database.fill(
        "feature_stats",
        [
            {"sae": SAE, "feature": feature, "top_tokens": [{"token_id": each} for each in top_tokens]}
            for feature in features
        ],
    )


def examples(database, **values):
    database.run_stage("example_index", **ALL | values)
    return database.run_stage("examples", **ALL | values)


def plain(n_tokens=9, token=1):
    return [token] * n_tokens


def with_top():
    return [1, 1, 1, TOP, 1, 1, 1, 1, 1]


# Strata -------------------------------------------------------------------------------------------------


def strata_database():
    """One slot a context; feature 0 is the one explained, 1 its near neighbour, 2 any other feature."""
    database = Database(9)
    documents = [
        Document("test", with_top()),  # 0: fires, though a top token and the neighbour are there, too
        Document("test", with_top()),  # 1: same_token
        Document("test", with_top()),  # 2: same_token, though the neighbour fires there
        Document("test", plain()),  # 3: neighbour
        Document("test", plain()),  # 4: random; another feature fires
        Document("test", [TOP, *plain(8)]),  # 5: random; the top token and the neighbour are on position 0
        Document("test", plain()),  # 6: random
        Document("train", plain()),  # 7: fires
        Document("train", plain()),  # 8: fires
        Document("train", with_top()),  # 9: silent, train
        Document("test", with_top()),  # 10: copied from a train document, no candidate
    ]
    fill_corpus(database, documents, slot_tokens=8, copied=[(10, 1)])
    fill_firings(
        database,
        [
            *(Firing(0, context, 3) for context in (0, 7, 8)),
            *(Firing(1, context, 4) for context in (0, 2, 3, 7, 9)),
            Firing(1, 5, 0),
            Firing(2, 4, 4),
        ],
    )
    fill_batch(database, [0], neighbours=[(0, 1)])
    return database


def test_silent_windows_go_to_the_first_stratum_that_applies():
    rows = examples(strata_database())
    kinds = {row["context_id"]: row["kind"] for row in rows if row["role"] == "test"}
    assert kinds == {
        0: "activating",
        1: "same_token",
        2: "same_token",
        3: "neighbour",
        4: "random",
        5: "random",
        6: "random",
    }


def test_n_slots_are_those_of_the_stratum():
    rows = examples(strata_database())
    counts = {row["kind"]: row["n_slots"] for row in rows if row["role"] == "test"}
    assert counts == {"activating": 1, "same_token": 2, "neighbour": 1, "random": 3}


def test_n_slots_do_not_depend_on_how_many_silent_slots_were_drawn():
    every = examples(strata_database())
    few = examples(strata_database(), sampling_silent_draws=1)
    counts = {row["context_id"]: row["n_slots"] for row in every if row["role"] == "test"}
    assert len(few) < len(every)
    assert all(counts[row["context_id"]] == row["n_slots"] for row in few if row["role"] == "test")


def test_strata_are_taken_in_turn():
    rows = [row for row in examples(strata_database()) if row["role"] == "test" and row["kind"] != "activating"]
    order = [row["kind"] for row in sorted(rows, key=lambda row: row["draw"])]
    assert sorted(order[:3]) == ["neighbour", "random", "same_token"]
    assert sorted(order[3:5]) == ["random", "same_token"]


def test_train_windows_are_activating_and_roles_are_those_of_the_documents():
    rows = examples(strata_database())
    assert {row["context_id"] for row in rows if row["role"] == "train"} == {7, 8}
    assert all((row["context_id"] in {7, 8}) is (row["role"] == "train") for row in rows)
    assert all(row["doc_id"] == f"d{row['context_id']}" for row in rows)


def test_random_stratum_excludes_hard_negatives_where_the_feature_never_fires_in_the_role():
    database = strata_database()
    fill_firings(database, [Firing(0, 7, 3), Firing(0, 8, 3), Firing(1, 3, 4)])
    rows = examples(database)
    counts = {row["kind"]: row["n_slots"] for row in rows if row["role"] == "test"}
    assert counts == {"same_token": 3, "neighbour": 1, "random": 3}


def test_feature_that_never_fires_has_no_examples():
    database = strata_database()
    fill_batch(database, [9])
    assert examples(database) == []


# Random corpora -----------------------------------------------------------------------------------------


def random_database(threads=None, n_contexts=60, n_features=5, backwards=False):
    """Documents of one to four contexts of 4 slots; features 0 to n - 1, each the next one's neighbour."""
    rng = np.random.default_rng(3)
    database = Database(33, threads=threads)
    documents = [
        Document("test" if rng.random() < 0.5 else "train", rng.integers(0, 60, 33 * rng.integers(1, 5)).tolist())
        for _ in range(n_contexts // 2)
    ]
    fill_corpus(database, documents, slot_tokens=8)
    n = len(database.read("contexts"))
    firings = [
        Firing(feature, context, position, float(rng.integers(1, 9)) / 4)
        for feature in range(n_features)
        for context in range(n)
        for position in range(33)
        if rng.random() < 0.05
    ]
    fill_firings(database, firings)
    fill_batch(database, range(n_features), [(f, (f + 1) % n_features) for f in range(n_features)], (50, 51))
    if backwards:
        for name in ("activations", "contexts", "slots", "documents", "selected_features", "feature_neighbours"):
            derived = {"context_id", "position"} if name == "activations" else set()
            rows = [{key: row[key] for key in row if key not in derived} for row in database.read(name)]
            database.fill(name, rows[::-1])
    return database


def test_rendered_windows_hold_the_contexts_tokens_and_every_firing():
    database = random_database()
    rows = examples(database)
    contexts = by(database.read("contexts"), "context_id")
    firings = {
        (row["feature"], row["context_id"], row["position"]): row["activation"]
        for row in database.read("activations")
    }
    for row in rows:
        span = range(row["start"], row["start"] + 8)
        assert row["token_ids"] == [contexts[row["context_id"]]["token_ids"][position] for position in span]
        assert row["activations"] == [firings.get((row["feature"], row["context_id"], i), 0) for i in span]
        if row["kind"] == "activating":
            assert max(row["activations"]) == row["peak"]
        else:
            assert not any(row["activations"])
    assert len({row["kind"] for row in rows}) == 4
    assert len({row["example_id"] for row in rows}) == len(rows)


def test_short_windows_at_a_contexts_end_are_rendered_to_their_end():
    database = Database(12)
    fill_corpus(database, [Document("train", range(12)), Document("train", range(12))], slot_tokens=8)
    slots = [{**row, "start": 8, "n_tokens": 4} for row in database.read("slots")]
    database.fill("slots", database.read("slots")[:0] + slots)
    fill_firings(database, [Firing(0, 0, 11, 2.0)])
    fill_batch(database, [0])
    [row] = examples(database)
    assert (row["token_ids"], row["activations"]) == ([8, 9, 10, 11], [0, 0, 0, 2])


def test_slots_of_documents_are_taken_distinct_documents_first():
    database = random_database()
    database.run_stage("example_index", **ALL)
    index = database.read("example_index")
    documents = {row["context_id"]: row["doc_id"] for row in database.read("contexts")}
    taken = database.run_stage("examples", **ALL)
    kinds = {(row["feature"], row["context_id"], row["start"]): row["kind"] for row in taken}
    # Place in its document by draw: the first slot of each document comes before any second one.
    seen = Counter()
    place = {}
    for row in sorted(index, key=lambda row: row["draw"]):
        key = row["feature"], row["context_id"], row["start"]
        if row["role"] == "test":
            group = row["feature"], documents[row["context_id"]]
            place[key] = seen[group]
            seen[group] += 1
    groups = defaultdict(list)
    for row in sorted(taken, key=lambda row: row["draw"]):
        key = row["feature"], row["context_id"], row["start"]
        if key in place:
            assert kinds[key] == "activating"
            groups[row["feature"], row["decile"]].append(place[key])
    assert len(groups) == 50
    assert all(places == sorted(places) for places in groups.values())


def test_silent_windows_of_one_long_document_do_not_crowd_out_others():
    database = Database(81)
    fill_corpus(database, [Document("test", plain(81)), *[Document("test", plain())] * 4], slot_tokens=8)
    fill_firings(database, [Firing(0, 4, 3)])
    fill_batch(database, [0])
    rows = [row for row in examples(database, scoring_n_questions=4) if row["kind"] == "random"]
    assert len(rows) == 8, "twice the questions of a side"
    assert {row["doc_id"] for row in rows if row["draw"] <= 4} == {"d0", "d1", "d2", "d3"}
    assert {row["doc_id"] for row in rows if row["draw"] > 4} == {"d0"}


def own_examples(database, scorer, **values):
    """The rows of a scorer's own, of `examples` as the pipeline makes them."""
    path = own_windows(find_plugin("scorers", scorer))
    database.make(*steps_of(path)[:-1], **ALL | values)
    database.fill("taken_slots", database.table(path, **ALL | values))
    database.make("rendered_windows", "examples", **ALL | values)
    return database.read("examples")


def test_the_strongest_test_windows_are_examples_and_move_no_draw():
    few = {"sampling_draws_per_decile": 2, "scoring_n_questions": 8}
    database = random_database(n_contexts=200)
    without = examples(database, **few, sampling_top=1, sampling_top_examples=1)
    rows = examples(database, **few, sampling_top=30, sampling_top_examples=12)
    for feature in range(5):
        own = [row for row in rows if row["feature"] == feature and row["role"] == "test"]
        test = [row for row in own if row["kind"] == "activating"]
        ranks = {row["rank"]: row for row in test}
        assert ranks.keys() >= set(range(1, 13))
        peaks = [ranks[rank]["peak"] for rank in range(1, 13)]
        assert peaks == sorted(peaks, reverse=True)
        assert any(row["draw"] is None for row in test), "the index holds some for their strength alone"
        assert {row["draw"] for row in test if row["rank"] > 12} <= set(range(1, 9))
        drawn = {row["example_id"] for row in test if (row["draw"] or 99) <= 8}
        assert len(drawn) == 8
    # Whoever goes by the draw asks as if there were none of them; and train windows are the same.
    asked = [
        [row for row in each if row["role"] == "test" and (row["draw"] or 99) <= 8] for each in (without, rows)
    ]
    assert asked[0] == asked[1] and len(asked[0]) >= 5 * 16


def test_the_intruders_windows_are_the_next_by_the_same_draw():
    database = random_database(n_contexts=200)
    few = {"scoring_n_questions": 8, "sampling_top_examples": 4}
    every = examples(database, **few | {"scoring_n_questions": 60})
    shared = examples(database, **few)
    own = own_examples(database, "intruder", **few, scoring_intruder_n_windows=50)

    def drawn(rows):
        return {
            row["example_id"]: row
            for row in rows
            if row["role"] == "test" and row["kind"] == "activating" and row["draw"] <= 50
        }

    assert drawn(own) and not drawn(own).keys() & {row["example_id"] for row in shared}
    assert drawn(shared) | drawn(own) == drawn(every)


def test_windows_of_near_neighbours_are_taken_where_a_scorer_asks_about_them():
    values = {"sampling_silent_draws": 9, "scoring_n_questions": 6}
    database = random_database()
    shared = examples(database, **values)
    assert all(row[name] is None for row in shared for name in ("neighbour", "neighbour_rank", "cosine"))
    taken_for_all = {row["example_id"] for row in shared}
    rows = own_examples(database, "neighbours", **values)
    peaks = defaultdict(float)
    for each in database.read("activations"):
        place = (each["feature"], each["context_id"], (each["position"] - 1) // 8)
        peaks[place] = max(peaks[place], each["activation"] * (each["position"] > 0))
    slots = [row for row in database.read("slots") if row["role"] == "test"]

    def strongest(feature, windows):
        places = [(feature, row["context_id"], (row["start"] - 1) // 8) for row in windows]
        return sorted((peaks[place] for place in places), reverse=True)

    for feature in range(5):
        neighbour = (feature + 1) % 5
        taken = [row for row in rows if row["feature"] == feature]
        silent = [row for row in slots if strongest(feature, [row]) == [0]]
        assert strongest(neighbour, taken) == strongest(neighbour, silent)[:6]
        told = {(row["neighbour"], row["neighbour_rank"], row["role"]) for row in taken}
        assert told == {(neighbour, 1, "test")}
        assert not any(max(row["activations"]) for row in taken)
        assert {(row["kind"], row["draw"], row["n_slots"]) for row in taken} == {("neighbour", None, None)}
    assert len({row["example_id"] for row in rows} - taken_for_all) == len(rows) > 5 * 5


def test_no_row_depends_on_threads_or_the_order_of_rows():
    found = []
    for threads, backwards in ((1, False), (4, False), (4, True)):
        rows = examples(random_database(threads, backwards=backwards))
        found.append(rows)
    assert len(found[0]) > 300
    assert found[0] == found[1] == found[2]


def test_feature_has_the_same_rows_whatever_else_is_in_its_batch():
    database = random_database()
    among = [row for row in examples(database) if row["feature"] == 3]
    fill_batch(database, [3], [(3, 4)], (50, 51))
    assert examples(database) == among


# What the explainer is shown ----------------------------------------------------------------------------


def taking(**n_windows):
    """Parameters by which the samplings named take so many train windows, and the others none."""
    return {"explaining_n_sampled": dict.fromkeys(get_args(Sampling), 0) | n_windows}


def forty_windows():
    """A feature that fires in 40 train slots of a document each, with another peak in each."""
    database = Database(9)
    fill_corpus(database, [Document("train", plain())] * 40, slot_tokens=8)
    peaks = np.random.default_rng(5).permutation(40) + 1
    fill_firings(database, [Firing(0, context, 3, float(peak)) for context, peak in enumerate(peaks)])
    fill_batch(database, [0])
    return database


def sampled(strategy, n_examples=6, top=10):
    """What a sampling takes of forty windows, in its order; and the index."""
    database = forty_windows()
    values = {"explaining_sampling": strategy, **taking(**{strategy: n_examples}), "sampling_top": top}
    rows = examples(database, **values)
    assert [row["draw"] for row in rows] == list(range(1, n_examples + 1))
    index = sorted(database.read("example_index"), key=lambda row: row["draw"])
    assert len(index) == 40
    return [row["context_id"] for row in rows], index


def test_top_takes_the_strongest_in_order():
    taken, index = sampled("top")
    assert taken == [row["context_id"] for row in sorted(index, key=lambda row: -row["peak"])[:6]]


def test_random_takes_the_first_draws():
    taken, index = sampled("random")
    assert taken == [row["context_id"] for row in index[:6]]


def test_top_sample_takes_the_first_draws_of_the_strongest():
    taken, index = sampled("top_sample")
    assert taken == [row["context_id"] for row in index if row["peak"] > 30][:6]


def test_top_sample_goes_on_below_the_top_by_rank():
    taken, index = sampled("top_sample", n_examples=6, top=4)
    assert set(taken[:4]) == {row["context_id"] for row in index if row["peak"] > 36}
    assert taken[4:] == [row["context_id"] for row in sorted(index, key=lambda row: -row["peak"])[4:6]]


def test_mixture_alternates_between_the_strongest_and_all():
    taken, index = sampled("mixture")
    strongest = [row["context_id"] for row in index if row["peak"] > 30]
    every = [row["context_id"] for row in index]
    turns = [context for pair in zip(strongest, every, strict=False) for context in pair]
    assert taken == list(dict.fromkeys(turns))[:6]
    assert 3 <= len(set(taken) & set(strongest)) < 6


def test_deciles_take_the_first_draw_of_each_in_turn():
    taken, index = sampled("deciles", n_examples=20)
    by_decile = defaultdict(list)
    for row in index:
        by_decile[(row["peak"] + 3) // 4].append(row["context_id"])
    assert {len(contexts) for contexts in by_decile.values()} == {4}
    assert set(taken[:10]) == {contexts[0] for contexts in by_decile.values()}
    assert set(taken[10:]) == {contexts[1] for contexts in by_decile.values()}


def test_explainers_with_several_samplings_each_get_what_they_would_alone():
    n_windows = {"top": 6, "deciles": 20, "mixture": 8}
    database = forty_windows()
    rows = by(examples(database, **taking(**n_windows), sampling_top=10), "example_id")
    assert sorted(row["draw"] for row in rows.values()) == list(range(1, len(rows) + 1))
    database.make("batch_features")
    everything = set()
    for strategy, n in n_windows.items():
        shown = {row["example_id"] for row in database.rows("shown_examples", sampling=strategy, n_shown=n)}
        alone, _ = sampled(strategy, n)
        assert {rows[each]["context_id"] for each in shown} == set(alone)
        everything |= shown
    assert everything == rows.keys()


def test_test_windows_do_not_depend_on_what_explainers_are_shown():
    found = []
    for values in ({}, taking(top=40, mixture=3), {"explaining_n_silent": 30}):
        rows = examples(random_database(), **values)
        found.append([row for row in rows if row["role"] == "test"])
    assert len(found[0]) > 100
    assert found[0] == found[1] == found[2]


def test_silent_train_windows_are_close_ones_a_stratum_in_turn():
    database = random_database()
    every = [row for row in examples(database, explaining_n_silent=1000) if row["role"] == "train"]
    silent = [row for row in every if row["kind"] != "activating"]
    assert {row["kind"] for row in silent} == {"same_token", "neighbour"}
    assert all(row["places"] is None and not any(row["activations"]) for row in silent)
    for feature in range(5):
        own = sorted((row for row in silent if row["feature"] == feature), key=lambda row: row["draw"])
        assert [row["draw"] for row in own] == list(range(1, len(own) + 1))
        first = [row["kind"] for row in own[:4]]
        assert sorted(first[:2]) == sorted(first[2:]) == ["neighbour", "same_token"]
    few = [row for row in examples(database, explaining_n_silent=3) if row["role"] == "train"]
    assert few == [row for row in every if row["kind"] == "activating" or row["draw"] <= 3]
    database.make("batch_features")
    shown = Counter((row["feature"], row["is_active"]) for row in database.rows("shown_examples", n_silent=2))
    assert shown == {(feature, is_active): 20 if is_active else 2 for feature in range(5) for is_active in (0, 1)}


def test_shown_examples_are_the_train_windows_in_an_order_apart_from_their_draw():
    database = random_database()
    rows = examples(database, **taking(deciles=12))
    database.make("batch_features")
    shown = database.rows("shown_examples", n_shown=12)
    train = [row for row in rows if row["role"] == "train"]
    assert Counter(row["example_id"] for row in shown) == Counter(row["example_id"] for row in train)
    assert [row["feature"] for row in shown] == sorted(row["feature"] for row in shown)
    in_order = [row["example_id"] for row in sorted(train, key=lambda row: (row["feature"], row["draw"]))]
    assert [row["example_id"] for row in shown] != in_order
