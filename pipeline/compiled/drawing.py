"""Draws of slots for a bucket's features: the rows of `sql/compiled/kept_slots.sql` from arrays.

DuckDB computes the hash of every slot; its windows over the slots of each feature and role took most of the time
of the example index (`benchmarks/store.py`). A test compares the two.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.segments import order_segments
from pipeline.compiling import Ints
from pipeline.firings.buckets import ranges

_DECILES = 10

Columns = dict[str, npt.NDArray[Any]]


def kept_slots(inputs: Inputs) -> pa.Table:
    """`sql/compiled/kept_slots.sql`."""
    sampling = inputs.lake.config.sampling
    starts, rows = by_side(inputs, "active_slots")
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


def by_side(inputs: Inputs, table: str) -> tuple[Ints, Columns]:
    """The first row of each side of the features, [n_sides + 1], and a table's rows sorted by side.

    A side is a feature and a role, 2 feature + is_train. Ties keep their order: for active slots, corpus order.
    """
    columns = inputs.table(table)
    rows = {name: columns[name].to_numpy() for name in columns.schema.names}
    side = rows["side"] - 2 * inputs.features.start
    order = np.argsort(_small(side), kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(side, minlength=2 * len(inputs.features)))])
    return starts, {name: values[order] for name, values in rows.items()}


def _count_from(first: int, lengths: Ints) -> Ints:
    """For each length, the numbers from `first` on; concatenated."""
    return ranges(np.full(len(lengths), first), lengths)


def _small(keys: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Keys from 0 in the smallest type that holds them: numpy radix-sorts 16-bit keys."""
    return keys.astype(np.min_scalar_type(int(keys.max(initial=0))))
