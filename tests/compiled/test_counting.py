"""The counts and draws that arrays make are the rows of the SQL files that define them."""

import gc
import weakref
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from benchmarks.synthetic import (
    SAE,
    Size,
    open_synthetic,
    plan_features,
    write_corpus,
    write_neighbours,
    write_shard,
)
from pipeline.compiled.inputs import Inputs
from pipeline.compiled.passes import sort_keys
from pipeline.compiled.rows import compiled_rows
from pipeline.compiled.segments import order_segments
from pipeline.config.features import RulesConfig
from pipeline.features.selection import write_selected_features
from pipeline.firings.buckets import Bucket, open_corpus_tokens
from pipeline.firings.layout import BUCKET_FEATURES
from pipeline.firings.store import write_activations
from pipeline.lake import Lake
from pipeline.make_table import make_table, read_rows
from pipeline.rules.score import RULE_SCHEMA
from pipeline.tables import TABLES
from pipeline.tables.compiled import COMPILED, counts_firings
from pipeline.tables.sql import steps_of
from pipeline.tables.stages import STAGES

pytestmark = pytest.mark.whole

SIZE = Size("tiny", n_tokens=12_000, n_features=BUCKET_FEATURES + 100, firings_per_token=8, shards=2)
COUNTED = tuple(name for name in COMPILED if counts_firings(name))
FROM_TOKENS = ("feature_masses", "heaviest_tokens")
FILES = (*COUNTED, "active_slots", "kept_slots", *FROM_TOKENS)
BY_ARRAYS = tuple(name for name in FILES if name in COMPILED)
KEYS = ("feature", "side", "slot", "context_id", "start", "position", "place", "token_id")
ALL = {"sae": SAE, "first_feature": 0, "end_feature": SIZE.n_features}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A synthetic lake of two buckets, up to the activations and `feature_tokens`."""
    lake = open_synthetic(SIZE, tmp_path_factory.mktemp("lake"))
    write_corpus(lake, SIZE)
    plan = plan_features(SIZE)
    for shard in range(SIZE.shards):
        write_shard(lake, plan, shard)
    write_activations(lake, SAE)
    make_table(lake, "feature_tokens", sae=SAE)
    return lake


@pytest.fixture(scope="module")
def both(lake):
    """By the name of a SQL file: its rows over all features, and those of the arrays, bucket after bucket."""
    with lake.connect(SAE, tables=TABLES.keys() - {"feature_tokens"}) as connection:
        before = ("candidate_slots", "corpus_tokens", "firings", "feature_cuts")
        for name in (*before, "feature_tokens", *FILES):
            lake.create(connection, name, **ALL)
        by_sql = {name: connection.sql(f"select * from {name}").to_arrow_table() for name in FILES}
    with opened_corpus(lake) as (connection, corpus):
        buckets = []
        for first in range(0, SIZE.n_features, BUCKET_FEATURES):
            features = range(first, first + BUCKET_FEATURES)
            buckets.append(of_bucket(Inputs(lake, SAE, features, corpus, connection)))
    by_arrays = {name: pa.concat_tables(bucket[name] for bucket in buckets) for name in BY_ARRAYS}
    return {name: (by_sql[name], rows) for name, rows in by_arrays.items()}


@contextmanager
def opened_corpus(lake):
    """A connection and the tokens of the corpus."""
    with lake.connect(SAE) as connection:
        lake.create(connection, "candidate_slots", sae=SAE)
        with open_corpus_tokens(lake, connection) as corpus:
            yield connection, corpus


def of_bucket(inputs):
    """The tables of one bucket by arrays; those that DuckDB hashes in between are its own, from these."""
    for name in FILES:
        if name in COMPILED:
            inputs.made[name] = compiled_rows(name, inputs)
        else:
            inputs.made[name] = inputs.lake.select(inputs.connection, name, sae=SAE).to_arrow_table()
        inputs.connection.register(name, inputs.made[name])
    return {name: inputs.made[name] for name in BY_ARRAYS}


@pytest.mark.parametrize("name", BY_ARRAYS)
def test_arrays_give_the_rows_of_the_sql_file(both, name):
    by_sql, by_arrays = both[name]
    assert by_sql.num_rows > 500
    columns = [column for column in by_sql.schema.names if column != "sae"]
    types = pa.schema([by_sql.schema.field(column) for column in columns])
    by_arrays = by_arrays.select(columns).cast(types)
    keys = [(key, "ascending") for key in KEYS if key in columns]
    assert by_sql.select(columns).sort_by(keys).equals(by_arrays.sort_by(keys))


@pytest.mark.parametrize("n_firings", [10**9, 40_000])
def test_cofirings_are_those_of_the_sql_file_on_the_tokens_that_are_counted(lake, n_firings):
    heuristics = lake.config.heuristics.model_copy(update={"cofiring_firings": n_firings})
    some = Lake(lake.config.model_copy(update={"heuristics": heuristics}), lake.hashes)
    figures = make_table(some, "feature_cofirings", sae=SAE).figures
    with some.connect(SAE) as connection:
        some.create(connection, "cofiring_tokens", sae=SAE)
        (n_tokens,) = connection.sql("select count(*) from cofiring_tokens").fetchall()[0]
        expected = some.select(connection, "feature_cofirings", sae=SAE).fetchall()
        found = connection.sql("from feature_cofirings order by feature, rank").fetchall()
    assert figures["tokens_counted"] == n_tokens and len(found) > 1000
    assert found == expected
    assert {rank for _, _, _, rank, *_ in found} == {*range(1, 21)}
    assert (n_firings < 10**9) == (n_tokens < 0.5 * SIZE.n_tokens)


def test_bucket_in_which_nothing_fires_gives_tables_without_rows(lake):
    with opened_corpus(lake) as (connection, corpus):
        features = range(SIZE.n_features, SIZE.n_features + 3)
        inputs = Inputs(lake, SAE, features, corpus, connection)
        inputs.firings = Bucket(
            np.array(features), np.zeros(4, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        )
        made = of_bucket(inputs)
    assert {name: rows.num_rows for name, rows in made.items()} == dict.fromkeys(BY_ARRAYS, 0)


def test_a_segment_is_ordered_by_its_keys_and_equal_keys_stay_in_order():
    rng = np.random.default_rng(0)
    starts = np.array([0, 0, 5, 905, 906, 1000])
    for keys in (rng.integers(0, 9, 1000).astype(np.uint16), rng.integers(0, 2**60, 1000).astype(np.uint64)):
        order = order_segments(keys, starts)
        for first, end in pairwise(starts):
            assert list(order[first:end]) == list(first + np.argsort(keys[first:end], kind="stable"))
    assert len(order_segments(np.empty(0, np.uint32), np.array([0, 0]))) == 0


@pytest.mark.parametrize("largest", [0, 1, 2_047, 2_048, 2**22, 2**32 - 1])
def test_keys_of_any_size_are_sorted(largest):
    keys = np.random.default_rng(0).integers(0, largest, 1000, dtype=np.uint32, endpoint=True)
    expected = sorted(keys)
    sort_keys(keys, np.empty_like(keys))
    assert list(keys) == expected


def test_statistics_by_bucket_hold_every_feature_in_its_order(lake):
    published = make_table(lake, "feature_stats", sae=SAE)
    with lake.connect(SAE) as connection:
        features = connection.sql("select feature, n_active from feature_stats").fetchall()
        counted = connection.sql("select feature, count(*) from activations group by feature").fetchall()
    assert [feature for feature, _ in features] == list(range(SIZE.n_features))
    assert {feature: n for feature, n in features if n} == dict(counted)
    assert published.n_rows == SIZE.n_features


MADE_BY_BUCKET = ("feature_stats", "feature_rules", "rule_scores", "example_index")


@pytest.fixture(scope="module")
def by_bucket(lake):
    """The lake with tables that were made one bucket at a time."""
    with pytest.MonkeyPatch.context() as patch:
        for table in MADE_BY_BUCKET:
            patch.setitem(STAGES, table, replace(STAGES[table], buckets_at_once=1))
            make_table(lake, table, sae=SAE)
    return lake


@pytest.mark.parametrize("table", [
    *(table for table in MADE_BY_BUCKET if table != "rule_scores"),
    pytest.param("rule_scores", marks=pytest.mark.whole),  # DuckDB tests every pair of a rule and a place
])  # fmt: skip
def test_rows_by_bucket_are_those_of_all_features_at_once(by_bucket, table):
    lake = by_bucket
    with lake.connect(SAE) as connection:
        by_bucket = connection.sql(f"select * exclude (sae) from {table} order by all").fetchall()
        *before, last = STAGES[table].steps
        for name in before:
            lake.create(connection, name, **ALL)
        at_once = lake.select(connection, last, **ALL).project("* exclude (sae)").order("all").fetchall()
    assert by_bucket == at_once
    assert {row[0] >= BUCKET_FEATURES for row in by_bucket} == {True, False}


def test_rules_are_scored_on_every_test_token_but_those_at_position_0(lake):
    for table in ("feature_stats", "feature_rules", "rule_scores"):
        make_table(lake, table, sae=SAE)
    with lake.connect(SAE) as connection:
        test_documents = connection.sql("select doc_id from documents where role = 'test'")
        contexts = connection.view("contexts").join(test_documents, "doc_id").pl()
        rules = connection.sql(
            "select feature, token_ids from feature_rules where is_chosen and kind = 'token'"
        ).fetchall()
        firings = connection.sql("from activations where position > 0 order by feature").pl()
        scored = {row["feature"]: row for row in connection.sql("from rule_scores").pl().to_dicts()}
    at = {
        (context_id, position): token_id
        for context_id, token_ids in contexts.select("context_id", "token_ids").iter_rows()
        for position, token_id in enumerate(token_ids)
        if position > 0
    }
    occurrences = Counter(at.values())
    fired = {feature: [] for feature, _ in rules}
    for feature, *place in firings.select("feature", "context_id", "position").iter_rows():
        if feature in fired and tuple(place) in at:
            fired[feature].append(at[tuple(place)])
    assert len(rules) > 100
    assert scored.keys() >= fired.keys()
    for feature, token_ids in rules:
        counts = [scored[feature][f"n_{name}"] for name in ("tokens", "fired", "predicted", "right")]
        n_predicted = sum(occurrences[token_id] for token_id in token_ids)
        n_right = sum(token_id in token_ids for token_id in fired[feature])
        assert counts == [len(at), len(fired[feature]), n_predicted, n_right]


LAST_TOKEN = 300_000
"""Of the vocabulary, far behind the last that stands in the corpus."""

NAME_NOTHING = (
    {"token_class": "punctuation"},
    {"token_class": "punctuation", "previous_token_ids": [0], "n_before": 1},
    {"previous_class": "punctuation", "n_before": 2},
    {"token_ids": [LAST_TOKEN]},
)
"""They name a class that no token is of, or a token that stands nowhere."""
NAME_NOTHING_BEFORE = {"previous_class": "punctuation", "n_before": 2, "is_excluded": True}

RULES = (
    {"token_ids": [0, 5]},
    {"token_class": "digits"},
    {"token_class": "lower case", "position_below": 40},
    {"position_below": 8},
    {"previous_token_ids": [0, 1], "n_before": 1},
    {"previous_token_ids": [0, 1, 3], "n_before": 3},
    {"previous_class": "lower case", "n_before": 2},
    {"token_ids": [0, 2, 7], "previous_token_ids": [1, 4], "n_before": 4},
    {"token_ids": [0, 2, 7], "previous_token_ids": [1, 4], "n_before": 1, "is_excluded": True},
    {"token_class": "lower case", "previous_token_ids": [0], "n_before": 2, "position_below": 200},
    {"previous_token_ids": [0, 1], "n_before": 64, "is_excluded": True},
    {"token_ids": [49_999], "previous_class": "digits", "n_before": 1},
    *NAME_NOTHING,
    NAME_NOTHING_BEFORE,
    {"token_ids": [0, LAST_TOKEN], "previous_token_ids": [LAST_TOKEN], "n_before": 2, "is_excluded": True},
)
"""Of every form, on tokens of the synthetic corpus, of which the first are the most frequent."""


def test_rules_of_every_form_say_so_where_the_sql_file_does(lake):
    # Four rules a feature, among them one of the last bucket and one that never fires.
    features = [*range(0, 2 * len(RULES), 2), *range(1100, 1100 + len(RULES)), *range(1, 1 + len(RULES))]
    rules = [
        {"rule_id": number, "feature": feature, "is_excluded": False, **RULES[number % len(RULES)]}
        for number, feature in enumerate(features)
    ]
    texts = pl.DataFrame({"token_id": range(10), "text": [" a", "bb", "12", " d", "e", "F", "7", "h", "I", "Jj"]})
    with lake.connect(SAE) as connection:
        tokens = connection.sql("from tokens").pl()
    tokens = tokens.update(texts.cast({"token_id": pl.Int32}), on="token_id")
    last = tokens[-1].with_columns(token_id=pl.lit(LAST_TOKEN, pl.Int32), text=pl.lit(" last"))
    tokens = pl.concat([tokens, last]).to_arrow()
    given = {"proved_rules": pa.Table.from_pylist(rules, RULE_SCHEMA), "tokens": tokens}
    by_arrays = read_rows(lake, "rule_sums", sae=SAE, given=given, first_feature=0, end_feature=2048)
    with lake.connect(SAE, given=given) as connection:
        for name in steps_of("rule_sums", given=given):
            lake.create(connection, name, sae=SAE)
        by_sql = connection.table("rule_sums").to_arrow_table()
    order = [(name, "ascending") for name in ("rule_id", "role")]
    assert by_sql.num_rows > 50
    assert len(by_sql["rule_id"].unique()) > 25
    assert by_sql.sort_by(order).equals(by_arrays.cast(by_sql.schema).sort_by(order))
    said = Counter()
    for row in by_sql.to_pylist():
        said[row["rule_id"] % len(RULES)] += row["n_predicted"]
    names_nothing = [number for number, rule in enumerate(RULES) if rule in NAME_NOTHING]
    assert {said[number] for number in names_nothing} == {0} and said[RULES.index(NAME_NOTHING_BEFORE)] > 0


def test_candidates_for_contexts_are_those_of_the_sql_file(lake):
    make_table(lake, "feature_stats", sae=SAE)
    rules = RulesConfig(min_f1=0.05, parsimony=0.0, min_firings=10, min_support=2)
    lake = Lake(lake.config.model_copy(update={"rules": rules}), lake.hashes)
    *before, last = steps_of("context_candidates")
    with lake.connect(SAE) as connection:
        for name in before:
            lake.create(connection, name, **ALL)
        by_sql = lake.select(connection, last, **ALL).to_arrow_table()
        with open_corpus_tokens(lake, connection) as corpus:
            inputs = Inputs(lake, SAE, range(SIZE.n_features), corpus, connection)
            by_arrays = compiled_rows("context_candidates", inputs).select(by_sql.schema.names)
    order = ["feature", "token_class", "token_set", "n_before", "is_excluded", "token_id", "position_below"]
    rows = [pl.DataFrame(each).sort(order).to_dicts() for each in (by_sql, by_arrays.cast(by_sql.schema))]
    assert len(rows[0]) > 100
    assert {row["is_excluded"] for row in rows[0]} == {True, False}
    assert {row["token_set"] for row in rows[0]} == {None, 1, 2}
    assert rows[0] == rows[1]


def test_strata_and_examples_are_those_of_the_sql_files(lake):
    write_neighbours(lake, SIZE)
    for table in ("feature_stats", "feature_rules", "feature_routes", "example_index"):
        make_table(lake, table, sae=SAE)
    write_selected_features(lake, SAE)
    *before, last = STAGES["examples"].steps
    with lake.connect(SAE, 0) as connection:
        for name in before:
            lake.create(connection, name, sae=SAE, batch=0)
        strata = lake.select(connection, "silent_strata").to_arrow_table()
        examples = lake.select(connection, last, sae=SAE, batch=0).to_arrow_table()
        with open_corpus_tokens(lake, connection) as corpus:
            inputs = Inputs(lake, SAE, range(SIZE.n_features), corpus, connection)
            strata_by_arrays = compiled_rows("silent_strata", inputs).cast(strata.schema)
    examples_by_arrays = read_rows(lake, "examples", sae=SAE, batch=0)
    order = [("feature", "ascending"), ("slot", "ascending")]
    assert strata.num_rows > 500
    assert set(strata["kind"].to_pylist()) == {"same_token", "neighbour", "random"}
    n_draws = lake.config.sampling.silent_draws
    assert any(n > n_draws for n in strata["n_slots"].to_pylist()), "a stratum is drawn from more"
    assert strata.sort_by(order).equals(strata_by_arrays.sort_by(order))
    assert examples.num_rows > 500
    assert examples.equals(examples_by_arrays.cast(examples.schema))


@pytest.mark.parametrize("table", ["feature_tokens", "feature_stats", "example_index"])
def test_a_bucket_leaves_memory_when_its_rows_are_made(lake, table, monkeypatch):
    made = []

    def inputs_of(*given):
        inputs = Inputs(*given)
        made.append(weakref.ref(inputs))
        return inputs

    monkeypatch.setattr("pipeline.make_table.Inputs", inputs_of)
    gc.disable()  # what holds each other would stay in memory until it runs, bucket after bucket
    try:
        read_rows(lake, table, sae=SAE)
        assert made
        assert [each() for each in made] == [None] * len(made)
    finally:
        gc.enable()
