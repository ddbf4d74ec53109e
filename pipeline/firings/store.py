"""The activation store: shards of firings, merged into one sorted file a bucket of features.

A shard's firings are gathered in buffers of some hundred thousand tokens, sorted by feature; each buffer becomes
one Parquet file with one row group a bucket. Merging reads one bucket's row groups of all shards, sorts them by
(feature, token_index) and writes one file a bucket. What is in memory is a buffer, or a bucket and the footers of
all shards' files, some 3 kB a file and bucket. Sorted so, a row takes about three bytes: the feature costs
nothing, the token index is a small difference, the activation a float32 of a float16's precision.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.compiling import Ints, compiled
from pipeline.errors import CorpusError, LakeError
from pipeline.firings.layout import BUCKET_FEATURES, ROUNDED_BITS, n_buckets_of
from pipeline.lake import Lake, Published
from pipeline.progress import progress
from pipeline.tables import TABLES
from pipeline.texts.delphi import splits_of

_ROWS_A_GROUP = 1 << 18

ENCODING: Mapping[str, Any] = {
    "use_dictionary": ["sae", "feature"],
    "column_encoding": {"token_index": "DELTA_BINARY_PACKED", "activation": "BYTE_STREAM_SPLIT"},
    "max_rows_per_page": 1 << 17,
}
"""How the store's files are encoded, some 3 bytes a row.

The bytes of activations are split into four streams, of which two cost little. In pages of the default 20,000 rows
zstd would take them together, for a quarter of a byte more a row and twice the time to read.
"""


class Firings(NamedTuple):
    """Firings as columns, each [n]."""

    feature: npt.NDArray[np.int32]
    token_index: Ints
    activation: npt.NDArray[np.float32]

    def rows(self, which: slice) -> "Firings":
        """The firings in these rows."""
        return Firings(self.feature[which], self.token_index[which], self.activation[which])


def write_activations(lake: Lake, sae: str) -> Published:
    """Merge an SAE's shards into one file a bucket, sorted by (feature, token_index).

    Raises:
        LakeError: A shard is missing, or two rows are of the same firing.
        CorpusError: Of the cache that the shards were read from there are firings that none has.
    """
    lake.require("activation_shards", sae=sae)
    files = [
        (path, pq.read_metadata(path))
        for shard in range(lake.config.corpus.shards)
        for folder in lake.paths("activation_shards", sae=sae, shard=shard)
        for path in sorted(folder.glob("*.parquet"))
    ]
    target = lake.path("activations", sae=sae)
    lake.ensure_schema_file("activations", sae)
    n_buckets = n_buckets_of(lake.config.sae(sae).n_features)
    n_rows = 0
    with lake.writing(target) as folder, progress(n_buckets, f"activations of {sae}", "buckets") as bar:
        folder.mkdir()
        for bucket in range(n_buckets):
            first = bucket * BUCKET_FEATURES
            merged = in_order([_read_bucket(*file, bucket) for file in files], first, BUCKET_FEATURES)
            if _has_repeats(merged):
                raise LakeError(
                    f"bucket {bucket} of SAE '{sae}' holds a firing twice; rebuild its shards, or the cache that "
                    "they were read from"
                )
            with _writer(folder / f"{bucket:05d}.parquet", _schema("activations", merged)) as writer:
                writer.write_table(_table(sae, merged, writer.schema), row_group_size=_ROWS_A_GROUP)
            n_rows += len(merged.feature)
            bar.update(1)
        _check_cache_was_read(lake, sae, n_rows)
    size = sum(path.stat().st_size for path in target.glob("*.parquet"))
    figures: dict[str, float | int | str] = {"bytes": size, "bytes_per_row": round(size / max(n_rows, 1), 3)}
    return Published("activations", target, n_rows, figures)


def _check_cache_was_read(lake: Lake, sae: str, n_rows: int) -> None:
    """Each shard reads its rows of a cache where they should stand; together they have to have every firing."""
    cache = lake.config.corpus.cache
    if cache is None:
        return
    folder = cache.folder / lake.config.sae(sae).hookpoint
    if n_rows != (n := sum(split.n_firings for split in splits_of(folder))):
        raise CorpusError(
            f"delphi's cache '{folder}' has {n:,} firings, of which {n_rows:,} were found: its locations are only "
            "in part in the order of rows; sort them by row"
        )


def in_order(runs: Sequence[Firings], first_feature: int, n_features: int) -> Firings:
    """The firings of all runs by (feature, token_index), of n_features features from the first on.

    Raises LakeError if a firing is of another feature.
    """
    counts = np.zeros(n_features, np.int64)
    for run in runs:
        if not _count(run.feature, first_feature, counts):
            raise LakeError(
                f"a firing is of a feature outside {first_feature} to {first_feature + n_features - 1}; rebuild "
                "the shards"
            )
    starts = np.cumsum(counts) - counts
    free = starts.copy()  # the next place of each feature
    token_index, activation = np.empty(counts.sum(), np.int64), np.empty(counts.sum(), np.float32)
    for run in runs:
        _place(*run, first_feature, free, token_index, activation)
    _sort_each(starts, free, token_index, activation)
    feature = np.repeat(np.arange(first_feature, first_feature + n_features, dtype=np.int32), counts)
    return Firings(feature, token_index, activation)


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
        self._pending.append(firings._replace(activation=rounded(firings.activation)))

    def flush(self) -> None:
        """Write what is pending as one file, with one row group a bucket, empty ones included."""
        self.hand_over()()

    def hand_over(self) -> Callable[[], None]:
        """Give up what is pending: what is returned writes it, in any thread, as `flush` does."""
        pending, path = self._pending, self.folder / f"{self._n_files:05d}.parquet"
        self._pending, self._n_files = [], self._n_files + 1
        return partial(self._write, pending, path)

    def _write(self, pending: Sequence[Firings], path: Path) -> None:
        firings = in_order(pending, 0, self._n_features)
        firsts = np.arange(n_buckets_of(self._n_features) + 1, dtype=np.int32) * BUCKET_FEATURES
        edges = np.searchsorted(firings.feature, firsts)
        with _writer(path, _schema("activation_shards", firings)) as writer:
            for start, end in pairwise(edges.tolist()):
                part = firings.rows(slice(start, end))
                writer.write_table(_table(self._sae, part, writer.schema), row_group_size=max(end - start, 1))


@contextmanager
def shard_buffers(
    lake: Lake, shard: int, saes: Iterable[str], generation: int = 0
) -> Iterator[dict[str, FiringBuffer]]:
    """A buffer for the firings of each SAE in a shard; their files are put in place when all are written."""
    with lake.scratch(f"shard-{shard}") as scratch:
        buffers = {name: FiringBuffer(scratch / name, name, lake.config.sae(name).n_features) for name in saes}
        yield buffers
        for name, buffer in buffers.items():
            lake.ensure_schema_file("activation_shards", name, generation=generation)
            path = lake.path("activation_shards", sae=name, shard=shard, generation=generation)
            with lake.writing(path) as folder:
                buffer.folder.rename(folder)


def rounded(activation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Activations above 0 as they are kept: to 11 significant bits, ties to even; none becomes 0."""
    bits = activation.view(np.uint32)
    half = (bits >> np.uint32(ROUNDED_BITS) & np.uint32(1)) + np.uint32((1 << ROUNDED_BITS - 1) - 1)
    bits = (bits + half) & np.uint32(0x1_0000_0000 - (1 << ROUNDED_BITS))
    return np.maximum(bits, np.uint32(1 << ROUNDED_BITS)).view(np.float32)


def _schema(table: str, firings: Firings) -> pa.Schema:
    """The table's schema without nulls, which cost time to encode; the token index in 4 bytes where it fits.

    Of 4 bytes, Parquet packs the differences in smaller blocks: they take a twentieth less.
    """
    is_small = firings.token_index.max(initial=0) < 2**31
    types = {"token_index": pa.int32() if is_small else pa.int64()}
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
        **ENCODING,
        write_statistics=["feature", "token_index"],  # those of texts and numbers cost a third of the writing
    )


def _read_bucket(path: Path, metadata: pq.FileMetaData, bucket: int) -> Firings:
    """A bucket's firings in a shard's file; opened for it alone, as a process may not hold all open."""
    with pq.ParquetFile(path, metadata=metadata) as file:
        rows = file.read_row_group(bucket, columns=["feature", "token_index", "activation"], use_threads=False)
    feature, token_index, activation = (column.to_numpy() for column in rows.columns)
    return Firings(feature, token_index.astype(np.int64), activation)


def count_rows(folder: Path) -> int:
    """Firings in the files of a folder."""
    return sum(pq.ParquetFile(path).metadata.num_rows for path in folder.glob("*.parquet"))


@compiled
def _count(feature: npt.NDArray[np.int32], first_feature: int, counts: Ints) -> bool:
    """Add a run's firings to the counts of features from the first on; False if one is of another."""
    for row in range(len(feature)):
        of = feature[row] - first_feature
        if of < 0 or of >= len(counts):
            return False
        counts[of] += 1
    return True


@compiled
def _place(
    feature: npt.NDArray[np.int32],
    token_index: Ints,
    activation: npt.NDArray[np.float32],
    first_feature: int,
    free: Ints,
    token_index_to: Ints,
    activation_to: npt.NDArray[np.float32],
) -> None:
    """Put a run's firings at the next free places of their features."""
    for row in range(len(feature)):
        place = free[feature[row] - first_feature]
        free[feature[row] - first_feature] += 1
        token_index_to[place], activation_to[place] = token_index[row], activation[row]


@compiled
def _sort_each(starts: Ints, ends: Ints, token_index: Ints, activation: npt.NDArray[np.float32]) -> None:
    """Sort the rows of each feature that are not in the order of the corpus; those of most runs are."""
    for feature in range(len(starts)):
        first, end = starts[feature], ends[feature]
        for row in range(first + 1, end):
            if token_index[row] < token_index[row - 1]:
                order = first + np.argsort(token_index[first:end], kind="mergesort")
                token_index[first:end], activation[first:end] = token_index[order], activation[order]
                break


def _has_repeats(firings: Firings) -> bool:
    """Whether two rows that follow each other are of the same firing."""
    same = np.flatnonzero(firings.token_index[1:] == firings.token_index[:-1])
    return bool((firings.feature[same] == firings.feature[same + 1]).any())
