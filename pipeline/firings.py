"""A bucket's firings with what stands at their places, by array lookup.

`sql/firings.sql` and `sql/slot_peaks.sql` say what the rows are. A join of every firing with its token would cost
more than all the statistics that follow; the places of a corpus are dense numbers, so that arrays do it for a
tenth (`benchmarks/store.py`), and a feature's firings lie in the order of the corpus, so that the first one in a
slot, context or document is the one that differs from the firing before it.
"""

from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.lake import Lake
from pipeline.store import bucket_path

_PLACES_AT_ONCE = 1 << 20


class Places(NamedTuple):
    """What stands where in the corpus.

    Attributes:
        context_length: Places of a context; those beyond its end hold no token.
        token_id: int32 [n_contexts x context_length].
        slot: int32 [n_contexts x context_length], number of the candidate slot; -1 where there is none.
        document_number: int64 [n_contexts].
        is_train: bool [n_contexts].
    """

    context_length: int
    token_id: npt.NDArray[np.int32]
    slot: npt.NDArray[np.int32]
    document_number: npt.NDArray[np.int64]
    is_train: npt.NDArray[np.bool_]


def load_places(connection: duckdb.DuckDBPyConnection, context_length: int) -> Places:
    """The places of the corpus from the temporary table `corpus_tokens`: 8 bytes a token."""
    (n_contexts,) = connection.sql("select coalesce(max(context_id) + 1, 0) from corpus_tokens").fetchall()[0]
    places = Places(
        context_length,
        np.zeros(n_contexts * context_length, np.int32),
        np.full(n_contexts * context_length, -1, np.int32),
        np.zeros(n_contexts, np.int64),
        np.zeros(n_contexts, np.bool_),
    )
    tokens = connection.sql(
        "select token_index, token_id, coalesce(slot, -1) as slot, context_id, document_number, "
        "role = 'train' as is_train from corpus_tokens"
    )
    for rows in tokens.to_arrow_reader(_PLACES_AT_ONCE):
        columns = (column.to_numpy(zero_copy_only=False) for column in rows.columns)
        token_index, token_id, slot, context_id, document_number, is_train = columns
        places.token_id[token_index] = token_id
        places.slot[token_index] = slot
        places.document_number[context_id] = document_number
        places.is_train[context_id] = is_train
    return places


def bucket_firings(lake: Lake, sae: str, bucket: int, places: Places) -> pa.Table:
    """The rows of `sql/firings.sql` for one bucket, [n_firings], sorted by feature and place."""
    feature, token_index, activation = _stored(lake, sae, bucket)
    context_id = token_index // places.context_length
    position = token_index - context_id * places.context_length
    slot = places.slot[token_index]
    in_slot = np.flatnonzero(slot >= 0)
    document_number = places.document_number[context_id]
    return pa.table(
        {
            "feature": feature,
            "position": position.astype(np.int32),
            "activation": activation,
            "is_train": places.is_train[context_id],
            "token_id": places.token_id[token_index],
            "previous_token_id": pa.array(places.token_id[np.maximum(token_index - 1, 0)], mask=position == 0),
            "slot": pa.array(slot, mask=slot < 0),
            "begins_slot": _begins(feature, slot, in_slot),
            "begins_context": _begins(feature, context_id, in_slot),
            "begins_document": _begins(feature, document_number, in_slot),
        }
    )


def bucket_slot_peaks(lake: Lake, sae: str, bucket: int, places: Places) -> pa.Table:
    """The rows of `sql/slot_peaks.sql` for one bucket, sorted by feature and slot."""
    feature, token_index, activation = _stored(lake, sae, bucket)
    slot = places.slot[token_index]
    in_slot = np.flatnonzero(slot >= 0)
    feature, slot, activation = feature[in_slot], slot[in_slot], activation[in_slot]
    starts = _changes(feature, slot)
    peak = np.maximum.reduceat(activation, starts) if len(starts) else activation  # reduceat takes no empty list
    return pa.table({"feature": feature[starts], "slot": slot[starts], "peak": peak})


def _stored(
    lake: Lake, sae: str, bucket: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Feature, token_index and activation of a bucket's firings, sorted by feature and token_index."""
    columns = ["feature", "token_index", "activation"]
    rows = pq.read_table(bucket_path(lake, sae, bucket), columns=columns, use_threads=False)
    feature, token_index, activation = (column.to_numpy() for column in rows.columns)
    return feature, token_index, activation.astype(np.float32)


def _begins(
    feature: npt.NDArray[np.int32], within: npt.NDArray[np.integer], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether a firing is the feature's first of `rows` in its slot, context or document; [n_firings]."""
    begins = np.zeros(len(feature), np.bool_)
    begins[rows[_changes(feature[rows], within[rows])]] = True
    return begins


def _changes(feature: npt.NDArray[np.int32], within: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Rows whose feature or place differs from the row before."""
    differs = np.ones(len(feature), np.bool_)
    differs[1:] = (feature[1:] != feature[:-1]) | (within[1:] != within[:-1])
    return np.flatnonzero(differs)
