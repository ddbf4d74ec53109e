"""The laws that every lake keeps, as queries for the rows that break them."""

from typing import Any

from pipeline.lake import Lake
from pipeline.tables import TABLES


def broken_rows(lake: Lake, check: str, *, sae: str | None = None, **values: Any) -> int:
    """How many rows `sql/checks/<check>.sql` finds; 0 where the law holds."""
    return lake.query(f"checks/{check}", sae=sae, **values).height


def repeated_keys(
    lake: Lake, table: str, *, sae: str | None = None, shard: int | None = None, batch: int | None = None
) -> int:
    """How many keys of a table stand in more than one row; those of one partition, if it is given.

    No key is of two partitions, as each is of a feature's batch or a context's shard: others need not be read.
    """
    key = ", ".join(TABLES[table].key)
    given = {table: lake.paths(table, shard=shard)} if shard is not None else None
    with lake.connect(sae, batch, given, tables=[table]) as connection:
        counts = connection.view(table).aggregate(f"{key}, count(*) as n_rows", key)
        return int(counts.filter("n_rows > 1").pl().height)
