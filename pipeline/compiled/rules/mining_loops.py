"""Compiled loops that find candidates for rules; `mining` turns them into rows.

Conditions on a firing's own token have numbers: 0 is none, then come the classes of tokens, then its sets.

A rule of F1 f has 2 hits = f (tokens + targets), where hits are the firings that it matches, tokens all that it
matches, and targets all firings. So a rule beats a floor f if 2 hits - f tokens exceeds f targets, a sum to which
each of its tokens adds 2 hits - f tokens of its own: the token's gain.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled.passes import Tokens
from pipeline.compiled.rules.candidates import Candidates, Limits, Wanted, Windows
from pipeline.compiled.rules.choosing_loops import keep
from pipeline.compiling import Bytes, Doubles, Int32s, Ints, compiled, inlined

N_SETS = 2
"""Token sets per feature: columns of `rule_bases`."""


@compiled
def add_pairs(window: Ints, token: Int32s, other: Int32s, n: Ints, class_bits: Bytes, anywhere: Ints) -> None:
    """Add the counts of each pair to its preceding token: over all tokens, and over each class."""
    for pair in range(len(token)):
        anywhere[window[pair], 0, other[pair]] += n[pair]
        for number in range(anywhere.shape[1] - 1):
            if class_bits[token[pair]] >> number & 1:
                anywhere[window[pair], number + 1, other[pair]] += n[pair]


class Counted(NamedTuple):
    """Counts of tokens before some firings, and the best of them; cleared and reused for each condition.

    Attributes:
        hits: [n_windows, n_tokens], firings with the token in that window and in no smaller one.
        touched: [n_tokens], the tokens with a hit.
        behind, seen: [n_tokens], number of tokens of a set that directly follow each, and the tokens with a count.
        best: [n_kept, 2], the tokens with the largest gains, and the number of tokens that each precedes.
        gains: [n_kept], descending.
    """

    hits: Ints
    touched: Ints
    behind: Ints
    seen: Ints
    best: Ints
    gains: Doubles


@compiled
def count_contexts(
    starts: Ints, token_index: Ints, at: Tokens, wanted: Wanted, windows: Windows, limits: Limits
) -> Candidates:
    """The candidates of the features of a bucket; starts, token_index: their firings.

    `counted` and `is_in_set` are shared by all features and cleared where they were touched, since the vocabulary
    is much larger than what stands before a feature's firings.
    """
    n_sizes, n_conditions, n_tokens = windows.anywhere.shape
    n_features, n_kept = len(wanted.floor), 2 * limits.max_tokens
    # Pages that are never written take no memory.
    most = n_features * (n_kept * ((n_conditions + N_SETS) * n_sizes + N_SETS) + 64)
    rows, n_rows = Candidates(np.empty((most, 5), np.int64), np.empty((most, 5))), 0
    longest = 0
    for feature in range(n_features):
        longest = max(longest, starts[feature + 1] - starts[feature])
    places, members = np.empty(longest, np.int64), np.empty(longest, np.int64)
    counted = Counted(
        np.zeros((n_sizes, n_tokens), np.int64),
        np.empty(n_tokens, np.int64),
        np.zeros(n_tokens, np.int64),
        np.empty(n_tokens, np.int64),
        np.empty((n_kept, 2), np.int64),
        np.empty(n_kept),
    )
    is_in_set = np.zeros(n_tokens, np.bool_)
    for feature in range(n_features):
        floor, n_targets = wanted.floor[feature], 0
        for place in token_index[starts[feature] : starts[feature + 1]]:
            if at[place].is_counted:
                places[n_targets] = place
                n_targets += 1
        n_rows = _add_positions(rows, n_rows, feature, floor, at, places[:n_targets], windows, limits)
        for condition in range(n_conditions + N_SETS):
            # 1. The firings that meet the condition. A rule under it hits at most these: if they would not reach
            #    the floor without a single false alarm, no such rule does.
            tokens = wanted.tokens[:0]
            if condition >= n_conditions:
                of_set = feature * N_SETS + condition - n_conditions
                tokens = wanted.tokens[wanted.starts[of_set] : wanted.starts[of_set + 1]]
            n_members = _list_members(condition, tokens, at, places[:n_targets], windows, is_in_set, members)
            if 2 * n_members <= floor * (n_members + n_targets):
                continue
            # 2. The tokens before them, each counted in the smallest window that reaches it.
            n_touched = 0
            for place in members[:n_members]:
                n_touched = _count_before(at, place, windows.sizes, counted, n_touched)
            is_of = (feature, condition, n_targets)
            # 3. For a set, tokens that must not precede: each takes its hits and tokens off the set's. The set has
            #    a gain of its own, so theirs need only make up the rest.
            if len(tokens):
                n_best, n_set = _find_excluded(tokens, windows, limits, floor, counted)
                if _adds_up(counted.gains, n_best, floor * (n_targets + n_set) - 2 * n_members):
                    n_rows = _add_best(rows, n_rows, is_of, 0, counted, n_best, n_members, n_set)
            # 4. Tokens that must precede, for each window.
            for size in range(n_sizes):
                n_best = _find_needed(size, condition, tokens, windows, limits, floor, counted, n_touched)
                if _adds_up(counted.gains, n_best, floor * n_targets):
                    n_rows = _add_best(rows, n_rows, is_of, size, counted, n_best, 0, 0)
            # 5. Forget the counts.
            for other in counted.touched[:n_touched]:
                for size in range(n_sizes):
                    counted.hits[size, other] = 0
    return Candidates(rows.codes[:n_rows].copy(), rows.sums[:n_rows].copy())


@inlined
def _list_members(
    condition: int,
    tokens: Int32s,
    at: Tokens,
    places: Ints,
    windows: Windows,
    is_in_set: npt.NDArray[np.bool_],
    members: Ints,
) -> int:
    """List the token indices whose token meets a condition (for a set, these tokens); returns their number.

    is_in_set: [n_tokens], false before and after.
    """
    n_members = 0
    # Each place is written where the next member goes, and stays there if it is one: no branch to mispredict.
    if condition < windows.anywhere.shape[1]:
        for place in places:
            members[n_members] = place
            n_members += condition == 0 or windows.class_bits[at[place].token_id] >> (condition - 1) & 1 > 0
        return n_members
    for token in tokens:
        is_in_set[token] = True
    for place in places:
        members[n_members] = place
        n_members += is_in_set[at[place].token_id]
    for token in tokens:
        is_in_set[token] = False
    return n_members


@inlined
def _find_needed(
    size: int,
    condition: int,
    tokens: Int32s,
    windows: Windows,
    limits: Limits,
    floor: float,
    counted: Counted,
    n_touched: int,
) -> int:
    """The tokens in a window whose presence says most that the feature fires: how many are among the best.

    Adds the hits of the next smaller window to those of this one, so windows come in ascending order.
    """
    hits, n_best = counted.hits, 0
    for other in counted.touched[:n_touched]:
        # hits[size] counted nearest occurrences beyond the smaller windows; from here on it counts the window.
        hits[size, other] += hits[size - 1, other] if size > 0 else 0
        if hits[size, other] < limits.min_support:
            continue
        if len(tokens):  # a feature's own set: its pairs are added up
            n_there = _count_pairs_of(windows, size, tokens, other)
        else:  # the same for every feature
            n_there = windows.anywhere[size, condition, other]
        gain = 2 * (hits[size, other] - limits.discount) - floor * n_there
        n_best = keep(counted.best, counted.gains, n_best, other, n_there, gain)
    return n_best


@compiled
def _add_positions(
    rows: Candidates,
    n_rows: int,
    feature: int,
    floor: float,
    at: Tokens,
    places: Ints,
    windows: Windows,
    limits: Limits,
) -> int:
    """Add the positions 1, 2, 4, … below which a feature may fire; places: token indices of its train firings.
    Returns the number of rows."""
    fired_at = np.zeros(len(windows.position_tokens), np.int64)
    for place in places:
        fired_at[at[place].position] += 1
    # n_hits and n_there count the positions before this one; a candidate is due where it is a power of two.
    below, n_hits, n_there = 1, 0, 0
    for position in range(len(fired_at)):
        if position == below:
            if n_hits >= limits.min_support and 2 * n_hits > floor * (n_there + len(places)):
                write(rows, n_rows, (feature, 0, -1, below, 0), (n_hits, n_there, len(places), 0, 0))
                n_rows += 1
            below *= 2
        n_hits += fired_at[position]
        n_there += windows.position_tokens[position]
    return n_rows


@compiled
def _add_best(
    rows: Candidates,
    n_rows: int,
    is_of: tuple[int, int, int],
    size: int,
    counted: Counted,
    n_best: int,
    n_base_hits: int,
    n_base_tokens: int,
) -> int:
    """Add the best tokens for a window; with a base, these must not be in it. Returns the number of rows."""
    feature, condition, n_targets = is_of
    sign = 1 if n_base_tokens == 0 else -1
    for row in range(n_best):
        token, n_there = counted.best[row, 0], counted.best[row, 1]
        sums = (sign * counted.hits[size, token], sign * n_there, n_targets, n_base_hits, n_base_tokens)
        write(rows, n_rows, (feature, condition, size, token, int(sign < 0)), sums)
        n_rows += 1
    return n_rows


@compiled
def write(
    rows: Candidates, row: int, codes: tuple[int, int, int, int, int], sums: tuple[int, int, int, int, int]
) -> None:
    """Write a row."""
    for column in range(5):
        rows.codes[row, column] = codes[column]
        rows.sums[row, column] = sums[column]


@compiled
def _find_excluded(
    tokens: Int32s, windows: Windows, limits: Limits, floor: float, counted: Counted
) -> tuple[int, int]:
    """The tokens after which those of a set seldom fire: the number kept as best, and the set's tokens."""
    behind, seen = counted.behind, counted.seen
    n_seen, n_set, n_best = 0, 0, 0
    # 1. Add up the pairs of the set's tokens in the window of one token. Each token of the corpus is in one pair
    #    there, so their sum is the set's number of tokens.
    for token in tokens:
        for pair in range(windows.starts[0, token], windows.starts[0, token + 1]):
            other = windows.before[pair]
            if behind[other] == 0:
                seen[n_seen] = other
                n_seen += 1
            behind[other] += windows.n_tokens[pair]
            n_set += windows.n_tokens[pair]
    # 2. Excluding a token saves its false alarms and loses its hits: the gain with the sign turned.
    for number in range(n_seen):
        other = seen[number]
        gain = floor * behind[other] - 2 * (counted.hits[0, other] + limits.discount)
        if behind[other] >= limits.min_support:
            n_best = keep(counted.best, counted.gains, n_best, other, behind[other], gain)
        behind[other] = 0
    return n_best, n_set


@compiled
def _count_before(at: Tokens, place: int, sizes: Ints, counted: Counted, n_touched: int) -> int:
    """Count each token before a token index once, in the smallest window that has it; the number of touched."""
    hits, size = counted.hits, 0
    for back in range(1, min(sizes[-1], np.int64(at[place].position)) + 1):
        if back > sizes[size]:
            size += 1
        other = at[place - back].token_id
        # Windows hold few tokens: looking back over them is faster than marking those seen.
        is_nearer = False
        for nearer in range(1, back):
            is_nearer |= at[place - nearer].token_id == other
        if is_nearer:
            continue
        n_hits = 0
        for each in range(len(sizes)):
            n_hits += hits[each, other]
        if n_hits == 0:
            counted.touched[n_touched] = other
            n_touched += 1
        hits[size, other] += 1
    return n_touched


@compiled
def _count_pairs_of(windows: Windows, size: int, tokens: Int32s, other: int) -> int:
    """The number of tokens of a set that have another one in a window."""
    n = 0
    for token in tokens:
        first, end = windows.starts[size, token], windows.starts[size, token + 1]
        last = end
        # A token's pairs ascend: bisect for the first whose other token is not below the one looked for.
        while first < last:
            middle = (first + last) // 2
            if windows.before[middle] < other:
                first = middle + 1
            else:
                last = middle
        if first < end and windows.before[first] == other:
            n += windows.n_tokens[first]
    return n


@compiled
def _adds_up(gains: Doubles, n_best: int, needed: float) -> bool:
    """Whether the gains of a rule's tokens, at most half of those kept, exceed what the floor requires."""
    total = 0.0
    for row in range(min(n_best, len(gains) // 2)):
        total += gains[row]
    return total > needed
