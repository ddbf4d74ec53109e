"""Tables of a batch that are made as in a run but not written: for the pilot and for the estimate."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa

from pipeline.asking.batches import Asks, Ledgers, asks_of, open_askers
from pipeline.asking.tools import Batch
from pipeline.lake import Lake
from pipeline.make_table import read_table
from pipeline.tables import TABLES
from pipeline.tables.stages import BATCH_TABLES, STAGES

Tables = dict[str, pa.Table]


@contextmanager
def unwritten_batch(lake: Lake, sae: str, batch: int, made: Mapping[str, pa.Table]) -> Iterator[Batch]:
    """A batch whose connection sees the tables in `made` in place of those in the lake.

    It sees no predictions of an earlier run: a scorer's rounds decide by its own.
    """
    with lake.connect(sae, batch, made, TABLES.keys() - {"predictions"}) as connection:
        yield Batch(lake, connection, sae, batch)


@contextmanager
def asked_batch(
    lake: Lake, ledgers: Ledgers, sae: str, batch: int, made: Mapping[str, pa.Table]
) -> Iterator[tuple[Batch, Asks]]:
    """The same, and the functions that ask roles about it, each through its ledger of the batch."""
    with (
        open_askers(lake, ledgers, sae, batch, made) as askers,
        unwritten_batch(lake, sae, batch, made) as own,
    ):
        yield own, asks_of(askers)


def unwritten_windows(lake: Lake, sae: str, batch: int, selected: pa.Table) -> Tables:
    """A batch's tables up to its explanations, for the features in `selected` (rows of `selected_features`).

    The result includes `selected`. Tables that only plug-ins read and that the subject model makes are empty.
    """
    made: Tables = {"selected_features": selected}
    for table in BATCH_TABLES:
        if STAGES[table].is_sql:
            made[table] = read_table(lake, table, sae=sae, batch=batch, given=made)
        elif STAGES[table].is_on_demand:
            made[table] = TABLES[table].schema.empty_table()
    return made
