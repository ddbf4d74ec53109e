"""The laws: each check finds nothing on a lawful lake, and something on a broken one. And the figures."""

import pytest

from .rows import SAE, Database, Document, Firing, fill_corpus, fill_features, fill_firings
from .test_routes_and_selection import rule_row

# No test candidate in train ----------------------------------------------------------------------------

RUN = list(range(500, 532))


def copied_database(train, test, n_tokens=32, is_candidate=True, start=1, prepend_bos=False):
    """A train document and a test document of one slot, which is said to be a candidate or not."""
    database = Database(context_length=64, corpus_prepend_bos=prepend_bos)
    fill_corpus(database, [Document("train", train), Document("test", test)])
    n_train_contexts = -(-len(train) // 64)
    database.fill(
        "slots",
        [
            {
                "context_id": n_train_contexts,
                "start": start,
                "n_tokens": n_tokens,
                "doc_id": "d1",
                "role": "test",
                "is_copied": not is_candidate,
                "is_candidate": is_candidate,
            }
        ],
    )
    return database


@pytest.mark.parametrize("place", [0, 1, 40, 68])
def test_test_candidate_that_stands_in_a_train_document_is_found(place):
    train = [*range(place), *RUN, *range(200, 300 - place - 32)]
    database = copied_database(train, [7, *RUN, 8])
    assert len(database.rows("checks/no_test_candidate_in_train")) == 1


def test_test_candidate_is_found_behind_the_bos():
    # Contexts begin with the BOS, so that position 5 holds the document's token 4.
    database = copied_database([1, 2, *RUN], [9, 9, 9, 9, *RUN, 8], start=5, prepend_bos=True)
    assert len(database.rows("checks/no_test_candidate_in_train")) == 1


@pytest.mark.parametrize("n_tokens", [1, 2, 16, 17, 24, 31])
def test_test_candidate_shorter_than_a_run_that_stands_whole_in_a_train_document_is_found(n_tokens):
    run = RUN[:n_tokens]
    database = copied_database([7, *run, 5], [8, *run], n_tokens=n_tokens)
    assert len(database.rows("checks/no_test_candidate_in_train")) == 1
    without_last = copied_database([7, *run[:-1], 5], [8, *run], n_tokens=n_tokens)
    assert without_last.rows("checks/no_test_candidate_in_train") == []


def test_lists_decide_where_the_tokens_that_are_compared_first_are_the_same():
    train = [1, 2, *(RUN[i] if i in {0, 10, 21, 31} else 900 + i for i in range(32))]
    assert copied_database(train, [7, *RUN, 8]).rows("checks/no_test_candidate_in_train") == []


@pytest.mark.parametrize(("train", "is_candidate"), [
    ([1, 2, *RUN], False), ([1, 2, *RUN[:31], 3, 4], True), (RUN[:31], True), ([1, 2, 3], True),
], ids=["no candidate", "31 tokens", "short document", "very short document"])  # fmt: skip
def test_lawful_test_slots_are_not_found(train, is_candidate):
    database = copied_database(train, [7, *RUN, 8], is_candidate=is_candidate)
    assert database.rows("checks/no_test_candidate_in_train") == []


def test_slots_of_a_copying_corpus_keep_the_law():
    database = Database(context_length=64, corpus_shards=1)
    test = [Document("test", [5, 6, *range(20, 90), 5]), Document("test", range(40))]
    documents = [Document("train", range(100)), *test]
    fill_corpus(database, documents)
    database.make("slots")
    assert any(row["is_copied"] for row in database.read("slots"))
    assert database.rows("checks/no_test_candidate_in_train") == []
    database.fill("slots", [row | {"is_candidate": True} for row in database.read("slots")])
    assert database.rows("checks/no_test_candidate_in_train") != []


def test_run_in_the_middle_of_a_longer_slot_is_found():
    database = copied_database([1, 2, *RUN], [7, 8, 9, *RUN, *range(40, 60)], n_tokens=50)
    assert len(database.rows("checks/no_test_candidate_in_train")) == 1


# Every feature once -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("check", "table"), [
    ("every_feature_has_stats", "feature_stats"), ("every_feature_routed_once", "feature_routes"),
])  # fmt: skip
def test_features_without_a_row_or_with_two_are_found(check, table):
    database = Database()
    fill_features(database, 4)

    def found(features):
        route = {"route": "llm"} if table == "feature_routes" else {}
        database.fill(table, [{"sae": SAE, "feature": feature} | route for feature in features])
        return sorted((row["feature"]) for row in database.rows(f"checks/{check}"))

    assert found([0, 1, 2, 3]) == []
    assert found([0, 3]) == [1, 2]
    assert found([0, 1, 1, 2, 3]) == [1]
    assert found([]) == [0, 1, 2, 3]


def test_feature_with_a_null_route_is_found():
    database = Database()
    fill_features(database, 1)
    database.fill("feature_routes", [{"sae": SAE, "feature": 0}])
    assert [row["feature"] for row in database.rows("checks/every_feature_routed_once")] == [0]


@pytest.mark.parametrize(("check", "table"), [
    ("every_feature_has_stats", "feature_stats"), ("every_feature_routed_once", "feature_routes"),
])  # fmt: skip
def test_feature_that_the_sae_has_not_is_found(check, table):
    database = Database()
    fill_features(database, 1)
    route = {"route": "llm"} if table == "feature_routes" else {}
    database.fill(table, [{"sae": SAE, "feature": feature} | route for feature in (0, 1)])
    assert [row["feature"] for row in database.rows(f"checks/{check}")] == [1]


# Active slots fire --------------------------------------------------------------------------------------


def indexed_database():
    """Two contexts of two slots, and a feature that fires in one slot: its index by the SQL."""
    database = Database(context_length=8)
    fill_corpus(database, [Document("train", range(8)), Document("test", range(8))])
    firings = [(0, 0, 2, 2.0), (0, 0, 3, 5.0), (0, 1, 0, 9.0), (3, 1, 4, 1.0)]
    fill_firings(database, [Firing(*firing) for firing in firings])
    database.run_stage("example_index")
    return database


def test_index_made_by_the_sql_keeps_the_law():
    database = indexed_database()
    assert [(row["feature"], row["peak"]) for row in database.read("example_index")] == [(0, 5.0), (3, 1.0)]
    assert database.rows("checks/active_slots_fire") == []


@pytest.mark.parametrize("broken", [
    {"context_id": 0, "start": 4, "peak": 5.0},
    {"context_id": 0, "start": 4, "peak": None},
    {"context_id": 0, "start": 1, "peak": 4.0},
    {"context_id": 0, "start": 1, "peak": None},
], ids=["nothing fires", "nothing fires, and no peak", "another peak", "no peak"])  # fmt: skip
def test_row_that_the_activations_contradict_is_found(broken):
    database = indexed_database()
    database.fill("example_index", [{"sae": SAE, "feature": 0, "role": "train"} | broken])
    assert len(database.rows("checks/active_slots_fire")) == 1


# Selected have examples ---------------------------------------------------------------------------------


def selected_database(n_train, n_test, route="llm", min_slots=3, **values):
    database = Database(routing_min_slots=min_slots, **values)
    database.fill("selected_features", [{"sae": SAE, "feature": 5, "batch": 0, "priority": 0}])
    database.fill("feature_routes", [{"sae": SAE, "feature": 5, "route": route}])
    database.fill(
        "example_index",
        [
            {"sae": SAE, "feature": 5, "context_id": i, "start": 1, "role": role}
            for role, n in (("train", n_train), ("test", n_test))
            for i in range(n)
        ],
    )
    return database


@pytest.mark.parametrize(("n_train", "n_test", "n_found"), [(3, 3, 0), (2, 3, 1), (3, 2, 1), (0, 0, 1)])
def test_selected_feature_without_enough_slots_in_a_role_is_found(n_train, n_test, n_found):
    for route in ("llm", "rule"):
        assert len(selected_database(n_train, n_test, route).rows("checks/selected_have_examples")) == n_found


@pytest.mark.parametrize(("n_test", "n_found"), [(10, 0), (9, 1)])
def test_no_more_slots_are_asked_for_than_the_index_keeps(n_test, n_found):
    database = selected_database(40, n_test, min_slots=20, sampling_draws_per_decile=1)
    assert len(database.rows("checks/selected_have_examples")) == n_found


def test_selected_features_of_other_routes_need_no_examples():
    assert selected_database(0, 0, "dense").rows("checks/selected_have_examples") == []


# Figures ------------------------------------------------------------------------------------------------


def figures(database, table):
    return {row["figure"]: row["value"] for row in database.rows(f"figures/{table}")}


def test_figures_of_the_example_index_are_rows_by_role():
    assert figures(selected_database(4, 2), "example_index") == {"train_slots": 4, "test_slots": 2}


def test_figures_of_examples_are_the_mix_of_questions_and_what_length_alone_tells():
    windows = [
        ("activating", 8, 1),
        ("activating", 6, 2),
        ("random", 8, 1),
        ("same_token", 4, 2),
        ("random", 4, 3),
    ]
    database = Database(scoring_n_questions=2)
    rows = [
        {"feature": feature, "role": role, "kind": kind, "draw": draw, "token_ids": list(range(n))}
        for feature, role in ((0, "test"), (1, "test"), (0, "train"))
        for kind, n, draw in windows
    ]
    rows.append({"feature": 2, "role": "test", "kind": "neighbour", "draw": 1, "token_ids": [1]})
    database.fill("examples", rows)
    assert figures(database, "examples") == {
        "questions_activating": 4,
        "questions_random": 2,
        "questions_same_token": 2,
        "questions_neighbour": 1,
        # Of four pairs, the firing window is longer in two, as long in one, shorter in one.
        "length_auroc": 2.5 / 4,
    }
    database.fill("examples", [])
    assert figures(database, "examples") == {}


@pytest.mark.parametrize(("kind", "peak", "activations", "is_found"), [
    ("activating", 2.0, [0, 2.0], False), ("activating", 2.0, [0, 1.0], True), ("activating", 2.0, [0, 0], True),
    ("random", None, [0, 0], False), ("random", None, [0, 2.0], True), ("same_token", 2.0, [0, 2.0], True),
])  # fmt: skip
def test_a_window_whose_kind_the_activations_contradict_is_found(kind, peak, activations, is_found):
    database = Database()
    database.fill("examples", [{"feature": 0, "kind": kind, "peak": peak, "activations": activations}])
    assert len(database.rows("checks/windows_fire_by_kind")) == is_found


def test_figures_of_routes_and_selection_are_features_by_route():
    database = Database()
    routes = ["llm", "rule", "llm", "dead"]
    database.fill("feature_routes", [{"sae": SAE, "feature": i, "route": each} for i, each in enumerate(routes)])
    database.fill("selected_features", [{"sae": SAE, "feature": i, "batch": 0, "priority": 0} for i in (0, 1, 2)])
    assert figures(database, "feature_routes") == {"llm": 2, "rule": 1, "dead": 1}
    assert figures(database, "selected_features") == {"selected_llm": 2, "selected_rule": 1}


def test_figures_of_rules_count_chosen_ones_from_each_f1_on():
    database = Database()
    rules = [rule_row(feature, f1) for feature, f1 in enumerate((0.95, 0.85, 0.8, 0.7, 0.1))]
    database.fill("feature_rules", [*rules, rule_row(9, 0.99, is_chosen=False)])
    assert figures(database, "feature_rules") == {
        "features_with_rule": 5,
        "f1_above_0.7": 4,
        "f1_above_0.8": 3,
        "f1_above_0.9": 1,
    }


def test_figures_of_stats_count_what_is_flagged():
    database = Database()
    flags = {"is_positional": False, "is_unigram": False, "is_previous_token": False}
    database.fill(
        "feature_stats",
        [
            {"sae": SAE, "feature": 0, "n_active": 0} | flags,
            {"sae": SAE, "feature": 1, "n_active": 5} | flags | {"is_unigram": True, "is_positional": True},
            {"sae": SAE, "feature": 2, "n_active": 7} | flags | {"is_unigram": True, "is_previous_token": True},
        ],
    )
    assert figures(database, "feature_stats") == {
        "dead": 1,
        "firings": 12,
        "positional_raw_cut": 1,
        "unigram_flag": 2,
        "previous_token_flag": 1,
    }


def test_figures_of_tokens_are_features_and_their_mean_number_of_tokens():
    database = Database()
    database.fill(
        "feature_tokens",
        [{"sae": SAE, "feature": feature, "token_id": token_id} for feature, token_id in ((0, 1), (0, 2), (4, 1))],
    )
    assert figures(database, "feature_tokens") == {"features": 2, "tokens_a_feature": 1.5}
