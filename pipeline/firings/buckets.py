"""A bucket's firings, and what stands at their places, as arrays.

`sql/compiled/firings.sql` says what the rows are. A join of every firing with its token would cost more than all
the statistics that follow; the places of a corpus are dense numbers, so that arrays do it for a tenth
(`benchmarks/store.py`). What grows with the corpus lies in files that are mapped, not in memory.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.compiling import Ints
from pipeline.firings.layout import BUCKET_FEATURES, bucket_path
from pipeline.lake import Lake

_CONTEXTS_AT_ONCE, _SLOTS_AT_ONCE = 1 << 12, 1 << 15


PLACE = np.dtype(
    [
        ("token_id", np.int32),
        ("previous_token_id", np.int32),
        ("slot", np.int32),
        ("position", np.uint16),
        ("is_counted", np.bool_),
    ],
    align=True,
)
"""What stands at a place of the corpus, together, so that a firing's place is one look at memory.

slot: number of the candidate slot, -1 where there is none; position: in its context, at 0 there is no previous
token; is_counted: of a train document, and not at position 0.
"""


class Places(NamedTuple):
    """What stands where in the corpus.

    Attributes:
        context_length: Places of a context; those beyond its end hold no token.
        n_tokens: Above every token id.
        at: PLACE [n_contexts x context_length].
        slot_context: [n_slots], the context of a candidate slot.
        slot_start: int32 [n_slots], the position of its first token.
        slot_document: [n_slots], the number of its document.
        slot_is_train: [n_slots].
    """

    context_length: int
    n_tokens: int
    at: npt.NDArray[np.void]
    slot_context: Ints
    slot_start: npt.NDArray[np.int32]
    slot_document: Ints
    slot_is_train: npt.NDArray[np.bool_]


@contextmanager
def open_places(lake: Lake, connection: duckdb.DuckDBPyConnection) -> Iterator[Places]:
    """The places of the corpus, as `corpus_tokens.sql` has them; `candidate_slots` is a temporary table."""
    length = lake.config.corpus.context_length
    (n_contexts,) = connection.sql("select coalesce(max(context_id) + 1, 0) from contexts").fetchall()[0]
    slots = connection.sql(
        "select context_id, start, n_tokens, document_number, role = 'train' from candidate_slots order by slot"
    ).to_arrow_table()
    slot_context, slot_start, slot_tokens, slot_document, slot_is_train = (
        each.to_numpy() for each in slots.columns
    )
    with lake.scratch("places") as folder:
        at = _mapped(folder / "at", n_contexts * length, PLACE)
        at["slot"] = -1
        for some in np.array_split(np.arange(len(slots)), len(slots) // _SLOTS_AT_ONCE + 1):
            place = ranges(slot_context[some] * length + slot_start[some], slot_tokens[some])
            at["slot"][place] = np.repeat(some, slot_tokens[some])
        n_tokens = 0
        for rows in lake.select(connection, "placed_contexts").to_arrow_reader(_CONTEXTS_AT_ONCE):
            first = rows["context_id"].to_numpy() * length
            lengths = rows["token_ids"].value_lengths().to_numpy()
            place = ranges(first, lengths)
            token_id = rows["token_ids"].flatten().to_numpy()
            is_train = np.repeat(rows["is_train"].to_numpy(zero_copy_only=False), lengths)
            at["token_id"][place] = token_id
            at["previous_token_id"][place[1:]] = token_id[:-1]
            at["position"][place] = place % length
            at["is_counted"][place] = is_train & (place % length > 0)
            n_tokens = max(n_tokens, int(token_id.max(initial=-1)) + 1)
        yield Places(length, n_tokens, at, slot_context, slot_start, slot_document, slot_is_train)


class Bucket(NamedTuple):
    """Firings of a bucket of features, by feature and place.

    Attributes:
        features: [n_features], ascending; those of the last bucket go beyond the SAE's.
        starts: [n_features + 1], the first row of each feature, and the number of rows.
        token_index: [n].
        activation: float32 of 11 significant bits, as stored, [n].
    """

    features: Ints
    starts: Ints
    token_index: Ints
    activation: npt.NDArray[np.float32]

    def only(self, features: Ints) -> "Bucket":
        """The firings of some of the features, [n_features] of the bucket's, ascending."""
        which = np.searchsorted(self.features, features)
        lengths = np.diff(self.starts)[which]
        rows = ranges(self.starts[which], lengths)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return Bucket(features, starts, self.token_index[rows], self.activation[rows])


def read_bucket(lake: Lake, sae: str, bucket: int) -> Bucket:
    """A bucket's firings from the store."""
    first = bucket * BUCKET_FEATURES
    counts = np.zeros(BUCKET_FEATURES, np.int64)
    with pq.ParquetFile(bucket_path(lake, sae, bucket)) as file:
        n = file.metadata.num_rows
        token_index, activation = np.empty(n, np.int64), np.empty(n, np.float32)
        end = 0
        for group in range(file.num_row_groups):  # one at a time: a bucket may hold millions of rows
            rows = file.read_row_group(group, ["feature", "token_index", "activation"], use_threads=False)
            begin, end = end, end + len(rows)
            counts += np.bincount(rows["feature"].to_numpy() - first, minlength=BUCKET_FEATURES)
            token_index[begin:end], activation[begin:end] = rows["token_index"], rows["activation"]
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Bucket(np.arange(first, first + BUCKET_FEATURES), starts, token_index, activation)


def read_features(lake: Lake, sae: str, features: Ints) -> Iterator[Bucket]:
    """The firings of some features, [n_features], ascending; those of one bucket at a time."""
    for bucket in np.unique(features // BUCKET_FEATURES):
        yield read_bucket(lake, sae, int(bucket)).only(features[features // BUCKET_FEATURES == bucket])


def ranges(starts: Ints, lengths: npt.NDArray[np.integer]) -> Ints:
    """The numbers from each start on, as many as its length; all in one row."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(lengths.sum())


def mapped(lake: Lake, length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """New values in a file of the lake's disk, zeros; the file has no name, and goes with the array."""
    with lake.scratch("values") as folder:
        return _mapped(folder / "values", length, dtype)


def _mapped(path: Path, length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """New values in a file, zeros; without any they lie in memory, as an empty file cannot be mapped.

    Raises OSError if the disk has no room: a process that writes beyond it into a mapped file is killed.
    """
    if not length:
        return np.empty(0, dtype)
    size = length * dtype.itemsize
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:  # macOS
            file.truncate(size)
    return np.asarray(np.memmap(path, dtype, "r+", shape=(length,)))
