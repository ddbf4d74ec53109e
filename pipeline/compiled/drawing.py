"""Draws of slots for a bucket's features: a function for each SQL file that ranks and draws.

DuckDB computes the hash of every slot; its windows over the slots of each feature and role took most of the time
of the example index (`benchmarks/store.py`). A test compares each function with its file.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.segments import order_segments
from pipeline.compiling import Ints, compiled
from pipeline.firings.buckets import ranges

_DECILES = 10

Columns = dict[str, npt.NDArray[Any]]


class Active:
    """The slots that consecutive features fire in, by side, in corpus order.

    A side is a feature and a role, 2 feature + is_train. (The inputs are not kept here: they keep
    this object, and such a cycle would stay in memory until Python's garbage collector runs.)

    Attributes:
        starts: [n_sides + 1], the first row of each side.
        rows: The columns of `active_slots`, each [n].
    """

    def __init__(self, inputs: Inputs) -> None:
        self.starts, self.rows = by_side(inputs, "active_slots")


def kept_slots(inputs: Inputs) -> pa.Table:
    """`sql/compiled/kept_slots.sql`."""
    active, sampling = inputs.shared(Active), inputs.lake.config.sampling
    starts, rows = active.starts, active.rows
    lot, peak = rows["lot"], rows["peak"]
    n_side = np.diff(starts)
    # 1. Rank the slots of each side by their peaks. The bits of floats above 0 are ordered like the floats.
    by_lot = order_segments(lot, starts)
    rank = np.empty(len(lot), np.int64)
    by_peak = order_segments(~peak.view(np.uint32), starts, by_lot)  # the strongest first, ties by lot
    rank[by_peak] = _count_from(1, n_side)
    decile = _DECILES - (rank - 1) * _DECILES // np.repeat(n_side, n_side)
    # 2. Draw within each cell, a side and a decile, in the order of the lots.
    cell = np.repeat(np.arange(len(n_side)), n_side) * (_DECILES + 1) + decile
    n_cell = np.bincount(cell)
    by_cell = np.argsort(_small(cell[by_lot]), kind="stable")
    decile_draw = np.empty(len(lot), np.int64)
    decile_draw[by_cell] = _count_from(1, n_cell)
    # 3. Keep the first of each cell, and the strongest of each side.
    is_late = decile_draw > sampling.draws_per_decile
    is_kept = ~is_late | (rank[by_lot] <= sampling.top)
    n_kept = np.diff(np.searchsorted(np.flatnonzero(is_kept), starts))
    # 4. Number the kept slots of each side: those drawn for their decile come first; on a test side, the others
    #    have no draw.
    part = 2 * np.repeat(np.arange(len(n_kept)), n_kept) + is_late[is_kept]
    order = np.argsort(_small(part), kind="stable")
    kept, draw = by_lot[is_kept][order], _count_from(1, n_kept).astype(np.int32)
    has_draw = (rows["side"][kept] % 2 == 1) | ~is_late[is_kept][order]
    return pa.table(
        {
            **{name: rows[name][kept] for name in ("side", "slot", "peak")},
            "decile": decile[kept].astype(np.int8),
            "rank": rank[kept].astype(np.int32),
            "draw": pa.array(draw, mask=~has_draw),
            "n_slots": n_cell[cell[kept]].astype(np.int32),
        }
    )


def silent_slots(inputs: Inputs) -> pa.Table:
    """`sql/compiled/silent_slots.sql`."""
    starts, rows = by_side(inputs, "silent_lots", "lot")
    active, is_train, slot = inputs.shared(Active), inputs.corpus.slot_is_train, rows["slot"]
    draw = silent_draws(slot, starts, active.rows["slot"], active.starts, len(is_train))
    kept = np.flatnonzero((draw > 0) & (draw <= inputs.lake.config.sampling.silent_draws))
    side = rows["side"][kept]
    n_slots = np.bincount(is_train, minlength=2)[side % 2] - np.diff(active.starts)[side - _first_side(inputs)]
    counts = {"draw": draw[kept].astype(np.int32), "n_slots": n_slots.astype(np.int32)}
    return pa.table({"side": side, "slot": slot[kept], **counts})


def by_side(inputs: Inputs, table: str, *then: str) -> tuple[Ints, Columns]:
    """The first row of each side of the features, and a table's rows sorted by side and further columns.

    Ties keep their order: for active slots, corpus order.
    """
    columns = inputs.table(table)
    rows = {name: columns[name].to_numpy() for name in columns.schema.names}
    side = rows["side"] - _first_side(inputs)
    order = np.lexsort([_small(keys) for keys in (*(rows[name] for name in then), side)])
    starts = np.concatenate([[0], np.cumsum(np.bincount(side, minlength=2 * len(inputs.features)))])
    return starts, {name: values[order] for name, values in rows.items()}


def _first_side(inputs: Inputs) -> int:
    return 2 * inputs.features.start


def _count_from(first: int, lengths: Ints) -> Ints:
    """For each length, the numbers from `first` on; concatenated."""
    return ranges(np.full(len(lengths), first), lengths)


def _small(keys: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Keys from 0 in the smallest type that holds them: numpy radix-sorts 16-bit keys."""
    return keys.astype(np.min_scalar_type(int(keys.max(initial=0))))


@compiled
def silent_draws(
    slot: npt.NDArray[np.int32],
    starts: Ints,
    active_slot: npt.NDArray[np.int32],
    active_starts: Ints,
    n_slots: int,
) -> Ints:
    """The number of each row among its segment's rows with a silent slot that was not drawn before; else 0.

    slot [n] below n_slots; active_slot [n_active]; starts and active_starts [n_segments + 1].
    """
    draw = np.zeros(len(slot), np.int64)
    # The last segment in which a slot was active or drawn: a mark of an earlier one does not count, so nothing
    # needs clearing.
    segment_of = np.full(n_slots, -1, np.int64)
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
