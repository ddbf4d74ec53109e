"""A batch's tables that ask nobody: each by its SQL, those of the examples from arrays where it pays."""

import duckdb
import pyarrow as pa

from pipeline.compiled.rendering import rendered_windows
from pipeline.compiled.strata import silent_strata
from pipeline.firings.buckets import open_places
from pipeline.lake import Lake, Published
from pipeline.tables.stages import CORPUS_TOKENS, STAGES

_FROM_ARRAYS = {silent_strata.__name__: silent_strata, rendered_windows.__name__: rendered_windows}
_NOT_NEEDED = {"candidate_slots", CORPUS_TOKENS}
"""What the arrays hold already, or are made without."""


def write_batch_table(lake: Lake, table: str, sae: str, batch: int) -> Published:
    """Make one of a batch's tables by its SQL. Raises LakeError if an input is not there."""
    lake.require(*STAGES[table].inputs, sae=sae, batch=batch)
    with lake.connect(sae, batch) as connection:
        return lake.write(table, batch_rows(lake, connection, table, sae, batch), sae=sae, batch=batch)


def batch_rows(
    lake: Lake, connection: duckdb.DuckDBPyConnection, table: str, sae: str, batch: int
) -> pa.RecordBatchReader:
    """The rows of a batch's table; the files before its own fill temporary tables of the connection."""
    *before, last = STAGES[table].steps
    given = {"sae": sae, "batch": batch}
    if not _FROM_ARRAYS.keys() & set(before):
        for name in before:
            lake.create_temporary(connection, name, **given)
        return lake.select(connection, last, **given).to_arrow_reader()
    lake.create_temporary(connection, "candidate_slots", **given)
    with open_places(lake, connection) as places:
        for name in before:
            if name in _FROM_ARRAYS:
                connection.register(name, _FROM_ARRAYS[name](lake, connection, sae, places))
            elif name not in _NOT_NEEDED:
                lake.create_temporary(connection, name, **given)
    return lake.select(connection, last, **given).to_arrow_reader()
