"""What a bucket's firings add up to: for each SQL file that counts firings, a method that gives its rows.

DuckDB's hash tables over (feature, token) and its windows took most of the time of the statistics
(`benchmarks/store.py`); the heuristics on these counts stay in SQL. A test compares each method with its file.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled import count_changes, number_keys, order_segments, sort_segments
from pipeline.config import HeuristicsConfig
from pipeline.firings import Bools, Bucket, Ints, Places

_TENTHS = np.arange(1, 10)


class FeatureTokens(NamedTuple):
    """The pairs of a feature and a token that it fires on in train documents, by feature and token.

    Attributes:
        starts: [n_features + 1], the first pair of each feature, and the number of pairs.
        feature: The place of the feature among the bucket's features, [n_pairs].
        token_id: int32 [n_pairs].
        n_active, n_top, n_strong, sum_activation: As in the table `feature_tokens`, [n_pairs].
    """

    starts: Ints
    feature: Ints
    token_id: npt.NDArray[np.int32]
    n_active: Ints
    n_top: Ints
    n_strong: Ints
    sum_activation: npt.NDArray[np.float64]


class Counts:
    """The counts of one bucket's features; a method gives the rows of the SQL file of its name."""

    def __init__(self, bucket: Bucket, places: Places, heuristics: HeuristicsConfig) -> None:
        self._bucket = bucket
        self._places = places
        self._heuristics = heuristics

    def feature_counts(self) -> pa.Table:
        """`sql/feature_counts.sql`."""
        bucket, n = self._bucket, self._bucket.n_firings
        fires = np.flatnonzero(n)
        ascending = sort_segments(bucket.activation, bucket.starts)
        # The k-th decile is the ceil(k n / 10)-th weakest.
        deciles = bucket.starts[fires, None] + -(-n[fires, None] * _TENTHS // 10) - 1
        first = bucket.feature[bucket.token_index % self._places.context_length == 0]
        slots = self._slot_counts()
        return pa.table(
            {
                "feature": bucket.features[fires],
                "n_active": n[fires],
                "n_active_first": np.bincount(first, minlength=len(n))[fires],
                "max_activation": ascending[bucket.starts[fires + 1] - 1].astype(np.float32),
                "mean_activation": np.bincount(bucket.feature, bucket.activation, len(n))[fires] / n[fires],
                "activation_deciles": _lists(ascending[deciles].astype(np.float32)),
                **{name: column[fires] for name, column in slots.items()},
            }
        )

    def position_counts(self) -> pa.Table:
        """`sql/position_counts.sql`."""
        bucket, length = self._bucket, self._places.context_length
        cells = np.bincount(bucket.feature * length + bucket.token_index % length)
        fired = np.flatnonzero(cells)
        feature = bucket.features[fired // length]
        return pa.table(
            {"feature": feature, "position": fired % length, "n_fired": cells[fired].astype(np.float64)}
        )

    def feature_cuts(self) -> pa.Table:
        """`sql/feature_cuts.sql`."""
        fires = np.flatnonzero(self._train.n_firings)
        return pa.table(
            {
                "feature": self._bucket.features[fires],
                "top_cut": self._top_cut[fires].astype(np.float32),
                "max_activation": self._max_activation[fires].astype(np.float32),
                "strong_cut": self._strong_cut[fires],
            }
        )

    def feature_tokens(self) -> pa.Table:
        """`sql/feature_tokens.sql`, but for the name of the SAE."""
        columns = self._tokens._asdict()
        del columns["starts"]
        return pa.table({**columns, "feature": self._bucket.features[self._tokens.feature]})

    def feature_masses(self) -> pa.Table:
        """`sql/feature_masses.sql`."""
        tokens = self._tokens
        fires = np.flatnonzero(np.diff(tokens.starts))
        starts = tokens.starts[fires]
        masses = np.concatenate([[0], np.cumsum(tokens.sum_activation[self._heaviest])])
        mass = masses[tokens.starts[1:]] - masses[tokens.starts[:-1]]
        before = masses[:-1] - masses[tokens.starts[tokens.feature]]
        is_heavy = before < self._heuristics.top_share * mass[tokens.feature]
        return pa.table(
            {
                "feature": self._bucket.features[fires],
                "n_active_train": np.add.reduceat(tokens.n_active, starts),
                "n_top_tokens": np.add.reduceat(tokens.n_top > 0, starts, dtype=np.int64),
                "n_mass_tokens": np.add.reduceat(is_heavy, starts, dtype=np.int64),
            }
        )

    def heaviest_tokens(self) -> pa.Table:
        """`sql/heaviest_tokens.sql`."""
        tokens = self._tokens
        place = np.arange(len(tokens.feature)) - tokens.starts[tokens.feature] + 1
        is_kept = place <= self._heuristics.top_tokens
        kept = self._heaviest[is_kept]
        return pa.table(
            {
                "feature": self._bucket.features[tokens.feature[kept]],
                "token_id": tokens.token_id[kept],
                "n_active": tokens.n_active[kept],
                "sum_activation": tokens.sum_activation[kept],
                "place": place[is_kept],
            }
        )

    def feature_previous_tokens(self) -> pa.Table:
        """`sql/feature_previous_tokens.sql`."""
        top = self._train.where(self._is_top)
        fires = np.flatnonzero(top.n_firings)
        _, starts = number_keys(self._places.token_id[top.token_index - 1], top.starts)
        return pa.table({"feature": top.features[fires], "n_top_previous_tokens": np.diff(starts)[fires]})

    def slot_peaks(self) -> pa.Table:
        """`sql/slot_peaks.sql`."""
        fired, slot = self._in_slots()
        begins = _changes(fired.feature, slot)
        peak = fired.activation.astype(np.float32)
        peak = np.maximum.reduceat(peak, begins) if len(begins) else peak  # reduceat takes no empty list
        return pa.table({"feature": fired.features[fired.feature[begins]], "slot": slot[begins], "peak": peak})

    def _in_slots(self) -> tuple[Bucket, npt.NDArray[np.int32]]:
        """The firings in candidate slots, and the slot of each, [n]."""
        slot = self._places.slot[self._bucket.token_index]
        return self._bucket.where(slot >= 0), slot[slot >= 0]

    def _slot_counts(self) -> dict[str, Ints]:
        """Candidate slots that a feature fires in, their contexts and documents, by role; each [n_features].

        Firings lie in the order of the corpus: a slot's first one is one whose slot differs from that before.
        """
        fired, slot = self._in_slots()
        is_train = self._places.slot_is_train[slot]
        within = {
            "slots": slot.astype(np.int64),
            "contexts": self._places.slot_context[slot],
            "documents": self._places.slot_document[slot],
        }
        counts: dict[str, Ints] = {}
        for name, place in within.items():
            test, train = count_changes(place, fired.starts, is_train).T
            counts |= {f"n_{name}_train": train, f"n_{name}_test": test}
        return counts

    @cached_property
    def _tokens(self) -> FeatureTokens:
        train = self._train
        token_id = self._places.token_id[train.token_index]
        pair, starts = number_keys(token_id, train.starts)  # pairs in the order of first occurrence
        n_pairs = starts[-1]
        pair_token = np.empty(n_pairs, np.int32)
        pair_token[pair] = token_id
        order = order_segments(pair_token.view(np.uint32), starts)
        is_strong = train.activation > train.spread(self._strong_cut)
        return FeatureTokens(
            starts,
            np.repeat(np.arange(len(train.features)), np.diff(starts)),
            pair_token[order],
            np.bincount(pair, minlength=n_pairs)[order],
            np.bincount(pair[self._is_top], minlength=n_pairs)[order],
            np.bincount(pair[is_strong], minlength=n_pairs)[order],
            np.bincount(pair, train.activation, n_pairs).astype(np.float64)[order],
        )

    @cached_property
    def _heaviest(self) -> Ints:
        """The feature's tokens by their summed activation, the largest first, then by token; [n_pairs]."""
        return order_segments(~self._tokens.sum_activation.view(np.uint64), self._tokens.starts)

    @cached_property
    def _train(self) -> Bucket:
        """The firings in train documents, position 0 left out."""
        return self._bucket.where(self._places.is_counted[self._bucket.token_index])

    @cached_property
    def _is_top(self) -> Bools:
        """Whether a train firing is in its feature's top share by rank, [n_train]."""
        return self._train.activation >= self._train.spread(self._top_cut)

    @cached_property
    def _top_cut(self) -> npt.NDArray[np.floating]:
        """The ceil(share n)-th strongest of a feature's n train firings, [n_features]; 0 where n is 0."""
        n = self._train.n_firings
        return self._of_rank(np.minimum(np.floor(n - n * self._heuristics.top_share).astype(np.int64), n - 1))

    @cached_property
    def _max_activation(self) -> npt.NDArray[np.floating]:
        """The strongest of a feature's train firings, [n_features]; 0 without any."""
        return self._of_rank(self._train.n_firings - 1)

    @cached_property
    def _strong_cut(self) -> npt.NDArray[np.float64]:
        """Above it a train firing is strong, [n_features]."""
        return self._heuristics.strong_share * self._max_activation.astype(np.float64)

    def _of_rank(self, rank: Ints) -> npt.NDArray[np.floating]:
        """Of each feature's train firings the one of this rank, the weakest's being 0; [n_features], 0 for -1."""
        return np.append(self._ascending, 0)[np.where(rank < 0, -1, self._train.starts[:-1] + rank)]

    @cached_property
    def _ascending(self) -> npt.NDArray[np.floating]:
        """A feature's train activations, the weakest first, [n_train]."""
        return sort_segments(self._train.activation, self._train.starts)


COUNTED: dict[str, Callable[[Counts], pa.Table]] = {
    method.__name__: method
    for method in (
        *(Counts.feature_counts, Counts.position_counts, Counts.feature_cuts, Counts.feature_tokens),
        *(Counts.feature_masses, Counts.heaviest_tokens, Counts.feature_previous_tokens, Counts.slot_peaks),
    )
}
"""SQL files whose rows come from here, by name."""


def _changes(feature: Ints, within: npt.NDArray[np.integer]) -> Ints:
    """Rows whose feature or place differs from the row before."""
    differs = np.ones(len(feature), np.bool_)
    differs[1:] = (feature[1:] != feature[:-1]) | (within[1:] != within[:-1])
    return np.flatnonzero(differs)


def _lists(values: npt.NDArray[Any]) -> pa.ListArray:
    """A list a row; values [n_rows, n_values]."""
    n_rows, n_values = values.shape
    return pa.ListArray.from_arrays(np.arange(n_rows + 1, dtype=np.int32) * n_values, values.ravel())
