"""Parquet files of firings, sorted by (feature, token_index), about 3 bytes a row.

Sorted so, the feature costs nothing and the token index is a small difference; the activation is a float32 with
the precision of a float16.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.compiling import Ints, compiled
from pipeline.errors import LakeError
from pipeline.tables import TABLES

ENCODING: Mapping[str, Any] = {
    "use_dictionary": ["sae", "feature"],
    "column_encoding": {"token_index": "DELTA_BINARY_PACKED", "activation": "BYTE_STREAM_SPLIT"},
    "max_rows_per_page": 1 << 17,
}
"""How the files are encoded.

The bytes of activations are split into four streams, two of which compress to almost nothing. With pages of the
default 20,000 rows zstd would compress the streams together: a quarter of a byte more per row, and twice the time
to read.
"""


class Firings(NamedTuple):
    """Firings as columns, each [n]."""

    feature: npt.NDArray[np.int32]
    token_index: Ints
    activation: npt.NDArray[np.float32]

    def rows(self, which: slice) -> "Firings":
        """The firings in these rows."""
        return Firings(self.feature[which], self.token_index[which], self.activation[which])


def write_firings(path: Path, table: str, sae: str, firings: Firings, edges: Sequence[int]) -> None:
    """Write firings as a file of a table, with a row group between each two neighbouring edges; empty ones too."""
    schema = _schema(table, firings)
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        **ENCODING,
        write_statistics=["feature", "token_index"],  # those of texts and numbers cost a third of the writing
    ) as writer:
        for start, end in pairwise(edges):
            part = _table(sae, firings.rows(slice(start, end)), schema)
            writer.write_table(part, row_group_size=max(end - start, 1))


def in_order(runs: Sequence[Firings], first_feature: int, n_features: int) -> Firings:
    """The firings of all runs, sorted by (feature, token_index).

    A counting sort by feature: the features of a bucket are few, and the runs are in the order of the corpus, so
    the firings of a feature arrive sorted.

    Raises LakeError if a firing's feature is not one of the `n_features` from `first_feature` on.
    """
    # 1. Count each feature's firings: the counts before it give its first row.
    counts = np.zeros(n_features, np.int64)
    for run in runs:
        if not _count(run.feature, first_feature, counts):
            raise LakeError(
                f"a firing has feature index outside {first_feature} to {first_feature + n_features - 1}; rebuild "
                "the shards"
            )
    starts = np.cumsum(counts) - counts
    # 2. Copy every firing to the next free row of its feature.
    free = starts.copy()
    token_index, activation = np.empty(counts.sum(), np.int64), np.empty(counts.sum(), np.float32)
    for run in runs:
        _copy(*run, first_feature, free, token_index, activation)
    # 3. Sort those of a feature by token where the runs were not in order; now `free` is where each feature ends.
    _sort_each(starts, free, token_index, activation)
    feature = np.repeat(np.arange(first_feature, first_feature + n_features, dtype=np.int32), counts)
    return Firings(feature, token_index, activation)


def _schema(table: str, firings: Firings) -> pa.Schema:
    """The table's schema without nulls, which cost time to encode; the token index as int32 where it fits.

    Parquet packs the differences of int32 in smaller blocks, which saves a twentieth.
    """
    is_small = firings.token_index.max(initial=0) < 2**31
    types = {"token_index": pa.int32() if is_small else pa.int64()}
    fields = TABLES[table].schema
    return pa.schema([pa.field(each.name, types.get(each.name, each.type), nullable=False) for each in fields])


def _table(sae: str, firings: Firings, schema: pa.Schema) -> pa.Table:
    names = pa.DictionaryArray.from_arrays(np.zeros(len(firings.feature), np.int8), pa.array([sae]))
    return pa.table([names, *firings], schema=schema)


@compiled
def _count(feature: npt.NDArray[np.int32], first_feature: int, counts: Ints) -> bool:
    """Add a run's firings to the counts per feature, from `first_feature` on; False if one is outside them."""
    for row in range(len(feature)):
        of = feature[row] - first_feature
        if of < 0 or of >= len(counts):
            return False
        counts[of] += 1
    return True


@compiled
def _copy(
    feature: npt.NDArray[np.int32],
    token_index: Ints,
    activation: npt.NDArray[np.float32],
    first_feature: int,
    free: Ints,
    token_index_to: Ints,
    activation_to: npt.NDArray[np.float32],
) -> None:
    """Copy a run's firings to the next free rows of their features."""
    for row in range(len(feature)):
        to = free[feature[row] - first_feature]
        free[feature[row] - first_feature] += 1
        token_index_to[to], activation_to[to] = token_index[row], activation[row]


@compiled
def _sort_each(starts: Ints, ends: Ints, token_index: Ints, activation: npt.NDArray[np.float32]) -> None:
    """Sort the rows of each feature by token index, if they are not sorted already; in most runs they are."""
    for feature in range(len(starts)):
        first, end = starts[feature], ends[feature]
        for row in range(first + 1, end):
            if token_index[row] < token_index[row - 1]:
                order = first + np.argsort(token_index[first:end], kind="mergesort")
                token_index[first:end], activation[first:end] = token_index[order], activation[order]
                break
