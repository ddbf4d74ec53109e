"""Draws of slots for a bucket's features: for each SQL file that ranks and draws, a method that gives its rows.

DuckDB draws every lot, by its hash; its windows over the slots of each feature and role took most of the time of
the example index (`benchmarks/store.py`). A test compares each method with its file.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs, named
from pipeline.compiled.segments import Ints, compiled, group_rows, is_ordered, order_segments

_DECILES = 10


class Draws:
    """The draws for some features that follow each other; a method gives the rows of the SQL file of its name.

    A side is a feature and a role, 2 feature + is_train.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._first_side, self._n_sides = 2 * inputs.features.start, 2 * len(inputs.features)
        self._places = inputs.places
        self._sampling = inputs.lake.config.sampling

    def kept_slots(self) -> pa.Table:
        """`sql/compiled/kept_slots.sql`."""
        starts, rows = self._active
        lot, peak = rows["lot"].to_numpy(), rows["peak"].to_numpy()
        n_side = np.diff(starts)
        by_lot = order_segments(lot, starts)
        rank = np.empty(len(lot), np.int64)
        by_peak = order_segments(~peak.view(np.uint32), starts, by_lot)  # the strongest first, equal ones by lot
        rank[by_peak] = np.arange(len(lot)) - np.repeat(starts[:-1], n_side) + 1
        decile = _DECILES - (rank - 1) * _DECILES // np.repeat(n_side, n_side)
        cell = np.repeat(np.arange(len(n_side)), n_side) * (_DECILES + 1) + decile
        is_top = (rows["side"].to_numpy() % 2 == 1) & (rank <= self._sampling.top)
        draw = _draws(by_lot, starts, decile, is_top, self._sampling.draws_per_decile)
        kept = by_lot[draw[by_lot] > 0]
        return pa.table(
            {
                **{name: rows[name].take(kept) for name in ("side", "slot", "peak")},
                "decile": decile[kept],
                "rank": rank[kept],
                "draw": draw[kept],
                "n_slots": np.bincount(cell)[cell[kept]],
            }
        )

    def silent_slots(self) -> pa.Table:
        """`sql/compiled/silent_slots.sql`."""
        starts, rows = self._by_side("silent_lots", "lot")
        active_starts, active = self._active
        is_train, slot = self._places.slot_is_train, rows["slot"].to_numpy()
        draw = _silent_draws(slot, starts, active["slot"].to_numpy(), active_starts, len(is_train))
        kept = np.flatnonzero((draw > 0) & (draw <= self._sampling.silent_draws))
        side = rows["side"].to_numpy()[kept]
        n_slots = np.bincount(is_train, minlength=2)[side % 2] - np.diff(active_starts)[side - self._first_side]
        return pa.table({"side": side, "slot": slot[kept], "draw": draw[kept], "n_slots": n_slots})

    def example_index(self) -> pa.Table:
        """`sql/compiled/example_index.sql`."""
        kept, silent = self._inputs.table("kept_slots"), self._inputs.table("silent_slots")
        rows = pa.concat_tables([kept, silent], promote_options="default")
        side, slot = rows["side"].to_numpy(), rows["slot"].to_numpy()
        order = np.argsort(side, kind="stable")
        is_silent = np.arange(len(side)) >= len(kept)
        places = self._places
        columns = {
            "sae": named(self._inputs.sae, len(side)),
            "feature": side // 2,
            "context_id": places.slot_context[slot],
            "start": places.slot_start[slot],
            "peak": rows["peak"],
            "role": pa.DictionaryArray.from_arrays((side % 2).astype(np.int8), ["test", "train"]),
            "kind": pa.DictionaryArray.from_arrays(is_silent.astype(np.int8), ["activating", "silent"]),
            **{name: rows[name] for name in ("decile", "rank", "draw", "n_slots")},
        }
        return pa.table(columns).take(order)

    @cached_property
    def _active(self) -> tuple[Ints, pa.Table]:
        return self._by_side("active_slots", "slot")

    def _by_side(self, table: str, then: str) -> tuple[Ints, pa.Table]:
        """The first row of each of the bucket's sides, and a table's rows by side and another column."""
        rows = self._inputs.table(table).combine_chunks()
        side = rows["side"].to_numpy() - self._first_side
        place, starts = group_rows(side.astype(np.int32), self._n_sides)
        order = np.empty_like(place)
        order[place] = np.arange(len(place))
        keys = rows[then].to_numpy().astype(np.uint32)
        if not is_ordered(keys[order], starts):
            order = order_segments(keys, starts, order)
        return starts, rows.take(order)


@compiled
def _draws(by_lot: Ints, starts: Ints, decile: Ints, is_top: npt.NDArray[np.bool_], n_draws: int) -> Ints:
    """The number of each row among those of its segment that are kept, from 1, in the order of lots; else 0.

    Kept are the first n_draws rows of each decile, and those that are top. by_lot, decile and is_top: [n]; starts
    [n_segments + 1].
    """
    draw = np.zeros(len(by_lot), np.int64)
    seen = np.empty(_DECILES + 1, np.int64)
    for segment in range(len(starts) - 1):
        seen[:] = 0
        n_kept = 0
        for i in range(starts[segment], starts[segment + 1]):
            row = by_lot[i]
            seen[decile[row]] += 1
            if seen[decile[row]] <= n_draws or is_top[row]:
                n_kept += 1
                draw[row] = n_kept
    return draw


@compiled
def _silent_draws(
    slot: npt.NDArray[np.int32],
    starts: Ints,
    active_slot: npt.NDArray[np.int32],
    active_starts: Ints,
    n_slots: int,
) -> Ints:
    """The number of each row among those of its segment whose slot is silent and not drawn before; else 0.

    slot [n] below n_slots; active_slot [n_active]; starts and active_starts [n_segments + 1].
    """
    draw = np.zeros(len(slot), np.int64)
    segment_of = np.full(n_slots, -1, np.int64)  # the last segment that a slot was active or drawn in
    for segment in range(len(starts) - 1):
        for i in range(active_starts[segment], active_starts[segment + 1]):
            segment_of[active_slot[i]] = segment
        n_kept = 0
        for i in range(starts[segment], starts[segment + 1]):
            if segment_of[slot[i]] != segment:
                segment_of[slot[i]] = segment
                n_kept += 1
                draw[i] = n_kept
    return draw
