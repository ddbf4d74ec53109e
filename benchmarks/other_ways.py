"""What compiled loops do, by numpy, Polars, scipy or torch: the fastest way found with each, with equal results.

`kernels` compares them; the arguments are those of the compiled function.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.passes import Occurrences, Tokens
from pipeline.compiled.rules.arrays import class_bits, token_class_bits
from pipeline.compiled.rules.proving import rules_of
from pipeline.compiling import Floats, Int32s, Ints
from pipeline.firings.buckets import ranges, read_features
from pipeline.firings.files import Firings

_TOKEN_BITS = np.uint64(22)
"""Bits of a token id, next to 10 bits for the feature's position in its bucket."""

_FEATURES_AT_ONCE = 1024

Arrays = tuple[npt.NDArray[Any], ...]


def features_of(starts: Ints) -> Ints:
    """For each row, the position of its feature in the bucket."""
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def changes(*columns: npt.NDArray[Any]) -> Ints:
    """The rows that differ from the previous one, including the first."""
    differs = np.zeros(len(columns[0]), bool)
    differs[:1] = True
    for column in columns:
        differs[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(differs)


def in_order_by_numpy(runs: Sequence[Firings], first_feature: int) -> Firings:
    """`firings.files.in_order`, by a radix sort of all rows."""
    feature, token_index, activation = (np.concatenate(column) for column in zip(*runs, strict=True))
    order = np.argsort((feature - first_feature).astype(np.int16), kind="stable")  # a radix sort
    return Firings(feature[order], token_index[order], activation[order])


def count_occurrences_by_numpy(
    starts: Ints,
    activation: Floats,
    at: Tokens,
    slot_context: Ints,
    slot_document: Ints,
    slot_is_train: npt.NDArray[np.bool_],
    context_length: int,
) -> Occurrences:
    """`passes.count_occurrences`."""
    n_features, feature = len(starts) - 1, features_of(starts)
    cell = 2 * (feature * context_length + at["position"]) + at["is_counted"]
    by_position = np.bincount(cell, minlength=2 * n_features * context_length).astype(np.int32)
    mass = np.bincount(feature, activation, n_features).astype(np.float64)
    inside = np.flatnonzero(at["slot"] >= 0)
    feature, slot = feature[inside], at["slot"][inside]
    counts: list[Ints] = []
    for number in (slot, slot_context[slot], slot_document[slot]):
        begins = changes(feature, number)
        side = 2 * feature[begins] + slot_is_train[slot[begins]]
        counts.append(np.bincount(side, minlength=2 * n_features).reshape(-1, 2))
    by_position = by_position.reshape(n_features, context_length, 2)
    return Occurrences(by_position, mass, counts[0], counts[1], counts[2])


def order_strengths_by_numpy(
    starts: Ints, activation: Floats, at: Tokens, top_share: float
) -> tuple[npt.NDArray[Any], ...]:
    """`passes.order_strengths`, by sorting feature, activation and role in one number."""
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


def count_pairs_by_numpy(
    starts: Ints, activation: Floats, at: Tokens, top_cut: Floats, strong_cut: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[Any], ...]:
    """`passes.count_pairs`, by sorting feature, token and activation in one number."""
    train = np.flatnonzero(at["is_counted"])
    keys = features_of(starts)[train].astype(np.uint64) << _TOKEN_BITS
    keys |= at["token_id"][train].astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= activation[train].view(np.uint32)
    keys.sort()
    strength = keys.astype(np.uint32).view(np.float32)
    keys >>= np.uint64(32)
    first = changes(keys)
    n_active = np.diff(first, append=len(keys))
    feature = (keys[first] >> _TOKEN_BITS).astype(np.int64)
    return (
        (keys[first] & np.uint64((1 << int(_TOKEN_BITS)) - 1)).astype(np.int32),
        n_active,
        np.add.reduceat(strength >= np.repeat(top_cut[feature], n_active), first, dtype=np.int64),
        np.add.reduceat(strength > np.repeat(strong_cut[feature], n_active), first, dtype=np.int64),
        np.add.reduceat(strength, first, dtype=np.float64),
    )


def count_previous_tokens_by_numpy(starts: Ints, activation: Floats, at: Tokens, top_cut: Floats) -> Ints:
    """`passes.count_previous_tokens`."""
    top = np.flatnonzero(at["is_counted"] & (activation >= np.repeat(top_cut, np.diff(starts))))
    keys = features_of(starts)[top].astype(np.uint32) << np.uint32(_TOKEN_BITS)
    keys |= at["previous_token_id"][top].astype(np.uint32)
    keys.sort()
    return np.bincount(keys[changes(keys)] >> np.uint32(_TOKEN_BITS), minlength=len(starts) - 1)


def find_peaks_by_numpy(starts: Ints, activation: Floats, at: Tokens) -> tuple[npt.NDArray[Any], ...]:
    """`passes.find_peaks`."""
    inside = np.flatnonzero(at["slot"] >= 0)
    feature, slot = features_of(starts)[inside], at["slot"][inside]
    begins = changes(feature, slot)
    return feature[begins], slot[begins], np.maximum.reduceat(activation[inside], begins)


def count_pairs_by_polars(
    starts: Ints, activation: Floats, at: Tokens, top_cut: Floats, strong_cut: npt.NDArray[np.float64]
) -> Arrays:
    """`passes.count_pairs`, as a group-by."""
    n = np.diff(starts)
    rows = pl.DataFrame(
        {
            "feature": features_of(starts).astype(np.int32),
            "token_id": at["token_id"],
            "activation": activation,
            "is_top": activation >= np.repeat(top_cut, n),
            "is_strong": activation > np.repeat(strong_cut, n),
        }
    ).filter(pl.Series(at["is_counted"]))
    counted = rows.group_by("feature", "token_id").agg(
        pl.len().cast(pl.Int64).alias("n_active"),
        pl.col("is_top", "is_strong").sum().cast(pl.Int64),
        pl.col("activation").cast(pl.Float64).sum(),
    )
    columns = counted.sort("feature", "token_id").drop("feature")
    return tuple(
        columns[name].to_numpy() for name in ("token_id", "n_active", "is_top", "is_strong", "activation")
    )


def count_previous_tokens_by_polars(starts: Ints, activation: Floats, at: Tokens, top_cut: Floats) -> Ints:
    """`passes.count_previous_tokens`, as a group-by."""
    is_top = at["is_counted"] & (activation >= np.repeat(top_cut, np.diff(starts)))
    rows = pl.DataFrame({"feature": features_of(starts)[is_top], "token": at["previous_token_id"][is_top]})
    found = rows.group_by("feature").agg(pl.col("token").n_unique())
    counts = np.zeros(len(starts) - 1, np.int64)
    counts[found["feature"].to_numpy()] = found["token"].to_numpy()
    return counts


def find_peaks_by_polars(starts: Ints, activation: Floats, at: Tokens) -> Arrays:
    """`passes.find_peaks`, as a group-by."""
    rows = pl.DataFrame(
        {"feature": features_of(starts).astype(np.int32), "slot": at["slot"], "activation": activation}
    )
    peaks = rows.filter(pl.col("slot") >= 0).group_by("feature", "slot").agg(pl.col("activation").max())
    return tuple(column.to_numpy() for column in peaks.sort("feature", "slot"))


def most_cofiring_by_scipy(starts: Ints, token: Int32s, n_tokens: int, n_most: int) -> Arrays:
    """`cofirings.most_cofiring`, by a product of sparse matrices for some features at a time.

    The product alone takes longer than the whole of the loop, however the first of each row are found then.
    """
    from scipy.sparse import csr_array

    n_features, n = len(starts) - 1, np.diff(starts)
    fires = csr_array((np.ones(len(token), np.int32), token, starts), shape=(n_features, n_tokens))
    by_token = fires.T.tocsr()
    n_found = np.zeros(n_features, np.int64)
    other, n_both = np.zeros((n_features, n_most), np.int32), np.zeros((n_features, n_most), np.int64)
    for first in range(0, n_features, _FEATURES_AT_ONCE):
        together = fires[first : first + _FEATURES_AT_ONCE] @ by_token
        own = first + np.repeat(np.arange(together.shape[0]), np.diff(together.indptr))
        above = together.data - n[own] * n[together.indices].astype(np.float64) / n_tokens
        kept = np.flatnonzero((above > 0) & (own != together.indices))
        order = kept[np.lexsort((together.indices[kept], -above[kept], own[kept]))]
        lengths = np.bincount(own[order], minlength=first + together.shape[0])[first:]
        place = ranges(np.zeros_like(lengths), lengths)
        cell = own[order][place < n_most], place[place < n_most]
        other[cell], n_both[cell] = together.indices[order][place < n_most], together.data[order][place < n_most]
        n_found[first : first + len(lengths)] = np.minimum(lengths, n_most)
    return n_found, other, n_both


def index_by_token_by_numpy(
    tokens: Tokens, context_length: int, context_document: Int32s, n_tokens: int
) -> Arrays:
    """`inverted_index.index_by_token`."""
    index = np.flatnonzero(tokens["position"] == np.arange(len(tokens)) % context_length)
    indices = index[np.argsort(tokens["token_id"][index], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(tokens["token_id"][index], minlength=n_tokens))])
    counted = indices[tokens["position"][indices] > 0]
    token, document = tokens["token_id"][counted], context_document[counted // context_length]
    first = changes(token, document)
    run_starts = np.concatenate([[0], np.cumsum(np.bincount(token[first], minlength=n_tokens))])
    runs = np.stack([document[first], np.diff(first, append=len(counted))], axis=1).astype(np.int32)
    return starts, indices, run_starts, runs


SUMMED = ("n_fired", "n_predicted", "n_right", "right_right", "wrong_silent")
"""The columns of `rule_sums` that are compared."""


def rule_sums_by_numpy(inputs: Inputs) -> Arrays:
    """`proving.rule_sums`, rule by rule over the whole corpus."""
    rows, documents = inputs.table("proved_rules").sort_by("feature"), inputs.table("corpus_documents")
    tokens, length = inputs.corpus.tokens, inputs.corpus.context_length
    rules, bits = rules_of(rows, class_bits(inputs)), token_class_bits(inputs)
    contexts = np.searchsorted(documents["document_number"].to_numpy(), np.arange(len(tokens) // length), "right")
    document, n_tokens = np.repeat(contexts - 1, length), documents["n_tokens"].to_numpy().astype(np.int64)
    roles = np.unique(documents["role"].to_pylist(), return_inverse=True)[1]
    token_id, position = tokens["token_id"], tokens["position"].astype(np.int64)
    own_bits, is_token = bits[token_id], (position == np.arange(len(tokens)) % length) & (position > 0)
    sums = []
    (bucket,) = read_features(inputs.lake, inputs.sae, rules.feature)
    for rule in range(len(rows)):
        matches = is_token & (position < rules.position_below[rule])
        if len(own := rules.token_ids[rules.token_starts[rule] : rules.token_starts[rule + 1]]):
            matches &= _are_in(own, len(bits))[token_id]
        elif rules.token_bits[rule]:
            matches &= own_bits & rules.token_bits[rule] > 0
        if rules.n_before[rule]:
            before = rules.before_ids[rules.before_starts[rule] : rules.before_starts[rule + 1]]
            is_before = _are_in(before, len(bits))[token_id] | (own_bits & rules.before_bits[rule] > 0)
            is_found = np.zeros(len(tokens), bool)
            for back in range(1, rules.n_before[rule] + 1):
                is_found[back:] |= is_before[:-back] & (position[back:] >= back)
            matches &= is_found != rules.is_excluded[rule]
        fires = np.zeros(len(tokens), bool)
        fires[bucket.token_index[bucket.starts[rule] : bucket.starts[rule + 1]]] = True
        fires &= is_token
        fired, predicted, right = (
            np.bincount(document[each], minlength=len(documents)) for each in (fires, matches, fires & matches)
        )
        columns = [fired, predicted, right, right * right, (predicted - right) * (n_tokens - fired)]
        is_counted = fired + predicted > 0
        for role in range(roles.max() + 1):
            some = is_counted & (roles == role)
            sums.append([column[some].sum() for column in columns] if some.any() else [])
    return tuple(np.array([each for each in sums if each]).T)


def _are_in(token_ids: Int32s, n_tokens: int) -> npt.NDArray[np.bool_]:
    are_in = np.zeros(n_tokens, bool)
    are_in[token_ids] = True
    return are_in


def find_largest_by_torch(pre: Tensor, k: int) -> tuple[Tensor, ...]:
    """`sae.firing.find_largest`."""
    values, features = pre.topk(k, sorted=False)
    fires = values > 0
    return fires.nonzero()[:, 0], features[fires], values[fires]


def find_above_by_torch(pre: Tensor, threshold: Tensor) -> tuple[Tensor, ...]:
    """`sae.firing.find_above`."""
    tokens, features = (pre > threshold).nonzero(as_tuple=True)
    return tokens, features, pre[tokens, features]


def round_rows_by_torch(rows: Tensor) -> tuple[Tensor, ...]:
    """`models.rounding.round_on_cpu`."""
    scales = rows.abs().amax(1, keepdim=True).float().clamp(min=1e-12) / 127
    return (rows.float() * (1 / scales)).round_().to(torch.int8), scales
