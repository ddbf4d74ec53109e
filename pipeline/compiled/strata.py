"""The strata of a batch's silent slots: the rows of `sql/compiled/silent_strata.sql` from arrays.

A frequent token occurs in most slots, a batch has thousands of such tokens, and neighbours are anywhere in the
store. The claims of tokens and neighbours on slots are counted feature by feature: only the slots of each feature
and token are in memory, 4 bytes each, not their pairs. In SQL, 900 features on 10 million tokens need more than 4
GB. A test compares the two.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.passes import Tokens, find_peaks
from pipeline.compiling import Int32s, Ints, compiled, inlined
from pipeline.firings.buckets import Bucket, CorpusTokens, read_features

KINDS = ("active", "same_token", "neighbour", "random")
"""The kinds of a slot for a feature; the first that applies counts."""

ACTIVE, SAME_TOKEN, NEIGHBOUR, RANDOM = range(4)

Bools = npt.NDArray[np.bool_]


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
    drawn = _lists(inputs, "drawn_slots", "slot", n_features)
    firing = np.union1d(features, neighbours.values)
    claims, counts = _count_claims(
        features,
        _slots_of_features(read_features(inputs.lake, inputs.sae, firing), corpus, n_features),
        _slots_of_tokens(corpus.tokens, np.bincount(tokens.values, minlength=corpus.n_tokens) > 0),
        tokens,
        neighbours,
        drawn,
        corpus.slot_is_train,
    )
    feature = np.repeat(np.arange(n_features), np.diff(drawn.starts))
    role = corpus.slot_is_train[drawn.values].astype(np.int64)
    n_slots = counts[np.searchsorted(features, feature), role, claims]
    kind = pa.array(KINDS).take(pa.array(claims))
    return pa.table({"feature": feature, "slot": drawn.values.astype(np.int64), "kind": kind, "n_slots": n_slots})


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
def _count_claims(
    features: Ints,
    fires_in: Lists,
    stands_in: Lists,
    tokens: Lists,
    neighbours: Lists,
    drawn: Lists,
    is_train: Bools,
) -> tuple[Ints, Ints]:
    """The kind of each drawn slot, [n_drawn], and each feature's slots by role and kind, [n_features, 2, 4].

    fires_in: slots by feature; stands_in: slots by token; tokens, neighbours, drawn (slots): by feature; is_train:
    [n_slots].
    """
    kinds = np.empty(len(drawn.values), np.int64)
    counts = np.zeros((len(features), 2, 4), np.int64)
    n_train = np.sum(is_train)
    # A slot's kind holds for the feature that claimed it last, by number from 1: nothing needs clearing.
    kind, claimed_for = np.empty(len(is_train), np.int8), np.zeros(len(is_train), np.int32)
    for number in range(len(features)):
        feature, own = features[number], counts[number]
        # 1. Claim the slots in the order of the kinds: the first claim counts.
        claim(fires_in, feature, ACTIVE, number + 1, kind, claimed_for, is_train, own)
        for each in range(tokens.starts[feature], tokens.starts[feature + 1]):
            claim(stands_in, tokens.values[each], SAME_TOKEN, number + 1, kind, claimed_for, is_train, own)
        for each in range(neighbours.starts[feature], neighbours.starts[feature + 1]):
            claim(fires_in, neighbours.values[each], NEIGHBOUR, number + 1, kind, claimed_for, is_train, own)
        # 2. What nobody claimed is random: all slots of a role, less those claimed.
        own[0, RANDOM] = len(is_train) - n_train - np.sum(own[0])
        own[1, RANDOM] = n_train - np.sum(own[1])
        # 3. Look up the drawn slots.
        for each in range(drawn.starts[feature], drawn.starts[feature + 1]):
            slot = drawn.values[each]
            kinds[each] = kind[slot] if claimed_for[slot] == number + 1 else RANDOM
    return kinds, counts


@inlined
def claim(
    slots: Lists,
    key: int,
    of_kind: int,
    mark: int,
    kind: npt.NDArray[np.int8],
    claimed_for: Int32s,
    is_train: Bools,
    counts: Ints,
) -> None:
    """Give the slots of a key a kind, if they have none for this feature yet; counts: [2, 4], by role and kind."""
    for slot in slots.values[slots.starts[key] : slots.starts[key + 1]]:
        if claimed_for[slot] != mark:
            claimed_for[slot], kind[slot] = mark, of_kind
            counts[int(is_train[slot]), of_kind] += 1
