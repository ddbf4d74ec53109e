"""Makes and writes a batch of a table whose rows come from plug-ins: `explanations` or `predictions`."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pyarrow as pa

from pipeline.asking.batches import Asks, Ledgers, asks_of, open_askers
from pipeline.asking.tools import Batch
from pipeline.lake import Lake, Published
from pipeline.tables.inputs import inputs_of

_LAST = "score_details"
"""The table of a batch that is made last: without it the batch is unfinished."""


def write_batch(
    lake: Lake, table: str, ledgers: Ledgers, sae: str, batch: int, rows: Callable[[Batch, Asks], pa.Table]
) -> Published:
    """Make a batch's rows through its ledgers and write one part per plug-in.

    Figures: rows by status, requests sent and replayed, tokens; those of ledgers other than the table's own are
    prefixed with the ledger's name.

    Args:
        lake: The lake to read from and write to.
        table: The table to make.
        ledgers: The roles to ask, by ledger.
        sae, batch: The partition.
        rows: Makes the table's rows from the batch's tables.

    Raises:
        LakeError: A table that the config's plug-ins read is missing, or another run is working on the batch.
        ConfigError: The endpoint cannot be used as configured.
    """
    inputs = inputs_of(lake.config, table)
    lake.require(*inputs, sae=sae, batch=batch)
    with (
        open_askers(lake, ledgers, sae, batch) as askers,
        lake.connect(sae, batch, tables=inputs) as connection,
    ):
        made = rows(Batch(lake, connection, sae, batch), asks_of(askers))
    # Of a batch that is made again the tables behind are there, of the rows before: no kill may leave them so.
    lake.withdraw(_LAST, sae=sae, batch=batch)
    published = lake.write_parts(table, made, sae=sae, batch=batch)
    by_status = dict(pl.DataFrame(made)["status"].value_counts().iter_rows())
    figures = {
        name if ledger == table else f"{ledger}_{name}": figure
        for ledger, asker in zip(ledgers, askers, strict=True)
        for name, figure in asker.figures.items()
    }
    return replace(published, figures={**by_status, **figures})
