"""Rules: candidates, the sets of best F1, their figures and the chosen one."""

from itertools import combinations

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks.rules import KINDS, choose
from pipeline.config.features import RulesConfig

from .rows import SAE, Database, by, steps_before

VALUES = {"rules_discount": 0, "rules_min_support": 1, "rules_token_cost": 0}
"""No guard against chance, so that the best set is the best of all subsets."""

STEPS = [*(step for step in steps_before("feature_rules") if step != "train_tokens"), "feature_rules"]


def rule_database(features, occurrences, densities=None, texts=None, **values):
    """feature_tokens, train_tokens, tokens and feature_stats by hand.

    features: for each feature {token_id: hits, or (hits, strong hits)}; occurrences: {token_id: train tokens}.
    """
    database = Database(**values)
    tokens = []
    for feature, hits in enumerate(features):
        for token_id, n in hits.items():
            n_active, n_strong = n if isinstance(n, tuple) else (n, 0)
            tokens.append(
                {
                    "sae": SAE,
                    "feature": feature,
                    "token_id": token_id,
                    "n_active": n_active,
                    "n_top": n_active,
                    "n_strong": n_strong,
                    "sum_activation": float(n_active),
                }
            )
    database.fill("feature_tokens", tokens)
    database.fill("train_tokens", [{"token_id": key, "n_tokens": n} for key, n in occurrences.items()])
    texts = texts or {}
    database.fill("tokens", [{"token_id": key, "text": texts.get(key, f"t{key}")} for key in occurrences])
    densities = densities or [0.01] * len(features)
    database.fill(
        "feature_stats",
        [{"sae": SAE, "feature": feature, "density_train": density} for feature, density in enumerate(densities)],
    )
    return database


def rules(database, **values):
    """feature_rules by (feature, target, max_tokens)."""
    database.make(*STEPS, **values)
    rows = [row for row in database.read("feature_rules") if row["kind"] == "token"]
    return by(rows, "feature", "target", "max_tokens")


def f1_of(token_ids, hits, occurrences, n_targets):
    """F1 of 'fires on one of these tokens'."""
    found = sum(hits[token_id] for token_id in token_ids)
    return 2 * found / (sum(occurrences[token_id] for token_id in token_ids) + n_targets)


def best_f1(hits, occurrences, limit):
    """The best F1 of all sets of at most `limit` tokens, each tried."""
    n_targets = sum(hits.values())
    return max(
        f1_of(subset, hits, occurrences, n_targets)
        for size in range(1, min(limit, len(hits)) + 1)
        for subset in combinations(hits, size)
    )


# Sets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_sets_have_the_best_f1_of_all_subsets(seed):
    rng = np.random.default_rng(seed)
    occurrences = {token_id: int(n) for token_id, n in enumerate(rng.zipf(1.5, 40).clip(1, 500) + 2)}
    features = []
    for _ in range(40):
        chosen = rng.choice(40, rng.integers(1, 10), replace=False).tolist()
        features.append({key: int(rng.integers(1, occurrences[key] + 1)) for key in chosen})
    database = rule_database(features, occurrences, rules_max_tokens=[1, 2, 3, 5, 20], **VALUES)
    found = rules(database)
    for (feature, target, limit), row in found.items():
        assert target == "any", "no feature has strong hits"
        assert len(row["token_ids"]) <= limit
        assert row["train_f1"] == pytest.approx(best_f1(features[feature], occurrences, limit))
        n_targets = sum(features[feature].values())
        assert row["train_f1"] == pytest.approx(f1_of(row["token_ids"], features[feature], occurrences, n_targets))
    assert len(found) == 40 * 5


def test_figures_by_hand():
    # Token 1: 8 of 10 occurrences hit, token 2: 3 of 4, token 3: 1 of 100; 12 hits in all, 200 train tokens.
    database = rule_database([{1: (8, 4), 2: (3, 0), 3: (1, 0)}], {1: 10, 2: 4, 3: 100, 4: 86}, **VALUES)
    found = rules(database)
    one, five = found[0, "any", 1], found[0, "any", 5]
    assert one["token_ids"] == [1]
    assert (one["train_precision"], one["train_recall"]) == (8 / 10, 8 / 12)
    assert one["train_f1"] == pytest.approx(2 * 8 / (10 + 12))
    assert five["token_ids"] == [1, 2]
    assert (five["train_precision"], five["train_recall"]) == (11 / 14, 11 / 12)
    assert five["train_f1"] == pytest.approx(2 * 11 / (14 + 12))
    density = 12 / 200
    assert one["always_f1"] == five["always_f1"] == pytest.approx(2 * density / (1 + density))
    strong = found[0, "strong", 5]
    assert strong["token_ids"] == [1]
    assert (strong["train_precision"], strong["train_recall"]) == (4 / 10, 4 / 4)
    assert strong["train_f1"] == pytest.approx(2 * 4 / (10 + 4))
    assert strong["always_f1"] == pytest.approx(2 * (4 / 200) / (1 + 4 / 200))
    assert (five["kind"], five["previous_token_ids"]) == ("token", None)


def test_figures_are_of_all_firings_though_rare_tokens_cannot_be_in_a_set():
    database = rule_database([{1: 6, 2: 2, 3: 2}], {1: 6, 2: 2, 3: 2})
    row = rules(database)[0, "any", 20]
    assert row["token_ids"] == [1]
    assert (row["train_precision"], row["train_recall"]) == (1, 6 / 10)


def test_discount_keeps_a_token_that_hits_by_chance_out():
    # Token 2 hits once in one occurrence: it raises F1 as counted, and not once half a hit is taken off twice.
    features, occurrences = [{1: 40, 2: 1}], {1: 41, 2: 1}
    assert rules(rule_database(features, occurrences, **VALUES))[0, "any", 5]["token_ids"] == [1, 2]
    database = rule_database(features, occurrences, rules_min_support=1, rules_discount=0.6)
    row = rules(database)[0, "any", 5]
    assert row["token_ids"] == [1]
    assert row["train_f1"] == pytest.approx(2 * 40 / (41 + 41)), "figures are without the discount"


def test_best_token_comes_first_and_ties_fall_by_id():
    database = rule_database([{5: 4, 3: 4, 9: 8}], {5: 4, 3: 4, 9: 8}, **VALUES)
    assert rules(database)[0, "any", 5]["token_ids"] == [9, 3, 5]
    assert rules(database)[0, "any", 20]["token_ids"] == [9, 3, 5]


# Candidates ---------------------------------------------------------------------------------------------


def test_dense_features_have_no_rule():
    features, occurrences = [{1: 5}, {1: 5}, {1: 5}], {1: 5}
    database = rule_database(features, occurrences, densities=[0.1, 0.1001, 0.9])
    assert {feature for feature, _, _ in rules(database)} == {0}


def test_tokens_under_the_minimum_support_are_no_candidates():
    database = rule_database([{1: 3, 2: 2}, {2: 2}], {1: 3, 2: 2})
    database.make("token_classes")
    [row] = [row for row in database.rows("rule_candidates") if row["token_id"] is not None]
    assert row == {
        "feature": 0,
        "target": "any",
        "token_id": 1,
        "token_class": None,
        "n_hits": 3,
        "n_tokens": 3,
        "n_targets": 5,
    }


def test_dead_feature_has_no_rule():
    database = rule_database([{}, {1: 5}], {1: 5})
    assert {feature for feature, _, _ in rules(database)} == {1}


# The chosen rule ----------------------------------------------------------------------------------------


def chosen(found):
    return {feature: limit for (feature, target, limit), row in found.items() if row["is_chosen"]}


def test_smallest_set_within_parsimony_of_the_best_is_chosen():
    # F1 of token 1 alone 0.9; with tokens 2 to 5, one.
    features, occurrences = [{1: 90, 2: 10, 3: 5, 4: 3, 5: 2}], {1: 90, 2: 10, 3: 5, 4: 3, 5: 2}
    f1 = 2 * 90 / (90 + 110)
    assert f1 == 0.9
    database = rule_database(features, occurrences, **VALUES)
    assert chosen(rules(database, rules_parsimony=0.099)) == {0: 5}
    assert chosen(rules(database, rules_parsimony=0.101)) == {0: 1}
    assert chosen(rules(database, rules_parsimony=0)) == {0: 5}


def test_larger_sets_than_the_limit_are_not_chosen():
    occurrences = dict.fromkeys(range(40), 10)
    database = rule_database([dict.fromkeys(range(40), 10)], occurrences, **VALUES)
    found = rules(database)
    assert found[0, "any", 50]["train_f1"] == 1
    assert found[0, "any", 20]["train_f1"] == pytest.approx(2 * 200 / (200 + 400))
    assert chosen(found) == {0: 20}


def test_each_feature_has_one_chosen_rule_at_most_of_target_any():
    rng = np.random.default_rng(4)
    occurrences = dict.fromkeys(range(60), 30)
    features = []
    for _ in range(50):
        n_active = {int(key): int(rng.integers(1, 31)) for key in rng.choice(60, 25, replace=False)}
        features.append({key: (n, int(rng.integers(0, n + 1))) for key, n in n_active.items()})
    found = rules(rule_database(features, occurrences))
    n_chosen = dict.fromkeys(range(50), 0)
    for (feature, target, limit), row in found.items():
        if row["is_chosen"]:
            assert target == "any"
            assert limit <= 20
            n_chosen[feature] += 1
    assert set(n_chosen.values()) == {1}
    assert {target for _, target, _ in found} == {"any", "strong"}


def mined(rng, n_features):
    """Rows of `mined_rules` with figures at random: rules of every kind, size limit and target."""
    rows = []
    for feature in range(n_features):
        n_targets = float(rng.integers(50, 200))
        for kind in (kind for kinds in KINDS.values() for kind in kinds):
            for max_tokens in (1, 5, 20, 50):
                n_named = int(rng.integers(1, max_tokens + 1))
                n_hits = float(rng.integers(1, n_targets))
                names_class = kind.startswith("class")
                rows.append(
                    {
                        "rule_id": len(rows),
                        "feature": feature,
                        "kind": kind,
                        "max_tokens": max_tokens,
                        "target": "strong" if rng.random() < 0.1 else "any",
                        "token_ids": list(range(n_named)) if kind.startswith("token") else None,
                        "token_class": "digits" if names_class else None,
                        "previous_token_ids": [3, 4] if "previous" in kind or "window" in kind else None,
                        "previous_class": None,
                        "n_before": 1 if "previous" in kind else None,
                        "is_excluded": False,
                        "position_below": 5 if kind == "position" else None,
                        "n_hits": n_hits,
                        "n_tokens": n_hits + float(rng.integers(0, 50)),
                        "n_targets": n_targets,
                    }
                )
    return pa.Table.from_pylist(rows)


def test_the_benchmark_chooses_among_all_kinds_as_the_table_does_and_among_some_without_the_others():
    rows = mined(np.random.default_rng(5), 300)
    stats = pl.DataFrame(rows).group_by("feature").agg(n_active_train=pl.col("n_targets").first())

    def told(rows):
        database = Database(rules_token_cost=1, rules_parsimony=0.02)
        database.fill("mined_rules", rows)
        database.fill("train_tokens", [{"token_id": 1, "n_tokens": 100_000}])
        words = [{"rule_id": number, "rule": f"rule {number}"} for number in rows["rule_id"].to_pylist()]
        database.fill("rule_words", pa.Table.from_pylist(words))
        counts = {name: pa.array([], pa.int64()) for name in ("rule_id", "n_right", "n_predicted")}
        database.fill("window_counts", pa.table(counts))
        return pl.DataFrame(database.table("feature_rules"))

    def keys(rules):
        return set(rules.select("feature", "kind", "max_tokens").iter_rows())

    config = RulesConfig(token_cost=1, parsimony=0.02)
    table, kinds = told(rows), [kind for kinds in KINDS.values() for kind in kinds]
    assert keys(choose(table, stats, kinds, config)) == keys(table.filter("is_chosen"))
    assert 250 < table.filter("is_chosen").height <= 300
    some = [*KINDS["token"], *KINDS["previous"]]
    alone = told(rows.filter(pc.is_in(rows["kind"], pa.array(some))))
    assert keys(choose(table, stats, some, config)) == keys(alone.filter("is_chosen"))


# What a rule costs --------------------------------------------------------------------------------------


def test_each_token_that_a_rule_names_has_to_bring_its_hits():
    # Token 2 raises F1 from 0.9 to 0.926, by 6 hits of 10: it is worth its words at a cost of a hit or two.
    database = rule_database([{1: 90, 2: 6, 3: 4}], {1: 90, 2: 6, 3: 50}, **{**VALUES, "rules_parsimony": 0})
    assert chosen(rules(database)) == {0: 5}
    assert chosen(rules(database, rules_token_cost=2)) == {0: 5}
    assert chosen(rules(database, rules_token_cost=7)) == {0: 1}
