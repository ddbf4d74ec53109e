"""Routes: which applies first and why. Selection: quotas by draw."""

import pytest

from .rows import SAE, Database, by

ORDER = ["dead", "dense", "positional", "too_rare", "unigram", "previous_token", "rule", "llm"]
"""Which route wins where several apply; `positional` by the post's cut stands with the corrected one."""

LIVELY = {
    "sae": SAE,
    "n_active": 1000,
    "n_active_first": 12,
    "n_active_train": 500,
    "density_train": 0.01,
    "n_slots_train": 50,
    "n_slots_test": 40,
    "n_documents_train": 30,
    "n_documents_test": 25,
    "position_information_nats": 0.0012,
    "position_score": 0.004,
    "n_top_tokens": 300,
    "n_top_previous_tokens": 400,
    "is_unigram": False,
    "is_previous_token": False,
    "is_positional": False,
}
"""A feature of which nothing applies but `llm`."""

CAUSES = {
    "dead": {"n_active": 0, "density_train": 0.0, "position_score": None, "position_information_nats": None},
    "dense": {"density_train": 0.2},
    "positional": {"position_score": 0.3},
    "too_rare": {"n_slots_test": 7},
    "unigram": {"is_unigram": True, "n_top_tokens": 4},
    "previous_token": {"is_previous_token": True, "n_top_previous_tokens": 3},
}
ALL_FILTERS = ["unigram", "previous_token", "positional"]


def rule_row(feature, train_f1=0.9, is_chosen=True, max_tokens=5, target="any", always_f1=0.02):
    return {
        "sae": SAE,
        "feature": feature,
        "kind": "token",
        "max_tokens": max_tokens,
        "target": target,
        "token_ids": [1],
        "rule": "the token is ' stop'",
        "train_precision": 0.95,
        "train_recall": 0.85,
        "train_f1": train_f1,
        "always_f1": always_f1,
        "is_chosen": is_chosen,
    }


def routes(stats, rules=(), **values):
    """feature_routes of features given by what they differ in from the lively one."""
    database = Database(**values)
    database.fill("feature_stats", [LIVELY | {"feature": feature} | each for feature, each in enumerate(stats)])
    database.fill("feature_rules", list(rules))
    database.make("feature_routes")
    found = by(database.read("feature_routes"), "feature")
    assert set(found) == set(range(len(stats)))
    return found


def test_each_cause_leads_to_its_route():
    found = routes([*CAUSES.values(), {}, {}], [rule_row(len(CAUSES))], routing_post_filters=ALL_FILTERS)
    assert [found[feature]["route"] for feature in found] == [*CAUSES, "rule", "llm"]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_first_route_that_applies_wins(first):
    # Everything from `first` on applies at once.
    cause = {}
    for route in reversed(ORDER[first:]):
        cause |= CAUSES.get(route, {})
    rules = [rule_row(0)] if "rule" in ORDER[first:] else []
    found = routes([cause], rules, routing_post_filters=ALL_FILTERS)
    assert found[0]["route"] == ORDER[first]


def test_posts_cuts_route_only_where_they_are_named():
    positional = {"is_positional": True, "position_information_nats": 0.06}
    stats = [CAUSES["unigram"], CAUSES["previous_token"], positional]
    off = routes(stats)
    assert [off[feature]["route"] for feature in range(3)] == ["llm"] * 3
    for index, name in enumerate(ALL_FILTERS):
        found = routes(stats, routing_post_filters=[name])
        expected = ["llm"] * 3
        expected[index] = name
        assert [found[feature]["route"] for feature in range(3)] == expected


def test_rule_goes_before_the_posts_unigram_cut_where_that_is_off():
    found = routes([CAUSES["unigram"]], [rule_row(0)])
    assert found[0]["route"] == "rule"
    assert routes([CAUSES["unigram"]], [rule_row(0)], routing_post_filters=["unigram"])[0]["route"] == "unigram"


@pytest.mark.parametrize(("change", "route"), [
    ({"density_train": 0.1}, "llm"),
    ({"density_train": 0.1000001}, "dense"),
    ({"density": 0.9}, "llm"),
    ({"position_score": 0.05}, "llm"),
    ({"position_score": 0.0500001}, "positional"),
    ({"position_score": 0.9, "n_active_train": 100}, "positional"),
    ({"position_score": 0.9, "n_active_train": 99}, "llm"),
    ({"n_active_first": 900}, "llm"),
    ({"n_active_first": 900, "n_slots_test": 19}, "positional"),
    ({"n_active_first": 900, "n_slots_train": 0, "n_active_train": 0, "position_score": None}, "positional"),
    ({"n_active_first": 500, "n_slots_test": 19}, "too_rare"),
    ({"n_active": 110, "n_active_first": 100, "n_slots_test": 19}, "positional"),
    ({"n_active": 109, "n_active_first": 99, "n_slots_test": 19}, "too_rare"),
    ({"n_slots_train": 20, "n_slots_test": 20, "n_documents_train": 10, "n_documents_test": 10}, "llm"),
    ({"n_slots_train": 19}, "too_rare"),
    ({"n_slots_test": 19}, "too_rare"),
    ({"n_documents_train": 9}, "too_rare"),
    ({"n_documents_test": 9}, "too_rare"),
])  # fmt: skip
def test_thresholds_are_as_documented(change, route):
    assert routes([change])[0]["route"] == route


@pytest.mark.parametrize(("rule", "route"), [
    ({"train_f1": 0.8}, "rule"),
    ({"train_f1": 0.7999}, "llm"),
    ({"train_f1": 0.85, "always_f1": 0.74}, "rule"),
    ({"train_f1": 0.85, "always_f1": 0.76}, "llm"),
    ({"train_f1": 0.99, "is_chosen": False}, "llm"),
])  # fmt: skip
def test_rule_needs_its_f1_and_a_gain_over_always_firing(rule, route):
    assert routes([{}], [rule_row(0, **rule)])[0]["route"] == route


def test_feature_with_many_rules_is_routed_once():
    rules = [
        rule_row(0, is_chosen=(target, limit) == ("any", 5), max_tokens=limit, target=target)
        for target in ("any", "strong")
        for limit in (1, 5, 20, 50)
    ]
    assert routes([{}, {}], rules)[0]["route"] == "rule"


def test_rule_of_another_sae_does_not_count():
    assert routes([{}], [rule_row(0) | {"sae": "other"}])[0]["route"] == "llm"


def test_reasons_tell_the_figures():
    post = {"is_positional": True, "position_information_nats": 0.0612, "position_score": 0.0312}
    first = {"n_active_first": 990, "n_slots_train": 4, "n_slots_test": 3, "position_score": None}
    found = routes(
        [*CAUSES.values(), {}, {}, {}, post, first],
        [rule_row(6), rule_row(8, 0.432)],
        routing_post_filters=ALL_FILTERS,
    )
    reasons = [found[feature]["reason"] for feature in range(len(found))]
    assert reasons == [
        "never fires in this corpus",
        "fires on 20.0 % of the train tokens, more than 10.0 %",
        "its firing depends on the position: corrected score 0.300 (cut 0.050), raw with position 0 0.0012 nats; "
        "12 of 1000 firings on position 0",
        "fires in 50 train and 7 test slots of 30 and 25 documents; 20 slots of 10 documents are needed in each",
        "unigram by the post's cut: 4 tokens among its top firings, at most 20 (F1 of its rule 0.00)",
        "previous token by the post's cut: 3 tokens before its top firings, at most 20",
        "unigram filter: it fires where the token is ' stop': train F1 0.90 (precision 0.95, recall 0.85; always "
        "firing 0.02)",
        "no token repeats often enough for a rule",
        "no rule reaches train F1 0.80; the best has 0.43",
        "its firing depends on the position: corrected score 0.031 (cut 0.050), raw with position 0 0.0612 nats; "
        "12 of 1000 firings on position 0",
        "fires on position 0 and hardly anywhere else: 990 of 1000 firings, and in 4 train and 3 test slots "
        "besides",
    ]


def test_reason_says_so_where_a_good_rule_hardly_beats_always_firing():
    found = routes([{"density_train": 0.7}], [rule_row(0, 0.85, always_f1=0.82)], routing_dense=1.0)
    assert found[0]["route"] == "llm"
    assert "no rule reaches train F1 0.80" not in found[0]["reason"]


def test_braces_in_a_rule_are_left_alone():
    rule = rule_row(0) | {"rule": "the token is '{}'"}
    assert routes([{}], [rule])[0]["reason"].startswith("unigram filter: it fires where the token is '{}': train")


def test_a_rule_with_a_context_is_no_unigram_filter():
    rule = rule_row(0) | {"kind": "token_not_after", "rule": "the token is 'a' and the previous token is not 'b'"}
    found = routes([{}], [rule])[0]
    assert found["route"] == "rule"
    assert found["reason"].startswith("it fires where the token is 'a' and the previous token is not 'b': train")


# Selection ----------------------------------------------------------------------------------------------


def select(route_of, wanted=None, **values):
    """selected_features of features with these routes; `wanted` is {feature: priority}, else every one."""
    database = Database(**values)
    database.fill(
        "feature_routes",
        [{"sae": SAE, "feature": feature, "route": route, "reason": ""} for feature, route in enumerate(route_of)],
    )
    wanted = dict.fromkeys(range(len(route_of)), 0) if wanted is None else wanted
    database.fill(
        "wanted_features",
        [{"sae": SAE, "feature": feature, "priority": priority} for feature, priority in wanted.items()],
    )
    database.make("selected_features")
    rows = database.read("selected_features")
    assert len(by(rows, "sae", "feature")) == len(rows)
    return rows


def test_quota_holds_in_each_batch_and_route():
    route_of = ["llm" if feature % 3 else "rule" for feature in range(40)]
    rows = select(route_of, selection_batch_size=20, quota_routes=["llm", "rule"], quota_sizes=[4, 2])
    counts = {}
    for row in rows:
        assert row["batch"] == row["feature"] // 20
        key = row["batch"], route_of[row["feature"]]
        counts[key] = counts.get(key, 0) + 1
    assert counts == {(0, "llm"): 4, (0, "rule"): 2, (1, "llm"): 4, (1, "rule"): 2}


def test_quota_is_an_upper_limit_and_routes_without_one_are_left_out():
    rows = select(["llm", "dead", "rule", "dense"], quota_routes=["llm", "rule"], quota_sizes=[16, 0])
    assert [row["feature"] for row in rows] == [0]


def test_without_quotas_every_wanted_feature_is_selected():
    rows = select(["llm", "dead", "rule"], wanted={2: 5, 1: 0}, selection_batch_size=2)
    assert [(row["feature"], row["batch"], row["priority"]) for row in rows] == [(1, 0, 0), (2, 1, 5)]


def test_quota_counts_wanted_features_only():
    rows = select(["llm"] * 50, wanted=dict.fromkeys(range(40, 50), 0), quota_routes=["llm"], quota_sizes=[10])
    assert [row["feature"] for row in rows] == list(range(40, 50))


def test_why_a_feature_of_a_list_is_left_out_is_told():
    """Features 0 and 1 fire too rarely, 2 does not meet a condition, 3 is beyond a quota, and 5 is not listed."""
    slots = [(0, 0), (9, 1), (9, 9), (2, 2), (9, 9), (0, 0)]
    database = Database()
    database.fill(
        "feature_stats",
        [
            {"sae": SAE, "feature": feature, "n_slots_train": train, "n_slots_test": test}
            for feature, (train, test) in enumerate(slots)
        ],
    )
    for table, features in (("listed", range(5)), ("wanted", (3, 4)), ("selected", (4,))):
        rows = [{"sae": SAE, "feature": feature, "priority": 0} for feature in features]
        database.fill(f"{table}_features", rows)
    found = [(row["feature"], row["reason"], row["n_slots_test"]) for row in database.rows("left_out_features")]
    assert found == [(0, "hardly_fires", 0), (1, "hardly_fires", 1), (2, "condition", 9), (3, "quota", 2)]


def test_larger_quota_keeps_what_a_smaller_one_selected():
    few = select(["llm"] * 50, quota_routes=["llm"], quota_sizes=[5])
    more = select(["llm"] * 50, quota_routes=["llm"], quota_sizes=[20])
    assert {row["feature"] for row in few} < {row["feature"] for row in more}


def test_another_seed_draws_others():
    quota = {"quota_routes": ["llm"], "quota_sizes": [5]}
    drawn = {tuple(row["feature"] for row in select(["llm"] * 50, seed=seed, **quota)) for seed in range(4)}
    assert len(drawn) == 4


@pytest.mark.parametrize("seed", range(3))
def test_controls_are_drawn_of_every_route_in_proportion(seed):
    rows = select(
        ["rule" if feature % 4 == 0 else "llm" for feature in range(2400)],
        seed=seed, selection_batch_size=2400, quota_routes=["llm", "rule"], quota_sizes=[180, 180],
    )  # fmt: skip
    assert sorted(row["place"] for row in rows) == list(range(1, 361))
    n_rules = sum(row["feature"] % 4 == 0 for row in rows if row["place"] <= 120)
    # 60 expected; hypergeometric, standard deviation 4.5: 4 of them.
    assert 42 <= n_rules <= 78


def test_empty_selection_where_no_feature_is_wanted():
    assert select(["llm"] * 3, wanted={}, quota_routes=["llm"], quota_sizes=[5]) == []
