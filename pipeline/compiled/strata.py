"""The strata of a batch's silent slots: the rows of `sql/compiled/silent_strata.sql` from arrays.

A frequent token occurs in most slots, a batch has thousands of such tokens, and neighbours are anywhere in the
store. The claims of tokens and neighbours on slots are counted feature by feature: only the slots of each feature
and token are in memory, 4 bytes each, not their pairs. In SQL, 900 features on 10 million tokens need more than 4
GB. Every stratum is drawn in the same pass over the slots. A test compares the two.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.passes import Tokens, find_peaks
from pipeline.compiling import Int32s, Ints, compiled, inlined
from pipeline.firings.buckets import Bucket, CorpusTokens, ranges, read_features

KINDS = ("active", "same_token", "neighbour", "random")
"""The kinds of a slot for a feature; the first that applies counts."""

ACTIVE, SAME_TOKEN, NEIGHBOUR, RANDOM = range(4)

Bools = npt.NDArray[np.bool_]
Lots = npt.NDArray[np.uint64]


class Lists(NamedTuple):
    """A list of numbers for each key: the first value of each, [n_keys + 1], and the values of all, int32 [n]."""

    starts: Ints
    values: Int32s


def silent_strata(inputs: Inputs) -> pa.Table:
    """The rows of `sql/compiled/silent_strata.sql`."""
    features = np.sort(inputs.table("batch_features")["feature"].to_numpy().astype(np.int64))
    corpus, n_features = inputs.corpus, inputs.lake.config.sae(inputs.sae).n_features
    tokens = _lists(inputs, "batch_tokens", "token_id", n_features)
    neighbours = _lists(inputs, "batch_neighbours", "neighbour", n_features)
    firing = np.union1d(features, neighbours.values)
    # 1. Draw: the lots and slots of each feature, role and kind, the first by lot.
    slots, lots, counts = _draw_strata(
        features,
        _slots_of_features(read_features(inputs.lake, inputs.sae, firing), corpus, n_features),
        _slots_of_tokens(corpus.tokens, np.bincount(tokens.values, minlength=corpus.n_tokens) > 0),
        tokens,
        neighbours,
        inputs.table("silent_lots")["lot"].to_numpy(),
        corpus.slot_is_train,
        inputs.lake.config.sampling.silent_draws,
    )
    # 2. One row for each, in the order of the lots of its feature and role.
    number, role, kind, place = np.nonzero(np.arange(slots.shape[-1]) < counts[..., np.newaxis])
    slot, lot, side = slots[number, role, kind, place], lots[number, role, kind, place], 2 * number + role
    order = np.lexsort((slot, lot, side))
    draw = np.empty(len(order), np.int64)
    draw[order] = ranges(np.ones(2 * len(features), np.int64), np.bincount(side, minlength=2 * len(features)))
    return pa.table(
        {
            "feature": features[number],
            "slot": slot.astype(np.int64),
            "kind": pa.array(KINDS).take(pa.array(kind)),
            "draw": draw,
            "n_slots": counts[number, role, kind],
        }
    )


def _lists(inputs: Inputs, table: str, column: str, n_features: int) -> Lists:
    """A column of a table by feature."""
    rows = inputs.table(table)
    feature = rows["feature"].to_numpy()
    starts = np.concatenate([[0], np.cumsum(np.bincount(feature, minlength=n_features))])
    return Lists(starts, rows[column].to_numpy()[np.argsort(feature, kind="stable")].astype(np.int32))


def _slots_of_features(buckets: Iterable[Bucket], corpus: CorpusTokens, n_features: int) -> Lists:
    """The candidate slots that each feature fires in."""
    counts = np.zeros(n_features, np.int64)
    slots = [np.empty(0, np.int32)]
    for bucket in buckets:
        feature, slot, _ = find_peaks(bucket.starts, bucket.activation, corpus.tokens[bucket.token_index])
        counts[bucket.features] = np.bincount(feature, minlength=len(bucket.features))
        slots.append(slot)
    return Lists(np.concatenate([[0], np.cumsum(counts)]), np.concatenate(slots))


def _slots_of_tokens(at: Tokens, is_wanted: Bools) -> Lists:
    """The candidate slots that contain each wanted token; at: TOKEN [n]; is_wanted [n_tokens]."""
    starts = np.concatenate([[0], np.cumsum(_count_slots(at, is_wanted))])
    slots = np.empty(starts[-1], np.int32)
    _list_slots(at, is_wanted, starts, slots)
    return Lists(starts, slots)


@compiled
def _count_slots(at: Tokens, is_wanted: Bools) -> Ints:
    """The number of candidate slots that contain each wanted token, [n_tokens]; slots are in corpus order."""
    counts, last = np.zeros(len(is_wanted), np.int64), np.full(len(is_wanted), -1, np.int32)
    for place in range(len(at)):
        token, slot = at[place].token_id, at[place].slot
        if slot >= 0 and is_wanted[token] and slot != last[token]:
            last[token] = slot
            counts[token] += 1
    return counts


@compiled
def _list_slots(at: Tokens, is_wanted: Bools, starts: Ints, slots: Int32s) -> None:
    """Fill in the slots of each wanted token; starts: [n_tokens + 1], from the counts of `_count_slots`."""
    free, last = starts.copy(), np.full(len(is_wanted), -1, np.int32)
    for place in range(len(at)):
        token, slot = at[place].token_id, at[place].slot
        if slot >= 0 and is_wanted[token] and slot != last[token]:
            last[token] = slot
            slots[free[token]] = slot
            free[token] += 1


@compiled
def _draw_strata(
    features: Ints,
    fires_in: Lists,
    stands_in: Lists,
    tokens: Lists,
    neighbours: Lists,
    slot_lots: Lots,
    is_train: Bools,
    n_draws: int,
) -> tuple[Int32s, Lots, Ints]:
    """The first silent slots by lot of each feature, role and kind, their lots, and the number of all there are.

    fires_in: slots by feature; stands_in: slots by token; tokens, neighbours: by feature; slot_lots and is_train:
    [n_slots]. Returns slots and lots, [n_features, 2, 4, n_draws], as many as there are; counts, [n_features, 2,
    4]. Slots in which a feature fires are not counted, and a feature that never fires has none.
    """
    slots = np.empty((len(features), 2, 4, n_draws), np.int32)
    lots = np.empty((len(features), 2, 4, n_draws), np.uint64)
    counts = np.zeros((len(features), 2, 4), np.int64)
    # A slot's kind holds for the feature that claimed it last, by number from 1: nothing needs clearing.
    kind, claimed_for = np.empty(len(is_train), np.int8), np.zeros(len(is_train), np.int32)
    for number in range(len(features)):
        feature, own = features[number], counts[number]
        if fires_in.starts[feature] == fires_in.starts[feature + 1]:
            continue
        # 1. Claim the slots in the order of the kinds: the first claim counts.
        claim(fires_in, feature, ACTIVE, number + 1, kind, claimed_for)
        for each in range(tokens.starts[feature], tokens.starts[feature + 1]):
            claim(stands_in, tokens.values[each], SAME_TOKEN, number + 1, kind, claimed_for)
        for each in range(neighbours.starts[feature], neighbours.starts[feature + 1]):
            claim(fires_in, neighbours.values[each], NEIGHBOUR, number + 1, kind, claimed_for)
        # 2. Count every silent slot in its stratum, and keep it if its lot is among the first. What nobody claimed
        #    is random.
        for slot in range(len(is_train)):
            of_kind = kind[slot] if claimed_for[slot] == number + 1 else RANDOM
            if of_kind == ACTIVE:
                continue
            role = int(is_train[slot])
            keep(
                slot,
                hashed(slot_lots[slot] ^ np.uint64(feature)),
                slots[number, role, of_kind],
                lots[number, role, of_kind],
                min(own[role, of_kind], n_draws),
            )
            own[role, of_kind] += 1
    return slots, lots, counts


@inlined
def claim(
    slots: Lists, key: int, of_kind: int, mark: int, kind: npt.NDArray[np.int8], claimed_for: Int32s
) -> None:
    """Give the slots of a key a kind, if they have none for this feature yet."""
    for slot in slots.values[slots.starts[key] : slots.starts[key + 1]]:
        if claimed_for[slot] != mark:
            claimed_for[slot], kind[slot] = mark, of_kind


@inlined
def hashed(lot: np.uint64) -> np.uint64:
    """DuckDB's hash of a ubigint."""
    for _ in range(2):
        lot = (lot ^ (lot >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return lot ^ (lot >> np.uint64(32))


@inlined
def keep(slot: int, lot: np.uint64, slots: Int32s, lots: Lots, n_kept: int) -> None:
    """Insert a slot into the n_kept first ones by lot, of which the last gives way if there is no room."""
    if n_kept == len(lots) and lot >= lots[n_kept - 1]:
        return
    place = min(n_kept, len(lots) - 1)
    while place > 0 and lots[place - 1] > lot:
        slots[place], lots[place] = slots[place - 1], lots[place - 1]
        place -= 1
    slots[place], lots[place] = slot, lot
