"""The counts that arrays make are the rows of the SQL files that define them."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.synthetic import SAE, Size, open_synthetic, plan_features, write_corpus, write_shard
from pipeline.compiled import order_segments, sort_segments
from pipeline.counting import COUNTED, Counts
from pipeline.features import write_feature_table
from pipeline.firings import open_places, read_bucket
from pipeline.store import BUCKET_FEATURES, n_buckets_of, write_activations

SIZE = Size("tiny", n_tokens=20_000, n_features=BUCKET_FEATURES + 100, firings_per_token=8, shards=2)
KEYS = ("feature", "slot", "position", "place", "token_id")


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A synthetic lake of two buckets, up to the activations."""
    lake = open_synthetic(SIZE, tmp_path_factory.mktemp("lake"))
    write_corpus(lake, SIZE)
    plan = plan_features(SIZE)
    for shard in range(SIZE.shards):
        write_shard(lake, plan, shard)
    write_activations(lake, SAE)
    return lake


@pytest.fixture(scope="module")
def both(lake):
    """By the name of a SQL file: its rows over all features, and those of the arrays, bucket after bucket."""
    with lake.connect(SAE) as connection:
        for name in ("candidate_slots", "corpus_tokens", "firings"):
            lake.create_temporary(connection, name, sae=SAE)
        for name in COUNTED:
            lake.create_temporary(connection, name, sae=SAE)
        by_sql = {name: connection.sql(f"select * from {name}").to_arrow_table() for name in COUNTED}
        with open_places(lake, connection) as places:
            buckets = [
                Counts(read_bucket(lake, SAE, bucket), places, lake.config.heuristics)
                for bucket in range(n_buckets_of(SIZE.n_features))
            ]
            by_arrays = {name: pa.concat_tables(map(rows, buckets)) for name, rows in COUNTED.items()}
    return {name: (by_sql[name], by_arrays[name]) for name in COUNTED}


@pytest.mark.parametrize("name", COUNTED)
def test_arrays_give_the_rows_of_the_sql_file(both, name):
    by_sql, by_arrays = both[name]
    if "sae" in by_sql.schema.names:
        by_sql = by_sql.drop("sae")
    keys = [(key, "ascending") for key in KEYS if key in by_sql.schema.names]
    by_arrays = by_arrays.select(by_sql.schema.names).cast(by_sql.schema)
    assert by_sql.num_rows > 500
    assert by_sql.sort_by(keys).equals(by_arrays.sort_by(keys))


def test_a_segment_is_ordered_by_its_keys_and_equal_keys_stay_in_order():
    rng = np.random.default_rng(0)
    starts = np.array([0, 0, 5, 905, 906, 1000])
    for keys in (rng.integers(0, 9, 1000).astype(np.uint16), rng.integers(0, 2**60, 1000).astype(np.uint64)):
        order = order_segments(keys, starts)
        for first, end in pairwise(starts):
            assert list(order[first:end]) == list(first + np.argsort(keys[first:end], kind="stable"))
    assert len(order_segments(np.empty(0, np.uint32), np.array([0, 0]))) == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_are_sorted_within_their_segments(dtype):
    values = np.exp(np.random.default_rng(0).standard_normal(300)).astype(dtype)
    values[7] = np.finfo(dtype).max
    ascending = sort_segments(values, np.array([0, 100, 300]))
    assert list(ascending[:100]) == sorted(values[:100])
    assert list(ascending[100:]) == sorted(values[100:])


def test_statistics_by_bucket_hold_every_feature_in_its_order(lake):
    write_feature_table(lake, "feature_tokens", SAE)
    published = write_feature_table(lake, "feature_stats", SAE)
    with lake.connect(SAE) as connection:
        features = connection.sql("select feature, n_active from feature_stats").fetchall()
        counted = connection.sql("select feature, count(*) from activations group by feature").fetchall()
    assert [feature for feature, _ in features] == list(range(SIZE.n_features))
    assert {feature: n for feature, n in features if n} == dict(counted)
    assert published.n_rows == SIZE.n_features
