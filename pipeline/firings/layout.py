"""The layout of the firings store: buckets of features, and activations in float16 precision."""

from pathlib import Path

from pipeline.lake import Lake

BUCKET_FEATURES = 1024
"""Features of a bucket: one row group of a shard, one file of the store."""

ROUNDED_BITS = 13
"""Low bits of a stored float32 activation that are 0: 11 significant bits are left, as in a float16."""


def n_buckets_of(n_features: int) -> int:
    """The number of buckets for n_features features."""
    return -(-n_features // BUCKET_FEATURES)


def bucket_path(lake: Lake, sae: str, bucket: int) -> Path:
    """The file of an SAE's bucket."""
    return lake.path("activations", sae=sae) / f"{bucket:05d}.parquet"
