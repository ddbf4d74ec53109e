"""Compiled loops against the fastest plain code that gives the same rows, and against the SQL that defines them.

A loop stays compiled as long as this shows that it pays: the fastest alternative takes at least `PAYS` times its
CPU time, at both scales. All read the same buckets, spread over the SAE, and their results are compared.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import Figure
from benchmarks.synthetic import SAE, Size, open_synthetic
from pipeline.compiled.counting import Counts
from pipeline.compiled.drawing import by_side, silent_draws
from pipeline.compiled.inputs import Inputs
from pipeline.compiled.passes import (
    Occurrences,
    Tokens,
    count_occurrences,
    count_pairs,
    count_previous_tokens,
    find_peaks,
    order_strengths,
)
from pipeline.compiled.segments import order_segments
from pipeline.compiling import Floats, Ints
from pipeline.firings.buckets import Bucket, CorpusTokens, open_corpus_tokens, ranges
from pipeline.firings.files import Firings, in_order
from pipeline.firings.layout import BUCKET_FEATURES, ROUNDED_BITS, n_buckets_of
from pipeline.lake import Lake

PAYS = 1.3
N_BUCKETS = 8

_TOKEN_BITS = np.uint64(22)
"""Bits of a token id, next to 10 bits for the feature's position in its bucket."""


class Kernel(NamedTuple):
    """A compiled function and its alternatives; `feature_counts` needs two functions, and is under the second.

    Attributes:
        compiled: Runs the compiled function on the current inputs.
        plain: The same with numpy.
        sql: The SQL files whose rows it makes; none if it only sorts the input of SQL.
    """

    compiled: Callable[[], Any]
    plain: Callable[[], Any]
    sql: tuple[str, ...] = ()


def measure_kernels(size: Size, folder: Path) -> list[Figure]:
    """CPU seconds of every kernel and of its alternatives, and the ratio of the fastest alternative to it."""
    lake = open_synthetic(size, folder)
    n_buckets = n_buckets_of(size.n_features)
    chosen = range(0, n_buckets, max(n_buckets // N_BUCKETS, 1))
    spent: dict[str, dict[str, float]] = {}
    with lake.connect(SAE) as connection:
        for step in ("candidate_slots", "slot_generations"):
            lake.create_temporary(connection, step, sae=SAE)
        with open_corpus_tokens(lake, connection) as corpus:
            for bucket in (chosen[0], *chosen):  # the first one twice, to compile and load everything
                if bucket == chosen[0]:
                    spent.clear()
                features = range(bucket * BUCKET_FEATURES, (bucket + 1) * BUCKET_FEATURES)
                inputs = Inputs(lake, SAE, features, lambda: corpus, connection)
                for name, kernel in _kernels(inputs).items():
                    times = spent.setdefault(name, dict.fromkeys(("compiled", "numpy"), 0.0))
                    given = _clock(times, "compiled", kernel.compiled)
                    _compare(name, given, _clock(times, "numpy", kernel.plain))
                    for file in kernel.sql:
                        _clock(times, "SQL", lake.select(connection, file, sae=SAE).to_arrow_table)
    return [figure for name, times in spent.items() for figure in _figures(name, times, len(chosen))]


def _figures(name: str, times: Mapping[str, float], n_buckets: int) -> list[Figure]:
    others = {how: seconds for how, seconds in times.items() if how != "compiled"}
    best = min(others, key=lambda how: others[how])
    words = ", ".join(f"{how} {seconds:.2f} s" for how, seconds in others.items())
    return [
        Figure(f"{name}_cpu_s", times["compiled"], "s", note=f"compiled, {n_buckets} buckets"),
        Figure(f"{name}_plain_cpu_s", others[best], "s", note=words),
        Figure(f"{name}_ratio", others[best] / times["compiled"], "", PAYS, "higher", note=f"{best} / compiled"),
    ]


def _clock(times: dict[str, float], how: str, work: Callable[[], Any]) -> Any:
    begin = time.process_time()
    result = work()
    times[how] = times.get(how, 0.0) + time.process_time() - begin
    return result


def _compare(name: str, one: Any, other: Any) -> None:
    """Raise RuntimeError unless both ways gave the same arrays."""
    pairs = zip(_arrays(one), _arrays(other), strict=True)
    if not all(np.array_equal(left, right) for left, right in pairs):
        raise RuntimeError(f"{name}: numpy and the compiled loop give different values")


def _arrays(given: Any) -> Sequence[Any]:
    return given if isinstance(given, tuple) else (given,)


def _kernels(inputs: Inputs) -> dict[str, Kernel]:
    """Every kernel on a bucket's inputs; SQL reads the bucket's tables by their names."""
    lake, corpus, firings, first = inputs.lake, inputs.corpus, inputs.firings, inputs.features.start
    runs = _runs(lake, first // BUCKET_FEATURES)
    starts, activation, at = firings.starts, firings.activation, corpus.tokens[firings.token_index]
    heuristics = lake.config.heuristics
    slots = corpus.slot_context, corpus.slot_document, corpus.slot_is_train
    strengths = order_strengths(starts, activation, at, ROUNDED_BITS, heuristics.top_share)
    strong_cut = heuristics.strong_share * strengths.largest_train.astype(np.float64)
    _make_steps(inputs)
    active_starts, active = by_side(inputs, "active_slots")
    lot_starts, lots = by_side(inputs, "silent_lots", "lot")
    drawn = lots["slot"], lot_starts, active["slot"], active_starts, len(corpus.slot_is_train)
    ordered = starts, activation, at
    return {
        "in_order": Kernel(
            lambda: tuple(in_order(runs, first, BUCKET_FEATURES)), lambda: tuple(_in_order(runs, first))
        ),
        "count_occurrences": Kernel(
            lambda: count_occurrences(*ordered, *slots, corpus.context_length),
            lambda: _count_occurrences(*ordered, *slots, corpus.context_length),
            ("position_counts",),
        ),
        "order_strengths": Kernel(
            lambda: tuple(order_strengths(*ordered, ROUNDED_BITS, heuristics.top_share)),
            lambda: _order_strengths(*ordered, heuristics.top_share),
            ("feature_counts", "feature_cuts"),
        ),
        "count_pairs": Kernel(
            lambda: tuple(count_pairs(*ordered, strengths.top_cut, strong_cut, corpus.n_tokens))[1:],
            lambda: _count_pairs(*ordered, strengths.top_cut, strong_cut),
            ("feature_tokens",),
        ),
        "count_previous_tokens": Kernel(
            lambda: count_previous_tokens(*ordered, strengths.top_cut, corpus.n_tokens),
            lambda: _count_previous_tokens(*ordered, strengths.top_cut),
            ("feature_previous_tokens",),
        ),
        "find_peaks": Kernel(lambda: find_peaks(*ordered), lambda: _find_peaks(*ordered), ("slot_peaks",)),
        "order_segments": Kernel(
            lambda: order_segments(active["lot"], active_starts),
            lambda: np.lexsort((active["lot"], _features(active_starts).astype(np.int16))),
        ),
        "silent_draws": Kernel(lambda: silent_draws(*drawn), lambda: _silent_draws(*drawn), ("silent_slots",)),
    }


def _runs(lake: Lake, bucket: int) -> list[Firings]:
    """A bucket's firings, one run per file of the shards."""
    runs = []
    for shard in range(lake.config.corpus.shards):
        for path in sorted(lake.path("activation_shards", sae=SAE, shard=shard).glob("*.parquet")):
            with pq.ParquetFile(path) as file:
                rows = file.read_row_group(bucket, ["feature", "token_index", "activation"], use_threads=False)
            feature, token_index, activation = (column.to_numpy() for column in rows.columns)
            runs.append(Firings(feature, token_index.astype(np.int64), activation))
    return runs


def _make_steps(inputs: Inputs) -> None:
    """Register the inputs of the SQL files with the connection, as arrays where the pipeline has arrays."""
    counts, made, connection = Counts(inputs), inputs.made, inputs.connection
    connection.register("firings", _firings(inputs.corpus, inputs.firings))
    made |= {"feature_cuts": counts.feature_cuts(), "slot_peaks": counts.slot_peaks()}
    connection.register("slot_peaks", made["slot_peaks"])
    for name in ("active_slots", "silent_lots"):
        made[name] = inputs.lake.select(connection, name, sae=SAE).to_arrow_table()
    for name, rows in made.items():
        connection.register(name, rows)


def _firings(corpus: CorpusTokens, firings: Bucket) -> pa.Table:
    """The rows of `sql/compiled/firings.sql` for a bucket."""
    at = corpus.tokens[firings.token_index]
    feature, slot = _features(firings.starts), at["slot"]
    begins = {name: np.zeros(len(at), bool) for name in ("begins_slot", "begins_context", "begins_document")}
    inside = np.flatnonzero(slot >= 0)
    of = slot[inside].astype(np.int64), corpus.slot_context[slot[inside]], corpus.slot_document[slot[inside]]
    for flags, number in zip(begins.values(), of, strict=True):
        flags[inside[_changes(feature[inside], number)]] = True
    columns = {name: at[name] for name in ("position", "token_id", "previous_token_id")}
    return pa.table(
        {
            "feature": firings.features[feature],
            "activation": firings.activation,
            "is_train": at["is_counted"],
            "slot": pa.array(slot, mask=slot < 0),
            **columns,
            **begins,
        }
    )


def _features(starts: Ints) -> Ints:
    """For each row, the position of its feature in the bucket."""
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def _changes(*columns: npt.NDArray[Any]) -> Ints:
    """The rows that differ from the previous one, including the first."""
    differs = np.zeros(len(columns[0]), bool)
    differs[:1] = True
    for column in columns:
        differs[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(differs)


# The same with numpy --------------------------------------------------------------------------------------


def _in_order(runs: Sequence[Firings], first_feature: int) -> Firings:
    feature, token_index, activation = (np.concatenate(column) for column in zip(*runs, strict=True))
    order = np.argsort((feature - first_feature).astype(np.int16), kind="stable")  # a radix sort
    return Firings(feature[order], token_index[order], activation[order])


def _count_occurrences(
    starts: Ints,
    activation: Floats,
    at: Tokens,
    slot_context: Ints,
    slot_document: Ints,
    slot_is_train: npt.NDArray[np.bool_],
    context_length: int,
) -> Occurrences:
    n_features, feature = len(starts) - 1, _features(starts)
    cell = 2 * (feature * context_length + at["position"]) + at["is_counted"]
    by_position = np.bincount(cell, minlength=2 * n_features * context_length).astype(np.int32)
    mass = np.bincount(feature, activation, n_features).astype(np.float64)
    inside = np.flatnonzero(at["slot"] >= 0)
    feature, slot = feature[inside], at["slot"][inside]
    counts: list[Ints] = []
    for number in (slot, slot_context[slot], slot_document[slot]):
        begins = _changes(feature, number)
        side = 2 * feature[begins] + slot_is_train[slot[begins]]
        counts.append(np.bincount(side, minlength=2 * n_features).reshape(-1, 2))
    by_position = by_position.reshape(n_features, context_length, 2)
    return Occurrences(by_position, mass, counts[0], counts[1], counts[2])


def _order_strengths(
    starts: Ints, activation: Floats, at: Tokens, top_share: float
) -> tuple[npt.NDArray[Any], ...]:
    n = np.diff(starts)
    keys = np.repeat(np.arange(len(n), dtype=np.uint64) << np.uint64(32), n)
    keys |= activation.view(np.uint32)
    keys |= at["is_counted"]
    keys.sort()
    bits = keys.astype(np.uint32)
    train = np.flatnonzero(bits & np.uint32(1))
    ends = np.searchsorted(train, starts)
    n_train = np.diff(ends)
    fires, trains = np.flatnonzero(n), np.flatnonzero(n_train)
    n_below = np.minimum(np.floor(n_train - n_train * top_share).astype(np.int64), n_train - 1)
    deciles = np.zeros((len(n), 9), np.uint32)
    deciles[fires] = bits[starts[fires, None] + (n[fires, None] * np.arange(1, 10) + 9) // 10 - 1]
    largest, top_cut, largest_train = (np.zeros(len(n), np.uint32) for _ in range(3))
    largest[fires] = bits[starts[fires + 1] - 1]
    top_cut[trains] = bits[train[ends[trains] + n_below[trains]]]
    largest_train[trains] = bits[train[ends[trains + 1] - 1]]
    return _strength(deciles), _strength(largest), n_train, _strength(top_cut), _strength(largest_train)


def _strength(bits: npt.NDArray[np.uint32]) -> Floats:
    return (bits & ~np.uint32(1)).view(np.float32)


def _count_pairs(
    starts: Ints, activation: Floats, at: Tokens, top_cut: Floats, strong_cut: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], ...]:
    train = np.flatnonzero(at["is_counted"])
    keys = _features(starts)[train].astype(np.uint64) << _TOKEN_BITS
    keys |= at["token_id"][train].astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= activation[train].view(np.uint32)
    keys.sort()
    strength = keys.astype(np.uint32).view(np.float32)
    keys >>= np.uint64(32)
    first = _changes(keys)
    n_active = np.diff(first, append=len(keys))
    feature = (keys[first] >> _TOKEN_BITS).astype(np.int64)
    return (
        (keys[first] & np.uint64((1 << int(_TOKEN_BITS)) - 1)).astype(np.int32),
        n_active,
        np.add.reduceat(strength >= np.repeat(top_cut[feature], n_active), first, dtype=np.int64),
        np.add.reduceat(strength > np.repeat(strong_cut[feature], n_active), first, dtype=np.int64),
        np.add.reduceat(strength, first, dtype=np.float64),
    )


def _count_previous_tokens(starts: Ints, activation: Floats, at: Tokens, top_cut: Floats) -> Ints:
    top = np.flatnonzero(at["is_counted"] & (activation >= np.repeat(top_cut, np.diff(starts))))
    keys = _features(starts)[top].astype(np.uint32) << np.uint32(_TOKEN_BITS)
    keys |= at["previous_token_id"][top].astype(np.uint32)
    keys.sort()
    return np.bincount(keys[_changes(keys)] >> np.uint32(_TOKEN_BITS), minlength=len(starts) - 1)


def _find_peaks(starts: Ints, activation: Floats, at: Tokens) -> tuple[npt.NDArray[Any], ...]:
    inside = np.flatnonzero(at["slot"] >= 0)
    feature, slot = _features(starts)[inside], at["slot"][inside]
    begins = _changes(feature, slot)
    return feature[begins], slot[begins], np.maximum.reduceat(activation[inside], begins)


def _silent_draws(slot: Ints, starts: Ints, active_slot: Ints, active_starts: Ints, n_slots: int) -> Ints:
    keys = _features(starts) * n_slots + slot
    active = _features(active_starts) * n_slots + active_slot
    order = np.argsort(keys, kind="stable")
    found = np.searchsorted(active, keys[order]).clip(max=len(active) - 1)
    is_kept = np.zeros(len(keys), bool)
    is_kept[order[_changes(keys[order])]] = True
    is_kept[order[active[found] == keys[order]]] = False
    n_kept = np.diff(np.concatenate([[0], np.cumsum(is_kept)])[starts])
    draw = np.zeros(len(keys), np.int64)
    draw[is_kept] = ranges(np.ones_like(n_kept), n_kept)
    return draw
