"""Compiled passes over a bucket's firings, feature by feature; `counting` turns their results into tables.

In every function: starts [n_features + 1], the first row of each feature, and the number of rows; activation:
float32 [n], of 11 significant bits; fired_on: TOKEN [n], the token of each firing. A firing counts as train if its
token `is_counted`: in a train document, and not at position 0.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiling import Floats, Ints, compiled

Tokens = npt.NDArray[np.void]

_N_DECILES = 9


class Occurrences(NamedTuple):
    """How often features fire, and where.

    Attributes:
        by_position: int32 [n_features, context_length, 2], firings at each position: others, and train ones.
        mass: float64 [n_features], summed activation.
        slots, contexts, documents: [n_features, 2], candidate slots fired in, and their contexts and documents,
            test and train.
    """

    by_position: npt.NDArray[np.int32]
    mass: npt.NDArray[np.float64]
    slots: Ints
    contexts: Ints
    documents: Ints


class Strengths(NamedTuple):
    """Order statistics of features' activations, 0 where there is no firing.

    Attributes:
        deciles: [n_features, 9], of all firings: the k-th is the ceil(k n / 10)-th weakest.
        largest: [n_features], of all firings.
        n_train: [n_features], train firings.
        top_cut: [n_features], of the train firings: the ceil(share n)-th strongest.
        largest_train: [n_features].
    """

    deciles: Floats
    largest: Floats
    n_train: Ints
    top_cut: Floats
    largest_train: Floats


class Pairs(NamedTuple):
    """The pairs of a feature and a token that it fires on in train documents, by feature and token.

    Attributes:
        starts: [n_features + 1], the first pair of each feature, and the number of pairs.
        token_id: int32 [n_pairs].
        n_active, n_top, n_strong: [n_pairs], as in the table `feature_tokens`.
        mass: float64 [n_pairs], summed activation.
    """

    starts: Ints
    token_id: npt.NDArray[np.int32]
    n_active: Ints
    n_top: Ints
    n_strong: Ints
    mass: npt.NDArray[np.float64]


@compiled
def sort_keys(keys: npt.NDArray[np.uint32], scratch: npt.NDArray[np.uint32]) -> None:
    """Sort keys in place, by as many digits of 11 bits as they have; scratch is as long as they are.

    A radix sort from the lowest digit: a pass keeps the order of equal digits, so after the pass for a digit the
    keys are in the order of all digits up to it. Two passes sort activations of 11 significant bits and a role.
    """
    n, largest = len(keys), np.uint32(0)
    for i in range(n):
        largest = max(largest, keys[i])
    free = np.empty(2048, np.int64)
    source, target = keys, scratch
    shift, is_in_place = 0, True
    while largest >> shift:
        # 1. Count the keys of each digit; the counts before it give the first row of each.
        free[:] = 0
        for i in range(n):
            free[(source[i] >> shift) & 2047] += 1
        next_free = 0
        for digit in range(2048):
            next_free, free[digit] = next_free + free[digit], next_free
        # 2. Put each key in the next free row of its digit.
        for i in range(n):
            digit = (source[i] >> shift) & 2047
            target[free[digit]] = source[i]
            free[digit] += 1
        source, target = target, source
        shift, is_in_place = shift + 11, not is_in_place
    if not is_in_place:
        keys[:] = source


@compiled
def count_occurrences(
    starts: Ints,
    activation: Floats,
    fired_on: Tokens,
    slot_context: Ints,
    slot_document: Ints,
    slot_is_train: npt.NDArray[np.bool_],
    context_length: int,
) -> Occurrences:
    """Count firings by position, and what they lie in; slot_context, slot_document, slot_is_train: [n_slots]."""
    n_features = len(starts) - 1
    by_position = np.zeros((n_features, context_length, 2), np.int32)
    mass = np.zeros(n_features, np.float64)
    slots = np.zeros((n_features, 2), np.int64)
    contexts = np.zeros((n_features, 2), np.int64)
    documents = np.zeros((n_features, 2), np.int64)
    for feature in range(n_features):
        slot, context, document = -1, -1, -1
        for row in range(starts[feature], starts[feature + 1]):
            at = fired_on[row]
            by_position[feature, at.position, int(at.is_counted)] += 1
            mass[feature] += activation[row]
            if at.slot < 0 or at.slot == slot:
                continue
            # Firings are in corpus order: a value that differs from the last one is new.
            slot = at.slot
            side = int(slot_is_train[slot])
            slots[feature, side] += 1
            if slot_context[slot] != context:
                context = slot_context[slot]
                contexts[feature, side] += 1
            if slot_document[slot] != document:
                document = slot_document[slot]
                documents[feature, side] += 1
    return Occurrences(by_position, mass, slots, contexts, documents)


@compiled
def order_strengths(
    starts: Ints, activation: Floats, fired_on: Tokens, n_zero_bits: int, top_share: float
) -> Strengths:
    """Sort each feature's activations, whose n_zero_bits low bits are 0, and compute the order statistics."""
    bits = activation.view(np.uint32)
    n_features = len(starts) - 1
    deciles = np.zeros((n_features, _N_DECILES), np.uint32)
    largest = np.zeros(n_features, np.uint32)
    top_cut = np.zeros(n_features, np.uint32)
    largest_train = np.zeros(n_features, np.uint32)
    n_train = np.zeros(n_features, np.int64)
    longest = 0
    for feature in range(n_features):
        longest = max(longest, starts[feature + 1] - starts[feature])
    all_keys, scratch = np.empty(longest, np.uint32), np.empty(longest, np.uint32)
    for feature in range(n_features):
        first, n = starts[feature], starts[feature + 1] - starts[feature]
        if n == 0:
            continue
        # 1. One key for each firing: its activation, and below it, its role. Floats above 0 are ordered like their
        #    bits.
        keys = all_keys[:n]
        for i in range(n):
            is_train = np.uint32(fired_on[first + i].is_counted)
            # The low bits are 0: one of them can carry the role.
            keys[i] = (bits[first + i] >> np.uint32(n_zero_bits - 1)) | is_train
            n_train[feature] += is_train
        # 2. Sorted, the order statistics of all firings are at known rows.
        sort_keys(keys, scratch[:n])
        for k in range(_N_DECILES):
            deciles[feature, k] = _bits_of(keys[-(-n * (k + 1) // (_N_DECILES + 1)) - 1], n_zero_bits)
        largest[feature] = _bits_of(keys[n - 1], n_zero_bits)
        # 3. Those of the train firings are found by counting through them. n_below of them are weaker than the top
        #    share: n - n share as in DuckDB's quantile of -share, as n (1 - share) may round to another number.
        n_below = min(int(np.floor(n_train[feature] - n_train[feature] * top_share)), n_train[feature] - 1)
        n_seen = 0
        for i in range(n):
            if keys[i] & np.uint32(1):
                largest_train[feature] = _bits_of(keys[i], n_zero_bits)
                if n_seen == n_below:
                    top_cut[feature] = largest_train[feature]
                n_seen += 1
    return Strengths(
        deciles.view(np.float32),
        largest.view(np.float32),
        n_train,
        top_cut.view(np.float32),
        largest_train.view(np.float32),
    )


@compiled
def _bits_of(key: np.uint32, n_zero_bits: int) -> np.uint32:
    """An activation's bits from its key, whose lowest bit is its role."""
    return np.uint32((key >> np.uint32(1)) << np.uint32(n_zero_bits))


@compiled
def count_pairs(
    starts: Ints,
    activation: Floats,
    fired_on: Tokens,
    top_cut: Floats,
    strong_cut: npt.NDArray[np.float64],
    n_tokens: int,
) -> Pairs:
    """Count train firings by token; top_cut, strong_cut: [n_features]; token ids are below n_tokens."""
    n_features = len(starts) - 1
    pair_starts = np.zeros(n_features + 1, np.int64)
    most = 0
    for feature in range(n_features):
        most += min(starts[feature + 1] - starts[feature], n_tokens)
    token_id, total = np.empty(most, np.int32), np.empty(most, np.float64)
    n_active = np.empty(most, np.int64)
    n_top = np.empty(most, np.int64)
    n_strong = np.empty(most, np.int64)
    # For one feature, pairs in order of appearance: number by token, token, counts (active, top, strong), mass.
    number_of = np.full(n_tokens, -1, np.int32)
    tokens, scratch = np.empty(n_tokens, np.uint32), np.empty(n_tokens, np.uint32)
    counts, mass = np.zeros((n_tokens, 3), np.int64), np.zeros(n_tokens, np.float64)
    for feature in range(n_features):
        # 1. Count, in the order in which tokens appear.
        n_pairs = 0
        for row in range(starts[feature], starts[feature + 1]):
            at = fired_on[row]
            if not at.is_counted:
                continue
            pair = number_of[at.token_id]
            if pair < 0:
                pair = n_pairs
                number_of[at.token_id] = pair
                tokens[pair] = at.token_id
                n_pairs += 1
            counts[pair, 0] += 1
            counts[pair, 1] += activation[row] >= top_cut[feature]
            counts[pair, 2] += activation[row] > strong_cut[feature]
            mass[pair] += activation[row]
        # 2. Write the pairs by token, and forget their numbers and counts: only what was touched is cleared.
        first = pair_starts[feature]
        sort_keys(tokens[:n_pairs], scratch[:n_pairs])
        for i in range(n_pairs):
            pair = number_of[tokens[i]]
            number_of[tokens[i]] = -1
            token_id[first + i], total[first + i] = tokens[i], mass[pair]
            n_active[first + i], n_top[first + i], n_strong[first + i] = counts[pair]
        counts[:n_pairs], mass[:n_pairs] = 0, 0
        pair_starts[feature + 1] = first + n_pairs
    n = pair_starts[-1]
    return Pairs(pair_starts, token_id[:n], n_active[:n], n_top[:n], n_strong[:n], total[:n])


@compiled
def count_previous_tokens(
    starts: Ints, activation: Floats, fired_on: Tokens, top_cut: Floats, n_tokens: int
) -> Ints:
    """The number of distinct tokens before the train firings in a feature's top share, [n_features]."""
    counts = np.zeros(len(starts) - 1, np.int64)
    seen_for = np.full(n_tokens, -1, np.int64)  # the last feature that counted the token: nothing needs clearing
    for feature in range(len(starts) - 1):
        for row in range(starts[feature], starts[feature + 1]):
            if activation[row] >= top_cut[feature] and fired_on[row].is_counted:
                token = fired_on[row].previous_token_id
                counts[feature] += seen_for[token] != feature
                seen_for[token] = feature
    return counts


@compiled
def find_peaks(
    starts: Ints, activation: Floats, fired_on: Tokens
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Floats]:
    """The candidate slots fired in: the feature's index in the bucket, the slot, and its peak, each [n_peaks]."""
    feature_of, slots = np.empty(len(fired_on), np.int32), np.empty(len(fired_on), np.int32)
    peaks = np.empty(len(fired_on), np.float32)
    n_peaks = 0
    for feature in range(len(starts) - 1):
        last = -1  # firings are in corpus order, so those in a slot follow each other
        for row in range(starts[feature], starts[feature + 1]):
            slot = fired_on[row].slot
            if slot < 0:
                continue
            if slot == last:
                peaks[n_peaks - 1] = max(peaks[n_peaks - 1], activation[row])
                continue
            feature_of[n_peaks], slots[n_peaks], peaks[n_peaks] = feature, slot, activation[row]
            last = slot
            n_peaks += 1
    return feature_of[:n_peaks], slots[:n_peaks], peaks[:n_peaks]
