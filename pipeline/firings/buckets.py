"""A bucket's firings, and the tokens of the corpus that they are on, as arrays.

`sql/compiled/firings.sql` defines the rows. A join of every firing with its token would cost more than all the
statistics that follow; token indices are dense, so arrays do it for a tenth (`benchmarks/store.py`). What grows
with the corpus is memory-mapped from files.
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


TOKEN = np.dtype(
    [
        ("token_id", np.int32),
        ("previous_token_id", np.int32),
        ("slot", np.int32),
        ("position", np.uint16),
        ("is_counted", np.bool_),
    ],
    align=True,
)
"""A token of the corpus with its facts in one record, so that a firing needs one look at memory.

slot: number of the candidate slot, -1 for none; position: in its context (at 0 there is no previous token);
is_counted: in a train document, and not at position 0.
"""


class CorpusTokens(NamedTuple):
    """The tokens of the corpus, by token index, and its candidate slots.

    Attributes:
        context_length: Token indices per context; those beyond a context's end hold no token.
        n_tokens: Greater than every token id.
        tokens: TOKEN [n_contexts x context_length].
        slot_context: [n_slots], the context of each candidate slot.
        slot_start: int32 [n_slots], the position of its first token.
        slot_document: [n_slots], the number of its document.
        slot_is_train: [n_slots].
    """

    context_length: int
    n_tokens: int
    tokens: npt.NDArray[np.void]
    slot_context: Ints
    slot_start: npt.NDArray[np.int32]
    slot_document: Ints
    slot_is_train: npt.NDArray[np.bool_]


@contextmanager
def open_corpus_tokens(lake: Lake, connection: duckdb.DuckDBPyConnection) -> Iterator[CorpusTokens]:
    """The tokens of the corpus, as in `corpus_tokens.sql`; `candidate_slots` is a temporary table."""
    length = lake.config.corpus.context_length
    (n_contexts,) = connection.sql("select coalesce(max(context_id) + 1, 0) from contexts").fetchall()[0]
    slots = connection.sql(
        "select context_id, start, n_tokens, document_number, role = 'train' from candidate_slots order by slot"
    ).to_arrow_table()
    slot_context, slot_start, slot_tokens, slot_document, slot_is_train = (
        each.to_numpy() for each in slots.columns
    )
    with lake.scratch("tokens") as folder:
        tokens = _mapped(folder / "tokens", n_contexts * length, TOKEN)
        tokens["slot"] = -1
        for some in np.array_split(np.arange(len(slots)), len(slots) // _SLOTS_AT_ONCE + 1):
            index = ranges(slot_context[some] * length + slot_start[some], slot_tokens[some])
            tokens["slot"][index] = np.repeat(some, slot_tokens[some])
        n_tokens = 0
        for rows in lake.select(connection, "placed_contexts").to_arrow_reader(_CONTEXTS_AT_ONCE):
            first = rows["context_id"].to_numpy() * length
            lengths = rows["token_ids"].value_lengths().to_numpy()
            index = ranges(first, lengths)
            token_id = rows["token_ids"].flatten().to_numpy()
            is_train = np.repeat(rows["is_train"].to_numpy(zero_copy_only=False), lengths)
            tokens["token_id"][index] = token_id
            tokens["previous_token_id"][index[1:]] = token_id[:-1]
            tokens["position"][index] = index % length
            tokens["is_counted"][index] = is_train & (index % length > 0)
            n_tokens = max(n_tokens, int(token_id.max(initial=-1)) + 1)
        yield CorpusTokens(length, n_tokens, tokens, slot_context, slot_start, slot_document, slot_is_train)


class Bucket(NamedTuple):
    """Firings of a bucket of features, sorted by feature and token index.

    Attributes:
        features: [n_features], ascending; in the last bucket they go beyond the SAE's.
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
    """Concatenated ranges: from each start, as many numbers as its length."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(lengths.sum())


def mapped(lake: Lake, length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Zeros in a file on the lake's disk; the file has no name, and is freed with the array."""
    with lake.scratch("values") as folder:
        return _mapped(folder / "values", length, dtype)


def _mapped(path: Path, length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Zeros in a file; in memory for length 0, as an empty file cannot be mapped.

    Raises OSError if the disk is full. The space is reserved here, since a process that runs out of it while
    writing to a mapped file is killed.
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
