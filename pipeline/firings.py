"""A bucket's firings, and what stands at their places, as arrays.

`sql/firings.sql` says what the rows are. A join of every firing with its token would cost more than all the
statistics that follow; the places of a corpus are dense numbers, so that arrays do it for a tenth
(`benchmarks/store.py`). What grows with the corpus lies in files that are mapped, not in memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.lake import Lake
from pipeline.store import BUCKET_FEATURES, bucket_path

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_CONTEXTS_AT_ONCE, _SLOTS_AT_ONCE = 1 << 12, 1 << 15


class Places(NamedTuple):
    """What stands where in the corpus.

    Attributes:
        context_length: Places of a context; those beyond its end hold no token.
        token_id: int32 [n_contexts x context_length].
        slot: int32 [n_contexts x context_length], number of the candidate slot; -1 where there is none.
        is_counted: bool [n_contexts x context_length]: of a train document, and not at position 0.
        slot_context: [n_slots], the context of a candidate slot.
        slot_start: int32 [n_slots], the position of its first token.
        slot_document: [n_slots], the number of its document.
        slot_is_train: [n_slots].
    """

    context_length: int
    token_id: npt.NDArray[np.int32]
    slot: npt.NDArray[np.int32]
    is_counted: Bools
    slot_context: Ints
    slot_start: npt.NDArray[np.int32]
    slot_document: Ints
    slot_is_train: Bools


@contextmanager
def open_places(lake: Lake, connection: duckdb.DuckDBPyConnection) -> Iterator[Places]:
    """The places of the corpus, as `sql/corpus_tokens.sql` has them; `candidate_slots` is a temporary table."""
    length = lake.config.corpus.context_length
    (n_contexts,) = connection.sql("select coalesce(max(context_id) + 1, 0) from contexts").fetchall()[0]
    slots = connection.sql(
        "select context_id, start, n_tokens, document_number, role = 'train' from candidate_slots order by slot"
    ).to_arrow_table()
    slot_context, slot_start, slot_tokens, slot_document, slot_is_train = (
        each.to_numpy() for each in slots.columns
    )
    with lake.scratch("places") as folder:
        token_id = _mapped(folder / "token_id", np.int32, n_contexts * length)
        slot = _mapped(folder / "slot", np.int32, n_contexts * length)
        is_counted = _mapped(folder / "is_counted", np.bool_, n_contexts * length)
        slot[:] = -1
        for some in np.array_split(np.arange(len(slots)), len(slots) // _SLOTS_AT_ONCE + 1):
            place = _ranges(slot_context[some] * length + slot_start[some], slot_tokens[some])
            slot[place] = np.repeat(some, slot_tokens[some])
        for rows in lake.select(connection, "placed_contexts").to_arrow_reader(_CONTEXTS_AT_ONCE):
            first = rows["context_id"].to_numpy() * length
            n_tokens = rows["token_ids"].value_lengths().to_numpy()
            place = _ranges(first, n_tokens)
            token_id[place] = rows["token_ids"].flatten().to_numpy()
            is_counted[place] = np.repeat(rows["is_train"].to_numpy(zero_copy_only=False), n_tokens)
            is_counted[first] = False
        yield Places(length, token_id, slot, is_counted, slot_context, slot_start, slot_document, slot_is_train)


@dataclass(frozen=True)
class Bucket:
    """Firings of a bucket of features, by feature and place.

    Attributes:
        features: [n_features], the bucket's features; the last bucket's go beyond those of the SAE.
        starts: [n_features + 1], the first row of each feature, and the number of rows.
        token_index: [n].
        activation: float16 or float32, as stored, [n].
    """

    features: Ints
    starts: Ints
    token_index: Ints
    activation: npt.NDArray[np.floating]

    @property
    def n_firings(self) -> Ints:
        """[n_features]"""
        return np.diff(self.starts)

    @cached_property
    def feature(self) -> Ints:
        """The place of a firing's feature among the bucket's features, [n]."""
        return self.spread(np.arange(len(self.features)))

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One value a feature, as one a firing: [n]."""
        return np.repeat(values, self.n_firings)

    def where(self, is_kept: Bools) -> "Bucket":
        """The firings at which is_kept [n] is true."""
        starts = np.concatenate([[0], np.cumsum(is_kept)])[self.starts]
        return Bucket(self.features, starts, self.token_index[is_kept], self.activation[is_kept])


def read_bucket(lake: Lake, sae: str, bucket: int) -> Bucket:
    """A bucket's firings from the store."""
    columns = ["feature", "token_index", "activation"]
    rows = pq.read_table(bucket_path(lake, sae, bucket), columns=columns, use_threads=False)
    feature, token_index, activation = (column.to_numpy() for column in rows.columns)
    edges = np.arange(bucket * BUCKET_FEATURES, (bucket + 1) * BUCKET_FEATURES + 1)
    starts = np.searchsorted(feature, edges.astype(feature.dtype))
    return Bucket(edges[:-1], starts, token_index, activation)


def _ranges(starts: Ints, lengths: npt.NDArray[np.integer]) -> Ints:
    """The numbers from each start on, as many as its length; all in one row."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(lengths.sum())


def _mapped(path: Path, dtype: npt.DTypeLike, length: int) -> npt.NDArray[Any]:
    """A new array of zeros in a file; one of no length lies in memory, where a file cannot be mapped."""
    return np.asarray(np.memmap(path, dtype, "w+", shape=(length,)) if length else np.empty(0, dtype))
