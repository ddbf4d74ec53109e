"""The strata of a batch's silent slots: the rows of `sql/compiled/silent_strata.sql` from arrays.

A frequent token stands in most slots, a batch has thousands of them, and its neighbours lie anywhere in the store.
Here the claims of tokens and neighbours on slots are counted for one feature after the other: what is in memory is
the slots of each feature and token, 4 bytes each, and not their pairs. In SQL, 900 features on 10 million tokens
need more than 4 GB. A test compares the two.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.passes import Placed, find_peaks
from pipeline.compiling import Ints
from pipeline.firings.buckets import Bucket, Places, read_features

_KINDS = ("active", "same_token", "neighbour", "random")
_ACTIVE, _SAME_TOKEN, _NEIGHBOUR, _RANDOM = range(len(_KINDS))

Slots = npt.NDArray[np.int32]


def silent_strata(inputs: Inputs) -> pa.Table:
    """The rows of `sql/compiled/silent_strata.sql`."""
    (features,) = _columns(inputs, "batch_features", "feature")
    features = np.sort(features)
    tokens = _columns(inputs, "batch_tokens", "feature", "token_id")
    neighbours = _columns(inputs, "batch_neighbours", "feature", "neighbour")
    drawn = _columns(inputs, "drawn_slots", "feature", "slot")
    places, n_features = inputs.places, inputs.lake.config.sae(inputs.sae).n_features
    firing = np.union1d(features, neighbours[1])
    fires_in = _slots_of_features(read_features(inputs.lake, inputs.sae, firing), places, n_features)
    stands_in = _slots_of_tokens(places.at, np.bincount(tokens[1], minlength=places.n_tokens) > 0)
    drawn_starts, drawn_slot = _grouped(drawn, n_features)
    claim, counts = _claims(
        features,
        *fires_in,
        *stands_in,
        *_grouped(tokens, n_features),
        *_grouped(neighbours, n_features),
        *(drawn_starts, drawn_slot),
        places.slot_is_train,
    )
    feature = np.repeat(np.arange(n_features), np.diff(drawn_starts))
    n_slots = counts[np.searchsorted(features, feature), places.slot_is_train[drawn_slot].astype(np.int64), claim]
    kind = pa.array(_KINDS).take(pa.array(claim))
    return pa.table({"feature": feature, "slot": drawn_slot, "kind": kind, "n_slots": n_slots})


def _columns(inputs: Inputs, table: str, *names: str) -> list[Ints]:
    rows = inputs.table(table)
    return [rows[name].to_numpy().astype(np.int64) for name in names]


def _grouped(columns: Sequence[Ints], n_keys: int) -> tuple[Ints, Ints]:
    """Values by keys below n_keys, a column each: the first place of each key, [n_keys + 1], and the values."""
    keys, values = columns
    starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=n_keys))])
    return starts, values[np.argsort(keys, kind="stable")]


def _slots_of_features(buckets: Iterable[Bucket], places: Places, n_features: int) -> tuple[Ints, Slots]:
    """The candidate slots that features fire in: the first place of each feature, [n_features + 1], and slots."""
    counts = np.zeros(n_features, np.int64)
    slots = [np.empty(0, np.int32)]
    for bucket in buckets:
        feature, slot, _ = find_peaks(bucket.starts, bucket.activation, places.at[bucket.token_index])
        counts[bucket.features] = np.bincount(feature, minlength=len(bucket.features))
        slots.append(slot)
    return np.concatenate([[0], np.cumsum(counts)]), np.concatenate(slots)


def _slots_of_tokens(at: Placed, is_wanted: npt.NDArray[np.bool_]) -> tuple[Ints, Slots]:
    """The candidate slots that wanted tokens stand in: the first place of each token, [n_tokens + 1], and slots.

    at: PLACE [n]; is_wanted [n_tokens].
    """
    token_id, slot = at["token_id"], at["slot"]
    place = np.flatnonzero(is_wanted[token_id] & (slot >= 0))
    pairs = token_id[place].astype(np.int64) << 32 | slot[place]
    pairs.sort()
    pairs = pairs[np.diff(pairs, prepend=-1) != 0]
    starts = np.concatenate([[0], np.cumsum(np.bincount(pairs >> 32, minlength=len(is_wanted)))])
    return starts, pairs.astype(np.int32)  # the low half


def _claims(
    features: Ints,
    fires_starts: Ints,
    fires_slot: Slots,
    stands_starts: Ints,
    stands_slot: Slots,
    token_starts: Ints,
    token: Ints,
    neighbour_starts: Ints,
    neighbour: Ints,
    drawn_starts: Ints,
    drawn_slot: Ints,
    is_train: npt.NDArray[np.bool_],
) -> tuple[Ints, Ints]:
    """The kind of each drawn slot, [n_drawn], and each feature's slots by role and kind, [n_features, 2, 4].

    Arguments come in pairs: the first place of each feature or token, and the slots, tokens, or neighbours of all.
    """
    kinds = np.empty(len(drawn_slot), np.int64)
    counts = np.empty((len(features), 2, len(_KINDS)), np.int64)
    kind = np.empty(len(is_train), np.int8)
    role = is_train.astype(np.int8) * len(_KINDS)
    for i, feature in enumerate(features):
        # A slot is of the first kind that applies, so the last one is written first.
        kind[:] = _RANDOM
        for other in neighbour[neighbour_starts[feature] : neighbour_starts[feature + 1]]:
            kind[fires_slot[fires_starts[other] : fires_starts[other + 1]]] = _NEIGHBOUR
        for token_id in token[token_starts[feature] : token_starts[feature + 1]]:
            kind[stands_slot[stands_starts[token_id] : stands_starts[token_id + 1]]] = _SAME_TOKEN
        kind[fires_slot[fires_starts[feature] : fires_starts[feature + 1]]] = _ACTIVE
        counts[i] = np.bincount(role + kind, minlength=2 * len(_KINDS)).reshape(2, -1)
        drawn = slice(drawn_starts[feature], drawn_starts[feature + 1])
        kinds[drawn] = kind[drawn_slot[drawn]]
    return kinds, counts
