"""Counts over a bucket's firings: a method for each SQL file that counts firings.

DuckDB's hash tables over (feature, token) and its windows took most of the time of the statistics
(`benchmarks/store.py`); heuristics on these counts are in SQL. A test compares each method with its file.
"""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs, named
from pipeline.compiled.passes import (
    Occurrences,
    Pairs,
    Strengths,
    count_occurrences,
    count_pairs,
    count_previous_tokens,
    find_peaks,
    order_strengths,
)
from pipeline.firings.layout import ROUNDED_BITS

STRONG_SHARE = 0.3
"""A firing is strong above this share of the feature's largest train activation."""


class Counts:
    """Counts of one bucket's features; each method gives the rows of the SQL file of its name."""

    def __init__(self, inputs: Inputs) -> None:
        bucket, self._corpus = inputs.firings, inputs.corpus
        self._sae = inputs.sae
        self._features, self._starts = bucket.features, bucket.starts
        self._firings = bucket.starts, bucket.activation, self._corpus.tokens[bucket.token_index]
        self._heuristics = inputs.lake.config.heuristics

    def feature_counts(self) -> pa.Table:
        """`sql/compiled/feature_counts.sql`."""
        n, counted = np.diff(self._starts), self._occurrences
        fires = np.flatnonzero(n)
        within = {"slots": counted.slots, "contexts": counted.contexts, "documents": counted.documents}
        return pa.table(
            {
                "feature": self._features[fires],
                "n_active": n[fires],
                "n_active_first": counted.by_position[fires, 0].sum(axis=-1, dtype=np.int64),
                "max_activation": self._strengths.largest[fires],
                "mean_activation": counted.mass[fires] / n[fires],
                "activation_deciles": _lists(self._strengths.deciles[fires]),
                **{f"n_{name}_train": counts[fires, 1] for name, counts in within.items()},
                **{f"n_{name}_test": counts[fires, 0] for name, counts in within.items()},
            }
        )

    def position_counts(self) -> pa.Table:
        """`sql/compiled/position_counts.sql`."""
        by_position = self._occurrences.by_position
        feature, position = np.nonzero(by_position.any(axis=-1))
        n_fired = by_position[feature, position]
        columns = {
            "feature": self._features[feature].astype(np.int32),
            "position": position.astype(np.int32),
            "n_fired": n_fired.sum(axis=-1, dtype=np.float64),
            "n_fired_train": n_fired[:, 1].astype(np.float64),
        }
        return pa.table(columns)

    def feature_cuts(self) -> pa.Table:
        """`sql/compiled/feature_cuts.sql`."""
        fires = np.flatnonzero(self._strengths.n_train)
        return pa.table(
            {
                "feature": self._features[fires],
                "top_cut": self._strengths.top_cut[fires],
                "max_activation": self._strengths.largest_train[fires],
                "strong_cut": self._strong_cut[fires],
            }
        )

    def feature_tokens(self) -> pa.Table:
        """`sql/compiled/feature_tokens.sql`."""
        pairs = self._pairs
        return pa.table(
            {
                "sae": named(self._sae, len(pairs.token_id)),
                "feature": np.repeat(self._features, np.diff(pairs.starts)),
                "token_id": pairs.token_id,
                "n_active": pairs.n_active,
                "n_top": pairs.n_top,
                "n_strong": pairs.n_strong,
                "sum_activation": pairs.mass,
            }
        )

    def feature_previous_tokens(self) -> pa.Table:
        """`sql/compiled/feature_previous_tokens.sql`."""
        fires = np.flatnonzero(self._strengths.n_train)
        counts = count_previous_tokens(*self._firings, self._strengths.top_cut, self._corpus.n_tokens)
        return pa.table({"feature": self._features[fires], "n_top_previous_tokens": counts[fires]})

    def slot_peaks(self) -> pa.Table:
        """`sql/compiled/slot_peaks.sql`."""
        feature, slot, peak = find_peaks(*self._firings)
        corpus = self._corpus
        is_train = corpus.slot_is_train[slot].astype(np.int8)
        return pa.table(
            {
                "feature": self._features[feature].astype(np.int32),
                "slot": slot,
                "role": pa.DictionaryArray.from_arrays(is_train, ["test", "train"]),
                "context_id": corpus.slot_context[slot],
                "start": corpus.slot_start[slot],
                "peak": peak,
            }
        )

    @cached_property
    def _occurrences(self) -> Occurrences:
        corpus = self._corpus
        return count_occurrences(
            *self._firings, corpus.slot_context, corpus.slot_document, corpus.slot_is_train, corpus.context_length
        )

    @cached_property
    def _strengths(self) -> Strengths:
        return order_strengths(*self._firings, ROUNDED_BITS, self._heuristics.top_share)

    @cached_property
    def _pairs(self) -> Pairs:
        return count_pairs(*self._firings, self._strengths.top_cut, self._strong_cut, self._corpus.n_tokens)

    @cached_property
    def _strong_cut(self) -> npt.NDArray[np.float64]:
        """The activation above which a train firing is strong, [n_features]."""
        return STRONG_SHARE * self._strengths.largest_train.astype(np.float64)


def _lists(values: npt.NDArray[Any]) -> pa.ListArray:
    """One list per row; values [n_rows, n_values]."""
    n_rows, n_values = values.shape
    return pa.ListArray.from_arrays(np.arange(n_rows + 1, dtype=np.int32) * n_values, values.ravel())
