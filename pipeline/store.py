"""The activation store: shards of firings, merged into one sorted file a bucket of features.

A shard's firings are gathered in buffers of some hundred thousand tokens, sorted by feature; each buffer becomes
one Parquet file with one row group a bucket. Merging reads one bucket's row groups of all shards, sorts them by
(feature, token_index) and writes one file a bucket. Memory is bounded by a buffer and a bucket, not by the
corpus. Sorted so, a row takes about three bytes: the feature costs nothing, the token index is a small
difference, the activation a float16.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import LakeError
from pipeline.lake import Lake, Published
from pipeline.progress import progress
from pipeline.tables import TABLES

BUCKET_FEATURES = 1024
"""Features of a bucket: one row group of a shard, one file of the store."""

FLOAT16_MAX = 65_504.0
FLOAT16_TINY = np.float32(2.0**-24)
"""The smallest float16 above 0: a weaker firing is still a firing."""

_INDEX_BITS = 40
"""Bits of the token index in a sort key; a trillion token places."""

_FEATURE_BITS, _OFFSET_BITS = 20, 28
"""Bits of a feature, and of a token's distance from the first, in a firing packed into 64 bits."""


class Firings(NamedTuple):
    """Firings as columns: feature int32, token_index int64, activation float32 (stored: or float16), each [n]."""

    feature: npt.NDArray[np.int32]
    token_index: npt.NDArray[np.int64]
    activation: npt.NDArray[np.floating]

    def rows(self, which: slice | npt.NDArray[np.int64]) -> "Firings":
        """The firings in these rows, in this order."""
        return Firings(self.feature[which], self.token_index[which], self.activation[which])


def write_activations(lake: Lake, sae: str) -> Published:
    """Merge an SAE's shards into one file a bucket, sorted by (feature, token_index).

    Raises:
        LakeError: A shard is missing, or two rows are of the same firing.
    """
    lake.require("activation_shards", sae=sae)
    files = [
        pq.ParquetFile(path)
        for shard in range(lake.config.corpus.shards)
        for path in sorted(lake.path("activation_shards", sae=sae, shard=shard).glob("*.parquet"))
    ]
    target = lake.path("activations", sae=sae)
    lake.ensure_schema_file("activations", sae)
    n_buckets = n_buckets_of(lake.config.sae(sae).n_features)
    n_rows = 0
    with lake.writing(target) as folder, progress(n_buckets, f"activations of {sae}", "buckets") as bar:
        folder.mkdir()
        for bucket in range(n_buckets):
            runs = [_read_bucket(file, bucket) for file in files]
            merged = stored(merge_runs(runs, bucket * BUCKET_FEATURES))
            if np.any(np.diff(_keys(merged)) <= 0):
                raise LakeError(f"bucket {bucket} of SAE '{sae}' holds a firing twice; rebuild its shards")
            with _writer(folder / f"{bucket:05d}.parquet", _schema("activations", merged)) as writer:
                writer.write_table(_table(sae, merged, writer.schema), row_group_size=1 << 18)
            n_rows += len(merged.feature)
            bar.update(1)
    size = sum(path.stat().st_size for path in target.glob("*.parquet"))
    figures: dict[str, float | int | str] = {"bytes": size, "bytes_per_row": round(size / max(n_rows, 1), 3)}
    return Published("activations", target, n_rows, figures)


def merge_runs(runs: Sequence[Firings], first_feature: int) -> Firings:
    """The firings of one bucket's runs, each sorted by (feature, token_index), as one run sorted so.

    Runs mostly follow each other in the corpus. Then a feature's rows are its rows of each run in turn, whose
    places are known from counts alone; only runs that overlap are sorted again.
    """
    edges = np.arange(first_feature, first_feature + BUCKET_FEATURES + 1)
    starts = np.array([np.searchsorted(run.feature, edges) for run in runs]).reshape(len(runs), -1)
    counts = np.diff(starts)  # [n_runs, BUCKET_FEATURES]
    ends = np.cumsum(counts.T).reshape(counts.T.shape).T  # rows up to each (feature, run), feature by feature
    n_rows = int(counts.sum())
    token_index = np.empty(n_rows, np.int64)
    activation = np.empty(n_rows, np.result_type(np.float16, *(run.activation for run in runs)))
    for run, start, count, end in zip(runs, starts, counts, ends, strict=True):
        place = np.repeat(end - count - start[:-1], count) + np.arange(len(run.feature))
        token_index[place] = run.token_index
        activation[place] = run.activation
    merged = Firings(np.repeat(edges[:-1].astype(np.int32), counts.sum(axis=0)), token_index, activation)
    return merged if np.all(np.diff(_keys(merged)) >= 0) else _sorted(merged)


def n_buckets_of(n_features: int) -> int:
    """Buckets of an SAE of that many features."""
    return -(-n_features // BUCKET_FEATURES)


def bucket_path(lake: Lake, sae: str, bucket: int) -> Path:
    """The file of an SAE's bucket."""
    return lake.path("activations", sae=sae) / f"{bucket:05d}.parquet"


class FiringBuffer:
    """Firings on their way into a shard's folder: gathered, sorted by feature, one file a flush."""

    def __init__(self, folder: Path, sae: str, n_features: int) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self._sae = sae
        self._n_buckets = n_buckets_of(n_features)
        self._pending: list[Firings] = []
        self._n_files = 0

    def add(self, firings: Firings) -> None:
        """Take a batch's firings."""
        self._pending.append(stored(firings))

    def flush(self) -> None:
        """Write what is pending as one file, with one row group a bucket, empty ones included."""
        firings = _sorted(_concatenate(self._pending))
        edges = np.searchsorted(firings.feature, np.arange(self._n_buckets + 1) * BUCKET_FEATURES)
        path = self.folder / f"{self._n_files:05d}.parquet"
        with _writer(path, _schema("activation_shards", firings)) as writer:
            for start, end in pairwise(edges.tolist()):
                part = firings.rows(slice(start, end))
                writer.write_table(_table(self._sae, part, writer.schema), row_group_size=max(end - start, 1))
        self._pending = []
        self._n_files += 1


def stored(firings: Firings) -> Firings:
    """The firings as they are kept: float16, or float32 where one of them would overflow it.

    A firing weaker than the smallest float16 is kept as that: it is still a firing.
    """
    if firings.activation.dtype == np.float16:
        return firings
    strength = np.maximum(firings.activation, FLOAT16_TINY)
    if len(strength) and strength.max() <= FLOAT16_MAX:
        strength = strength.astype(np.float16)
    return firings._replace(activation=strength)


def _concatenate(parts: Sequence[Firings]) -> Firings:
    if not parts:
        return Firings(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float16))
    return Firings(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _keys(firings: Firings) -> npt.NDArray[np.int64]:
    """(feature, token_index) packed into one sort key."""
    return (firings.feature.astype(np.int64) << _INDEX_BITS) | firings.token_index


def _sorted(firings: Firings) -> Firings:
    """The firings by (feature, token_index).

    Where all of a firing fits 64 bits, sorting the packed values in place takes a third of the time of sorting
    their places and moving the columns.
    """
    first = int(firings.token_index.min(initial=0))
    if (
        firings.activation.dtype != np.float16
        or firings.feature.max(initial=0) >> _FEATURE_BITS
        or int(firings.token_index.max(initial=0)) - first >> _OFFSET_BITS
    ):
        return firings.rows(np.argsort(_keys(firings)))
    packed = firings.feature.astype(np.uint64) << (_OFFSET_BITS + 16)
    packed |= (firings.token_index - first).astype(np.uint64) << 16
    packed |= firings.activation.view(np.uint16)
    packed.sort()
    return Firings(
        (packed >> (_OFFSET_BITS + 16)).astype(np.int32),
        (packed >> 16 & ((1 << _OFFSET_BITS) - 1)).astype(np.int64) + first,
        packed.astype(np.uint16).view(np.float16),
    )


def _schema(table: str, firings: Firings) -> pa.Schema:
    """The table's schema, with float32 where the firings have it."""
    schema = TABLES[table].schema
    place = schema.get_field_index("activation")
    return schema.set(place, pa.field("activation", pa.from_numpy_dtype(firings.activation.dtype)))


def _table(sae: str, firings: Firings, schema: pa.Schema) -> pa.Table:
    names = pa.DictionaryArray.from_arrays(np.zeros(len(firings.feature), np.int8), pa.array([sae]))
    return pa.table([names, *firings], schema=schema)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["sae", "feature"],
        column_encoding={"token_index": "DELTA_BINARY_PACKED", "activation": "PLAIN"},
        write_statistics=["sae", "feature", "token_index"],  # those of float16 cost a quarter of the writing
    )


def _read_bucket(file: pq.ParquetFile, bucket: int) -> Firings:
    rows = file.read_row_group(bucket, columns=["feature", "token_index", "activation"], use_threads=False)
    return Firings(*(column.to_numpy() for column in rows.columns))


def count_rows(folder: Path) -> int:
    """Firings in the files of a folder."""
    return sum(pq.ParquetFile(path).metadata.num_rows for path in folder.glob("*.parquet"))
