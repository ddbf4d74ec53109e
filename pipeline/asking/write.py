"""How a batch of a table that plug-ins make is made and written: `explanations`, `predictions`."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.asking.batches import Ask, BatchAsker
from pipeline.asking.roles import RoleName, role_of
from pipeline.asking.tools import Batch
from pipeline.lake import Lake, Published
from pipeline.tables.versions import CONTROLS, inputs_of


def write_batch(
    lake: Lake, table: str, role: RoleName, sae: str, batch: int, rows: Callable[[Batch, Ask], pa.Table]
) -> Published:
    """Make a batch's rows through its ledger, and write them in a part for each plug-in that made them.

    Figures: rows by status, requests sent and replayed, tokens.

    Args:
        lake: Where it is made from, and written to.
        table: One that plug-ins make.
        role: Who is asked; the table's column of that name holds the plug-in.
        sae, batch: The partition.
        rows: Makes the table's rows from the batch's tables.

    Raises:
        LakeError: What the config's plug-ins read is missing, or another run is at work on the batch.
        ConfigError: The endpoint cannot be used as the config says.
    """
    inputs = inputs_of(lake.config, table)
    lake.require(*inputs, sae=sae, batch=batch)
    asker = BatchAsker(lake, table, role_of(lake.config, role), sae, batch)
    with asker, lake.connect(sae, batch, tables=inputs) as connection:
        made = rows(Batch(lake, connection, sae, batch), asker.ask)
    parts = {str(part): made.filter(pc.equal(made[role], part)) for part in lake.parts(table)}
    parts[CONTROLS] = made.filter(pc.invert(pc.is_in(made[role], pa.array(list(parts)))))
    published = lake.write_parts(table, parts, sae=sae, batch=batch)
    by_status = dict(pl.DataFrame(made)["status"].value_counts().iter_rows())
    return replace(published, figures={**by_status, **asker.figures})
