"""The loops that choose sets of tokens: the largest gains of some candidates, and the set of best F1."""

import numpy as np

from pipeline.compiled.rules.candidates import Sets
from pipeline.compiling import Doubles, Int32s, Ints, compiled, inlined

_ROUNDS = 4
"""Of Dinkelbach's iteration; three converge."""


@compiled
def keep(best: Ints, gains: Doubles, n_best: int, token: int, n: int, gain: float) -> int:
    """Insert a token with its number if its gain is among the largest, ties by token; returns how many are kept.

    best: [n_rows, 2], tokens and numbers; gains: [n_rows], descending.
    """
    # 1. Its row: behind all of larger gain, and of equal gain and smaller token.
    row = n_best
    while row > 0 and (gain > gains[row - 1] or (gain == gains[row - 1] and token < best[row - 1, 0])):
        row -= 1
    if gain <= 0 or row == len(best):
        return n_best
    # 2. Move those behind it down by one; the last drops out of a full list.
    n_best = min(n_best + 1, len(best))
    for each in range(n_best - 1, row, -1):
        best[each, 0], best[each, 1], gains[each] = best[each - 1, 0], best[each - 1, 1], gains[each - 1]
    best[row, 0], best[row, 1], gains[row] = token, n, gain
    return n_best


@inlined
def choose_set(
    rows: tuple[int, int],
    token_id: Int32s,
    counts: Doubles,
    base: Doubles,
    first_f1: float,
    discount: float,
    best: Ints,
    gains: Doubles,
) -> tuple[int, float, float]:
    """The set of best F1 from the candidates of one purpose, with at most as many tokens as `best` has rows.

    By Dinkelbach's iteration (1967), which makes a ratio largest by sums alone:

    1. f is the best F1 so far, first that of a single candidate. The set that adds most to 2 hits - f tokens is
       that of the largest gains above 0.
    2. f becomes the F1 of that set. It never falls; once it stays, no set has a larger one.

    rows: its first candidate, and the end; base: targets, base hits and base tokens. Fills in `best`; returns the
    number of tokens, 0 if none gains, and the hits and tokens of the set, with those of the base.
    """
    f1, n_best, n_hits, n_there = first_f1, 0, 0.0, 0.0
    for _ in range(_ROUNDS + 1):
        n_best, n_hits, n_there = 0, base[1], base[2]
        for row in range(rows[0], rows[1]):
            gain = 2 * (counts[row, 0] - discount) - f1 * counts[row, 1]
            n_best = keep(best, gains, n_best, token_id[row], row, gain)
        for place in range(n_best):
            n_hits += counts[best[place, 1], 0]
            n_there += counts[best[place, 1], 1]
        if n_best == 0:
            break
        f1 = 2 * (n_hits - discount * n_best) / (n_there + base[0])
    return n_best, n_hits, n_there


@compiled
def choose_sets(
    starts: Ints,
    token_id: Int32s,
    counts: Doubles,
    bases: Doubles,
    most: Ints,
    limits: Ints,
    discount: float,
) -> Sets:
    """The set of best F1 for each purpose and size limit, by Dinkelbach's iteration.

    starts: [n_purposes + 1], the first candidate of each; token_id: [n]; counts: [n, 2], hits and tokens; bases:
    [n_purposes, 3], targets, base hits and base tokens; most: [n_purposes], the largest limit; limits: ascending.
    """
    n_purposes, n_sets, n_rows = len(starts) - 1, 0, 0
    n_most = n_purposes * len(limits)
    purpose_of, limit_of = np.empty(n_most, np.int64), np.empty(n_most, np.int64)
    firsts, sums = np.zeros(n_most + 1, np.int64), np.empty((n_most, 2))
    tokens = np.empty(len(token_id) * len(limits), np.int32)
    best, gains = np.empty((limits[-1], 2), np.int64), np.empty(limits[-1])
    for purpose in range(n_purposes):
        n_targets, n_base_hits, n_base_tokens = bases[purpose, 0], bases[purpose, 1], bases[purpose, 2]
        first_f1 = -1.0
        for row in range(starts[purpose], starts[purpose + 1]):  # the F1 of each candidate alone
            n_hits = n_base_hits + counts[row, 0] - discount
            first_f1 = max(first_f1, 2 * n_hits / (n_base_tokens + counts[row, 1] + n_targets))
        for limit in range(len(limits)):
            if limits[limit] > most[purpose]:
                break
            rows = (starts[purpose], starts[purpose + 1])
            n_best, n_hits, n_there = choose_set(
                rows, token_id, counts, bases[purpose], first_f1, discount, best[: limits[limit]], gains
            )
            if n_best == 0:
                continue
            purpose_of[n_sets], limit_of[n_sets] = purpose, limit
            sums[n_sets, 0], sums[n_sets, 1] = n_hits, n_there
            for place in range(n_best):
                tokens[n_rows] = best[place, 0]
                n_rows += 1
            n_sets += 1
            firsts[n_sets] = n_rows
    return Sets(purpose_of[:n_sets], limit_of[:n_sets], firsts[: n_sets + 1], tokens[:n_rows], sums[:n_sets])
