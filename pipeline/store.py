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

from pipeline.compiled import group_rows
from pipeline.errors import LakeError
from pipeline.lake import Lake, Published
from pipeline.progress import progress
from pipeline.tables import TABLES

BUCKET_FEATURES = 1024
"""Features of a bucket: one row group of a shard, one file of the store."""

FLOAT16_MAX = 65_504.0
FLOAT16_TINY = np.float32(2.0**-24)
"""The smallest float16 above 0: a weaker firing is still a firing."""


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
    n_features = lake.config.sae(sae).n_features
    n_buckets = n_buckets_of(n_features)
    n_rows = 0
    with lake.writing(target) as folder, progress(n_buckets, f"activations of {sae}", "buckets") as bar:
        folder.mkdir()
        for bucket in range(n_buckets):
            merged = stored(in_order([_read_bucket(file, bucket) for file in files], n_features))
            feature, token_index, _ = merged
            if np.any((token_index[1:] == token_index[:-1]) & (feature[1:] == feature[:-1])):
                raise LakeError(f"bucket {bucket} of SAE '{sae}' holds a firing twice; rebuild its shards")
            with _writer(folder / f"{bucket:05d}.parquet", _schema("activations", merged)) as writer:
                writer.write_table(_table(sae, merged, writer.schema), row_group_size=1 << 18)
            n_rows += len(merged.feature)
            bar.update(1)
    size = sum(path.stat().st_size for path in target.glob("*.parquet"))
    figures: dict[str, float | int | str] = {"bytes": size, "bytes_per_row": round(size / max(n_rows, 1), 3)}
    return Published("activations", target, n_rows, figures)


def in_order(runs: Sequence[Firings], n_features: int) -> Firings:
    """The firings of all runs by (feature, token_index), of features below n_features.

    Runs mostly follow each other in the corpus, and the firings of a token those of the token before: then keeping
    their order within each feature is enough. Only where it is not, they are sorted.
    """
    firings = _concatenate(runs)
    place, starts = group_rows(firings.feature, n_features)
    token_index, activation = np.empty_like(firings.token_index), np.empty_like(firings.activation)
    token_index[place], activation[place] = firings.token_index, firings.activation
    feature = np.repeat(np.arange(n_features, dtype=np.int32), np.diff(starts))
    grouped = Firings(feature, token_index, activation)
    falls = np.flatnonzero(token_index[1:] < token_index[:-1]) + 1
    return grouped if np.isin(falls, starts).all() else grouped.rows(np.lexsort((token_index, feature)))


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
        self._n_features = n_features
        self._pending: list[Firings] = []
        self._n_files = 0

    def add(self, firings: Firings) -> None:
        """Take a batch's firings."""
        self._pending.append(stored(firings))

    def flush(self) -> None:
        """Write what is pending as one file, with one row group a bucket, empty ones included."""
        firings = in_order(self._pending, self._n_features)
        firsts = np.arange(n_buckets_of(self._n_features) + 1, dtype=np.int32) * BUCKET_FEATURES
        edges = np.searchsorted(firings.feature, firsts)
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


def _concatenate(runs: Sequence[Firings]) -> Firings:
    if not runs:
        return Firings(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float16))
    if len(runs) == 1:
        return runs[0]
    return Firings(*(np.concatenate(columns) for columns in zip(*runs, strict=True)))


def _schema(table: str, firings: Firings) -> pa.Schema:
    """The table's schema, with float32 where the firings have it; without nulls, which cost time to encode."""
    types = {"activation": pa.from_numpy_dtype(firings.activation.dtype)}
    fields = TABLES[table].schema
    return pa.schema([pa.field(each.name, types.get(each.name, each.type), nullable=False) for each in fields])


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
        write_statistics=["feature", "token_index"],  # those of float16 and of texts cost a third of the writing
    )


def _read_bucket(file: pq.ParquetFile, bucket: int) -> Firings:
    rows = file.read_row_group(bucket, columns=["feature", "token_index", "activation"], use_threads=False)
    return Firings(*(column.to_numpy() for column in rows.columns))


def count_rows(folder: Path) -> int:
    """Firings in the files of a folder."""
    return sum(pq.ParquetFile(path).metadata.num_rows for path in folder.glob("*.parquet"))
