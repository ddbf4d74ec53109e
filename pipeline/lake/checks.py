"""The laws that every lake must keep, as queries for rows that break them."""

from typing import Any

from pipeline.lake import Lake
from pipeline.tables import TABLES
from pipeline.tables.sql import parameters_of, sql_text

_FEATURES_AT_ONCE = 4096


def broken_rows(lake: Lake, check: str, *, sae: str | None = None, **values: Any) -> int:
    """The number of rows that `sql/checks/<check>.sql` finds; 0 if the law holds.

    A law with `$first_feature` and `$end_feature` in its text is checked for some features at a time, to bound the
    memory by their firings.
    """
    name, ranges = f"checks/{check}", [values]
    if sae is not None and "first_feature" in parameters_of(sql_text(name)):
        ranges = [
            {**values, "first_feature": first, "end_feature": first + _FEATURES_AT_ONCE}
            for first in range(0, lake.config.sae(sae).n_features, _FEATURES_AT_ONCE)
        ]
    return sum(lake.query(name, sae=sae, **each).height for each in ranges)


def repeated_keys(
    lake: Lake, table: str, *, sae: str | None = None, shard: int | None = None, batch: int | None = None
) -> int:
    """The number of keys that occur in more than one row of a table, or of one partition.

    Keys cannot be shared between partitions, since each belongs to a feature's batch or a context's shard.
    """
    key = ", ".join(TABLES[table].key)
    given = {table: lake.paths(table, shard=shard)} if shard is not None else None
    with lake.connect(sae, batch, given, tables=[table]) as connection:
        counts = connection.view(table).aggregate(f"{key}, count(*) as n_rows", key)
        return int(counts.filter("n_rows > 1").pl().height)
