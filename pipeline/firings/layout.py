"""How the store of firings is cut: into buckets of features, and activations to a float16's precision."""

from pathlib import Path

from pipeline.lake import Lake

BUCKET_FEATURES = 1024
"""Features of a bucket: one row group of a shard, one file of the store."""

ROUNDED_BITS = 13
"""Low bits of a stored activation that are 0: 11 significant bits are left, as many as a float16 has."""


def n_buckets_of(n_features: int) -> int:
    """Buckets of an SAE of that many features."""
    return -(-n_features // BUCKET_FEATURES)


def bucket_path(lake: Lake, sae: str, bucket: int) -> Path:
    """The file of an SAE's bucket."""
    return lake.path("activations", sae=sae) / f"{bucket:05d}.parquet"
