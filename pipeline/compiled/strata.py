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
from pipeline.compiled.segments import Ints, compiled, group_rows
from pipeline.firings.buckets import Bucket, Places, read_features

_KINDS = ("active", "same_token", "neighbour", "random")
_RANDOM = 3

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
    counts[:, :, _RANDOM] = np.bincount(places.slot_is_train, minlength=2) - counts.sum(axis=2)
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
    place, starts = group_rows(keys.astype(np.int32), n_keys)
    grouped = np.empty(len(values), np.int64)
    grouped[place] = values
    return starts, grouped


def _slots_of_features(buckets: Iterable[Bucket], places: Places, n_features: int) -> tuple[Ints, Slots]:
    """The candidate slots that features fire in: the first place of each feature, [n_features + 1], and slots."""
    counts = np.zeros(n_features, np.int64)
    slots = [np.empty(0, np.int32)]
    for bucket in buckets:
        feature, slot, _ = find_peaks(bucket.starts, bucket.activation, places.at[bucket.token_index])
        counts[bucket.features] = np.bincount(feature, minlength=len(bucket.features))
        slots.append(slot)
    return np.concatenate([[0], np.cumsum(counts)]), np.concatenate(slots)


@compiled
def _slots_of_tokens(at: Placed, is_wanted: npt.NDArray[np.bool_]) -> tuple[Ints, Slots]:
    """The candidate slots that wanted tokens stand in: the first place of each token, [n_tokens + 1], and slots.

    at: PLACE [n]; is_wanted [n_tokens].
    """
    n_tokens = len(is_wanted)
    starts = np.zeros(n_tokens + 1, np.int64)
    last_slot = np.full(n_tokens, -1, np.int32)
    for i in range(len(at)):
        token, slot = at[i].token_id, at[i].slot
        if slot >= 0 and is_wanted[token] and last_slot[token] != slot:
            last_slot[token] = slot
            starts[token + 1] += 1
    starts = np.cumsum(starts)
    free, slots = starts.copy(), np.empty(starts[-1], np.int32)
    last_slot[:] = -1
    for i in range(len(at)):
        token, slot = at[i].token_id, at[i].slot
        if slot >= 0 and is_wanted[token] and last_slot[token] != slot:
            last_slot[token] = slot
            slots[free[token]] = slot
            free[token] += 1
    return starts, slots


@compiled
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
    A slot is of the first kind that applies; random ones are not counted.
    """
    kinds = np.empty(len(drawn_slot), np.int64)
    counts = np.zeros((len(features), 2, 4), np.int64)
    kind_of, claimed_for = np.empty(len(is_train), np.int64), np.full(len(is_train), -1, np.int64)
    for i in range(len(features)):
        feature = features[i]
        for place in range(fires_starts[feature], fires_starts[feature + 1]):
            slot = fires_slot[place]
            claimed_for[slot], kind_of[slot] = i, 0
            counts[i, int(is_train[slot]), 0] += 1
        for at in range(token_starts[feature], token_starts[feature + 1]):
            for place in range(stands_starts[token[at]], stands_starts[token[at] + 1]):
                slot = stands_slot[place]
                if claimed_for[slot] != i:
                    claimed_for[slot], kind_of[slot] = i, 1
                    counts[i, int(is_train[slot]), 1] += 1
        for at in range(neighbour_starts[feature], neighbour_starts[feature + 1]):
            for place in range(fires_starts[neighbour[at]], fires_starts[neighbour[at] + 1]):
                slot = fires_slot[place]
                if claimed_for[slot] != i:
                    claimed_for[slot], kind_of[slot] = i, 2
                    counts[i, int(is_train[slot]), 2] += 1
        for place in range(drawn_starts[feature], drawn_starts[feature + 1]):
            slot = drawn_slot[place]
            kinds[place] = kind_of[slot] if claimed_for[slot] == i else 3
    return kinds, counts
