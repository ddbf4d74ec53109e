"""How a batch of a table that plug-ins make is made and written: `explanations`, `predictions`."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.asking.batches import Asks, Ledgers, asks_of, open_askers
from pipeline.asking.tools import Batch
from pipeline.lake import Lake, Published
from pipeline.tables.versions import CONTROLS, inputs_of

_LAST = "score_details"
"""The table of a batch that is made last: without it the batch is unfinished."""


def write_batch(
    lake: Lake, ledgers: Ledgers, column: str, sae: str, batch: int, rows: Callable[[Batch, Asks], pa.Table]
) -> Published:
    """Make a batch's rows through its ledgers, and write them in a part for each plug-in that made them.

    Figures: rows by status, requests sent and replayed, tokens; those of further ledgers behind their names.

    Args:
        lake: Where it is made from, and written to.
        ledgers: Who is asked; the first is of the table that is made, one that plug-ins make.
        column: The table's column that holds the plug-in.
        sae, batch: The partition.
        rows: Makes the table's rows from the batch's tables.

    Raises:
        LakeError: What the config's plug-ins read is missing, or another run is at work on the batch.
        ConfigError: The endpoint cannot be used as the config says.
    """
    table = next(iter(ledgers))
    inputs = inputs_of(lake.config, table)
    lake.require(*inputs, sae=sae, batch=batch)
    with (
        open_askers(lake, ledgers, sae, batch) as askers,
        lake.connect(sae, batch, tables=inputs) as connection,
    ):
        made = rows(Batch(lake, connection, sae, batch), asks_of(askers))
    parts = {str(part): made.filter(pc.equal(made[column], part)) for part in lake.parts(table)}
    parts[CONTROLS] = made.filter(pc.invert(pc.is_in(made[column], pa.array(list(parts)))))
    # Of a batch that is made again the tables behind are there, of the rows before: no kill may leave them so.
    lake.withdraw(_LAST, sae=sae, batch=batch)
    published = lake.write_parts(table, parts, sae=sae, batch=batch)
    by_status = dict(pl.DataFrame(made)["status"].value_counts().iter_rows())
    figures = {
        name if ledger == table else f"{ledger}_{name}": figure
        for ledger, asker in zip(ledgers, askers, strict=True)
        for name, figure in asker.figures.items()
    }
    return replace(published, figures={**by_status, **figures})
