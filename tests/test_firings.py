"""The arrays that stand in for two SQL files give the rows of these files."""

import pyarrow as pa
import pytest

from benchmarks.synthetic import SAE, Size, open_synthetic, plan_features, write_corpus, write_shard
from pipeline.features import write_feature_table
from pipeline.firings import bucket_firings, bucket_slot_peaks, load_places
from pipeline.store import BUCKET_FEATURES, n_buckets_of, write_activations

SIZE = Size("tiny", n_tokens=20_000, n_features=BUCKET_FEATURES + 100, firings_per_token=8, shards=2)


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


def compared(lake, name, from_arrays):
    """The rows of a SQL file over all features, and those of the arrays, bucket after bucket."""
    with lake.connect(SAE) as connection:
        for each in ("candidate_slots", "corpus_tokens", "firings"):
            lake.create_temporary(connection, each, sae=SAE)
        by_sql = lake.select(connection, name, sae=SAE).to_arrow_table()
        places = load_places(connection, lake.config.corpus.context_length)
    buckets = [from_arrays(lake, SAE, bucket, places) for bucket in range(n_buckets_of(SIZE.n_features))]
    by_arrays = pa.concat_tables(buckets).cast(by_sql.schema)
    assert all(bucket.num_rows for bucket in buckets)
    return by_sql, by_arrays


def test_arrays_give_the_firings_of_the_sql_file(lake):
    by_sql, by_arrays = compared(lake, "firings", bucket_firings)
    assert by_sql.num_rows > 100_000
    assert by_sql.equals(by_arrays)


def test_arrays_give_the_slot_peaks_of_the_sql_file(lake):
    by_sql, by_arrays = compared(lake, "slot_peaks", bucket_slot_peaks)
    assert by_sql.num_rows > 50_000
    assert by_sql.equals(by_arrays)


def test_statistics_by_bucket_hold_every_feature_in_its_order(lake):
    write_feature_table(lake, "feature_tokens", SAE)
    published = write_feature_table(lake, "feature_stats", SAE)
    with lake.connect(SAE) as connection:
        features = connection.sql("select feature, n_active from feature_stats").fetchall()
        counted = connection.sql("select feature, count(*) from activations group by feature").fetchall()
    assert [feature for feature, _ in features] == list(range(SIZE.n_features))
    assert {feature: n for feature, n in features if n} == dict(counted)
    assert published.n_rows == SIZE.n_features
