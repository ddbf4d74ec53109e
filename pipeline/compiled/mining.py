"""What rules are made of: which tokens before a feature's firings say that it fires, and the best sets of tokens.

A firing has as many tokens before it as the widest window, and each may be counted under several conditions on the
firing's own token: none, a class, one of two sets. Kept is what a rule could be made of that beats the feature's
best tokens; of most features nothing is. DuckDB would hash every firing and token before it, and order
the candidates of every set anew in each round. A test compares the rows with those of the SQL files.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.passes import Placed
from pipeline.compiled.predictions import Bits, Numbers, flattened, token_class_bits
from pipeline.compiled.segments import Ints, compiled
from pipeline.firings.buckets import mapped, read_features

Reals = npt.NDArray[np.float64]

N_SETS = 2
"""Sets of tokens a feature, as columns of `rule_bases`."""


class Windows(NamedTuple):
    """What stands before the tokens of the train documents.

    Attributes:
        sizes: [n_windows], tokens before that a window holds, ascending.
        starts: [n_windows, n_tokens + 1], the first pair of each token, and the number of pairs.
        before: int32 [n], the other token of each pair of a window, ascending for each token.
        n_tokens: int32 [n], on how many tokens it stands in the window.
        class_bits: uint8 [n_tokens].
        anywhere: [n_windows, n_classes + 1, n_tokens], on how many tokens each stands in the window: of any token,
            and of the tokens of each class.
        position_tokens: [context_length], tokens at each position.
    """

    sizes: Ints
    starts: Ints
    before: Numbers
    n_tokens: Numbers
    class_bits: Bits
    anywhere: Ints
    position_tokens: Ints


class Wanted(NamedTuple):
    """The features whose contexts are counted, by feature.

    Attributes:
        floor: The F1 that a rule has to reach.
        starts: [n_features x N_SETS + 1], the first token of each of its sets.
        tokens: int32 [n].
    """

    floor: Reals
    starts: Ints
    tokens: Numbers


class Limits(NamedTuple):
    """What a candidate is.

    Attributes:
        min_support: Firings with it before, at least.
        discount: Taken off these.
        max_tokens: Tokens of a rule's set at most; twice as many are candidates.
    """

    min_support: int
    discount: float
    max_tokens: int


class Sets(NamedTuple):
    """Chosen sets.

    Attributes:
        purpose, limit: [n_sets], numbers of what it is for and of its size limit.
        starts: [n_sets + 1], the first token of each.
        token_ids: int32 [n], best token first.
        sums: [n_sets, 2], hits and tokens, with those of the base.
    """

    purpose: Ints
    limit: Ints
    starts: Ints
    token_ids: Numbers
    sums: Reals


class Candidates(NamedTuple):
    """Candidates as columns, [n]: feature as its number in the bucket; condition 0: any token, then the classes,
    then the sets; window -1: not a token but a position; is_excluded: it must not stand before."""

    codes: Ints
    sums: Reals


def context_candidates(inputs: Inputs) -> pa.Table:
    """`sql/compiled/context_candidates.sql`."""
    rules = inputs.lake.config.rules
    bases = inputs.table("rule_bases").sort_by("feature")
    windows = inputs.kept("windows", lambda: _windows(inputs))
    limits = Limits(rules.min_support, rules.discount, rules.chosen_max_tokens)
    feature = bases["feature"].to_numpy().astype(np.int64)
    floor = bases["floor_f1"].to_numpy()
    lists = [flattened(bases[name]) for name in ("near_token_ids", "wide_token_ids")]
    codes, sums = [np.empty((0, 5), np.int64)], [np.empty((0, 5))]
    for bucket in read_features(inputs.lake, inputs.sae, feature):
        low, high = np.searchsorted(feature, [bucket.features[0], bucket.features[-1] + 1])
        found = count_contexts(
            bucket.starts,
            bucket.token_index,
            inputs.places.at,
            Wanted(floor[low:high], *_interleaved(lists, low, high)),
            windows,
            limits,
        )
        found.codes[:, 0] = bucket.features[found.codes[:, 0]]
        codes.append(found.codes)
        sums.append(found.sums)
    return _table(inputs, np.concatenate(codes), np.concatenate(sums), windows)


def rule_sets(inputs: Inputs) -> pa.Table:
    """`sql/compiled/rule_sets.sql`."""
    rules = inputs.lake.config.rules
    parts = [pl.DataFrame(inputs.table(name)) for name in ("rule_candidates", "context_candidates")]
    parts = [parts[0], parts[1].with_columns(target=pl.lit("any"))]
    rows = pl.concat([each.with_columns(*_casts(each)) for each in parts], how="diagonal").with_columns(
        pl.col("is_excluded").fill_null(False), pl.col("n_base_hits", "n_base_tokens").fill_null(0)
    )
    rows = rows.sort(_PURPOSE, maintain_order=True)
    number = rows.select(pl.struct(_PURPOSE).rle_id()).to_series().to_numpy().astype(np.int64)
    starts = np.searchsorted(number, np.arange(number.max(initial=-1) + 2))
    purposes = rows[starts[:-1]]
    limits, is_one = np.array(rules.max_tokens, np.int64), purposes["token_id"].is_null().to_numpy()
    most = np.where(purposes["n_before"].is_null(), limits[-1], rules.chosen_max_tokens)
    sets = choose_sets(
        starts,
        rows["token_id"].fill_null(-1).to_numpy(),
        rows.select("n_hits", "n_tokens").to_numpy(order="c"),
        purposes.select("n_targets", "n_base_hits", "n_base_tokens").to_numpy(order="c"),
        np.where(is_one, limits[0], most),
        limits,
        rules.discount,
        rules.rounds,
    )
    of = pa.array(sets.purpose)
    tokens = pa.array(sets.token_ids, mask=sets.token_ids < 0)
    token_ids = pa.ListArray.from_arrays(sets.starts.astype(np.int32), tokens)
    columns = {name: purposes[name].to_arrow().take(of) for name in (*_PURPOSE, "n_targets")}
    columns |= {"max_tokens": limits[sets.limit].astype(np.int32), "token_ids": token_ids}
    return pa.table(columns | {"n_hits": sets.sums[:, 0], "n_tokens": sets.sums[:, 1]})


_PURPOSE = ("feature", "target", "token_class", "token_set", "n_before", "is_excluded", "position_below")
"""What a set is for: the columns that tell it from the other sets."""


def _casts(rows: pl.DataFrame) -> list[pl.Expr]:
    """Names as texts, numbers as one kind, so that rows of two queries are of one kind."""
    kinds: dict[str, type[pl.DataType]] = {
        **dict.fromkeys(("target", "token_class"), pl.String),
        **dict.fromkeys(("feature", "token_id", "token_set", "n_before", "position_below"), pl.Int32),
    }
    return [pl.col(name).cast(kind) for name, kind in kinds.items() if name in rows.columns]


def _table(inputs: Inputs, codes: Ints, sums: Reals, windows: Windows) -> pa.Table:
    """Candidates as rows of the SQL file."""
    feature, condition, window, term, is_excluded = codes.T
    classes = sorted(set(inputs.table("token_classes")["token_class"].to_pylist()))
    is_position, is_set = window < 0, condition > len(classes)
    names = pa.array([None, *classes, *[None] * N_SETS], pa.string())
    return pa.table(
        {
            "feature": feature.astype(np.int32),
            "token_class": names.take(pa.array(condition)),
            "token_set": pa.array((condition - len(classes)).astype(np.int32), mask=~is_set),
            "n_before": pa.array(windows.sizes[window].astype(np.int32), mask=is_position),
            "is_excluded": is_excluded.astype(bool),
            "token_id": pa.array(term.astype(np.int32), mask=is_position),
            "position_below": pa.array(term.astype(np.int32), mask=~is_position),
            **dict(zip(("n_hits", "n_tokens", "n_targets", "n_base_hits", "n_base_tokens"), sums.T, strict=True)),
        }
    )


def _interleaved(lists: list[tuple[Ints, Numbers]], low: int, high: int) -> tuple[Ints, Numbers]:
    """The sets of the features from `low` to below `high`, feature by feature: starts and tokens."""
    sets = [tokens[starts[row] : starts[row + 1]] for row in range(low, high) for starts, tokens in lists]
    lengths = [len(each) for each in sets]
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return starts, np.concatenate([np.empty(0, np.int32), *sets])


def _windows(inputs: Inputs) -> Windows:
    """What `train_windows` and `train_positions` say, as arrays."""
    sizes = np.array(sorted(inputs.lake.config.rules.windows), np.int64)
    bits = token_class_bits(inputs)
    n_tokens, n_classes = len(bits), int(bits.max(initial=0)).bit_length()
    rows = inputs.connection.table("train_windows")
    (n_pairs,) = rows.count("*").fetchall()[0]
    before, n = (mapped(inputs.lake, n_pairs, np.dtype(np.int32)) for _ in range(2))
    counts = np.zeros((len(sizes), n_tokens), np.int64)
    anywhere = np.zeros((len(sizes), n_classes + 1, n_tokens), np.int64)
    end = 0
    for batch in rows.to_arrow_reader(1 << 20):
        window = np.searchsorted(sizes, batch["n_before"].to_numpy())
        token, other, n_here = (batch[name].to_numpy() for name in ("token_id", "previous_token_id", "n_tokens"))
        begin, end = end, end + len(token)
        before[begin:end], n[begin:end] = other, n_here
        np.add.at(counts, (window, token), 1)
        add_pairs(window, token, other, n_here, bits, anywhere)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    starts = np.stack([firsts[first * n_tokens : (first + 1) * n_tokens + 1] for first in range(len(sizes))])
    positions = inputs.table("train_positions")
    position_tokens = np.zeros(inputs.places.context_length, np.int64)
    position_tokens[positions["position"].to_numpy()] = positions["n_tokens"].to_numpy()
    position_tokens[0] = 0
    return Windows(sizes, starts, before, n, bits, anywhere, position_tokens)


@compiled
def add_pairs(window: Ints, token: Numbers, other: Numbers, n: Ints, class_bits: Bits, anywhere: Ints) -> None:
    """Add each pair's tokens to those that the other token stands before: of any kind, and of each class."""
    for pair in range(len(token)):
        anywhere[window[pair], 0, other[pair]] += n[pair]
        for number in range(anywhere.shape[1] - 1):
            if class_bits[token[pair]] >> number & 1:
                anywhere[window[pair], number + 1, other[pair]] += n[pair]


@compiled
def count_contexts(
    starts: Ints, token_index: Ints, at: Placed, wanted: Wanted, windows: Windows, limits: Limits
) -> Candidates:
    """The candidates of the features of a bucket; starts, token_index: their firings."""
    n_sizes, n_conditions, n_tokens = windows.anywhere.shape
    n_features, n_kept = len(wanted.floor), 2 * limits.max_tokens
    # What is never written takes no memory.
    most = n_features * (n_kept * ((n_conditions + N_SETS) * n_sizes + N_SETS) + 64)
    rows, n_rows = Candidates(np.empty((most, 5), np.int64), np.empty((most, 5))), 0
    longest = 0
    for feature in range(n_features):
        longest = max(longest, starts[feature + 1] - starts[feature])
    places, members = np.empty(longest, np.int64), np.empty(longest, np.int64)
    hits, touched = np.zeros((n_sizes, n_tokens), np.int64), np.empty(n_tokens, np.int64)
    behind, seen = np.zeros(n_tokens, np.int64), np.empty(n_tokens, np.int64)
    best, gains = np.empty((n_kept, 2), np.int64), np.empty(n_kept)
    is_in_set = np.zeros(n_tokens, np.int64)  # the number of the last set, from 1, that a token was in
    for feature in range(n_features):
        floor, n_targets = wanted.floor[feature], 0
        for row in range(starts[feature], starts[feature + 1]):
            if at[token_index[row]].is_counted:
                places[n_targets] = token_index[row]
                n_targets += 1
        n_rows = add_positions(rows, n_rows, feature, floor, at, places[:n_targets], windows, limits)
        for condition in range(n_conditions + N_SETS):
            number_of_set = condition - n_conditions
            of_set = feature * N_SETS + max(number_of_set, 0)
            tokens = wanted.tokens[wanted.starts[of_set] : wanted.starts[of_set + 1]]
            if number_of_set >= 0:
                for token in tokens:
                    is_in_set[token] = of_set + 1
            # 1. The firings under the condition.
            n_members = 0
            for number in range(n_targets):
                token = at[places[number]].token_id
                if number_of_set >= 0:
                    is_under = is_in_set[token] == of_set + 1
                else:
                    is_under = condition == 0 or windows.class_bits[token] >> (condition - 1) & 1 > 0
                members[n_members] = places[number]
                n_members += is_under
            # 2. No rule that says so on some of them alone has a higher F1 than one that does on all of them.
            if 2 * n_members <= floor * (n_members + n_targets):
                continue
            # 3. The tokens before them, by the smallest window that holds each.
            n_touched = 0
            for number in range(n_members):
                n_touched = count_before(at, members[number], windows.sizes, hits, touched, n_touched)
            # 4. What must not stand before, and what has to.
            is_of = (feature, condition, n_targets)
            if number_of_set >= 0:
                n_best, n_set = find_excluded(tokens, windows, hits, limits, floor, behind, seen, best, gains)
                if adds_up(gains, n_best, floor * (n_targets + n_set) - 2 * n_members):
                    n_rows = add_best(rows, n_rows, is_of, 0, best[:n_best], hits, n_members, n_set)
            for size in range(n_sizes):
                n_best = 0
                for number in range(n_touched):
                    other = touched[number]
                    hits[size, other] += hits[size - 1, other] if size > 0 else 0
                    if hits[size, other] < limits.min_support:
                        continue
                    if number_of_set >= 0:
                        n_there = count_pairs_of(windows, size, tokens, other)
                    else:
                        n_there = windows.anywhere[size, condition, other]
                    gain = 2 * (hits[size, other] - limits.discount) - floor * n_there
                    n_best = keep(best, gains, n_best, other, n_there, gain)
                if adds_up(gains, n_best, floor * n_targets):
                    n_rows = add_best(rows, n_rows, is_of, size, best[:n_best], hits, 0, 0)
            for number in range(n_touched):
                for size in range(n_sizes):
                    hits[size, touched[number]] = 0
    return Candidates(rows.codes[:n_rows].copy(), rows.sums[:n_rows].copy())


@compiled
def add_positions(
    rows: Candidates,
    n_rows: int,
    feature: int,
    floor: float,
    at: Placed,
    places: Ints,
    windows: Windows,
    limits: Limits,
) -> int:
    """Add the positions 1, 2, 4, … below which a feature may fire; places: of its train firings. How many rows."""
    fired_at = np.zeros(len(windows.position_tokens), np.int64)
    for place in places:
        fired_at[at[place].position] += 1
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
def add_best(
    rows: Candidates,
    n_rows: int,
    is_of: tuple[int, int, int],
    size: int,
    best: Ints,
    hits: Ints,
    n_base_hits: int,
    n_base_tokens: int,
) -> int:
    """Add tokens for a window; with a base, these must not stand there. How many rows there are."""
    feature, condition, n_targets = is_of
    sign = 1 if n_base_tokens == 0 else -1
    for row in range(len(best)):
        token, n_there = best[row, 0], best[row, 1]
        sums = (sign * hits[size, token], sign * n_there, n_targets, n_base_hits, n_base_tokens)
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
def find_excluded(
    tokens: Numbers,
    windows: Windows,
    hits: Ints,
    limits: Limits,
    floor: float,
    behind: Ints,
    seen: Ints,
    best: Ints,
    gains: Reals,
) -> tuple[int, int]:
    """The tokens behind which those of a set seldom fire: how many are among the best, and the set's tokens."""
    n_seen, n_set, n_best = 0, 0, 0
    for token in tokens:
        for pair in range(windows.starts[0, token], windows.starts[0, token + 1]):
            other = windows.before[pair]
            if behind[other] == 0:
                seen[n_seen] = other
                n_seen += 1
            behind[other] += windows.n_tokens[pair]
            n_set += windows.n_tokens[pair]
    for number in range(n_seen):
        other = seen[number]
        gain = floor * behind[other] - 2 * (hits[0, other] + limits.discount)
        if behind[other] >= limits.min_support:
            n_best = keep(best, gains, n_best, other, behind[other], gain)
        behind[other] = 0
    return n_best, n_set


@compiled
def count_before(at: Placed, place: int, sizes: Ints, hits: Ints, touched: Ints, n_touched: int) -> int:
    """Count the tokens before a place, each once, in the smallest window that holds it; the number of touched."""
    size = 0
    for back in range(1, min(sizes[-1], np.int64(at[place].position)) + 1):
        if back > sizes[size]:
            size += 1
        other = at[place - back].token_id
        is_nearer = False
        for nearer in range(1, back):
            is_nearer |= at[place - nearer].token_id == other
        if is_nearer:
            continue
        n_hits = 0
        for each in range(len(sizes)):
            n_hits += hits[each, other]
        if n_hits == 0:
            touched[n_touched] = other
            n_touched += 1
        hits[size, other] += 1
    return n_touched


@compiled
def count_pairs_of(windows: Windows, size: int, tokens: Numbers, other: int) -> int:
    """On how many tokens of a set another one stands in a window."""
    n = 0
    for token in tokens:
        first, end = windows.starts[size, token], windows.starts[size, token + 1]
        last = end
        while first < last:  # the first pair whose token is not below the other one
            middle = (first + last) // 2
            if windows.before[middle] < other:
                first = middle + 1
            else:
                last = middle
        if first < end and windows.before[first] == other:
            n += windows.n_tokens[first]
    return n


@compiled
def keep(best: Ints, gains: Reals, n_best: int, token: int, n: int, gain: float) -> int:
    """Take a token with its number in where its gain is among the largest, ties by token; how many are in.

    best: [n_rows, 2], tokens and numbers; gains: [n_rows], descending.
    """
    row = n_best
    while row > 0 and (gain > gains[row - 1] or (gain == gains[row - 1] and token < best[row - 1, 0])):
        row -= 1
    if gain <= 0 or row == len(best):
        return n_best
    n_best = min(n_best + 1, len(best))
    for each in range(n_best - 1, row, -1):
        best[each, 0], best[each, 1], gains[each] = best[each - 1, 0], best[each - 1, 1], gains[each - 1]
    best[row, 0], best[row, 1], gains[row] = token, n, gain
    return n_best


@compiled
def adds_up(gains: Reals, n_best: int, needed: float) -> bool:
    """Whether a set, of half of the rows at most, can reach the floor: whether its gains exceed what is needed."""
    total = 0.0
    for row in range(min(n_best, len(gains) // 2)):
        total += gains[row]
    return total > needed


@compiled
def choose_sets(
    starts: Ints,
    token_id: Numbers,
    counts: Reals,
    bases: Reals,
    most: Ints,
    limits: Ints,
    discount: float,
    n_rounds: int,
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
        for row in range(starts[purpose], starts[purpose + 1]):
            n_hits = n_base_hits + counts[row, 0] - discount
            first_f1 = max(first_f1, 2 * n_hits / (n_base_tokens + counts[row, 1] + n_targets))
        for limit in range(len(limits)):
            if limits[limit] > most[purpose]:
                break
            f1, n_best, n_hits, n_there = first_f1, 1, 0.0, 0.0
            for _ in range(n_rounds + 1):
                n_best, n_hits, n_there = 0, n_base_hits, n_base_tokens
                for row in range(starts[purpose], starts[purpose + 1]):
                    gain = 2 * (counts[row, 0] - discount) - f1 * counts[row, 1]
                    n_best = keep(best[: limits[limit]], gains, n_best, token_id[row], row, gain)
                for place in range(n_best):
                    n_hits += counts[best[place, 1], 0]
                    n_there += counts[best[place, 1], 1]
                if n_best == 0:
                    break
                f1 = 2 * (n_hits - discount * n_best) / (n_there + n_targets)
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
