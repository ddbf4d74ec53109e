"""Which of a job's tables already exist in the lake's current version."""

from typing import TYPE_CHECKING

from assets.graph.partitions import partitions
from pipeline.config import Config
from pipeline.tables import TABLES, Table
from pipeline.tables.inputs import is_made

if TYPE_CHECKING:
    from pipeline.lake import Lake


def tables_of(config: Config, job: str) -> list[Table]:
    """The tables that a job makes, in the order in which it makes them."""
    tables = [table for table in TABLES.values() if table.group == job and table.partition != "ledger"]
    return [table for table in tables if is_made(config, table.name)]


def partition_keys(config: Config, job: str) -> list[str | None]:
    """The partitions of a job; [None] if it has none."""
    by = partitions(config, tables_of(config, job)[0].unit)
    return list(by.get_partition_keys()) if by else [None]


def missing_tables(lake: "Lake", job: str, key: str | None) -> tuple[str, ...]:
    """The tables of a job's partition that do not exist yet, and those that every run makes again."""
    tables = tables_of(lake.config, job)
    return tuple(table.name for table in tables if table.is_always_made or not is_there(lake, table, key))


def is_there(lake: "Lake", table: Table, key: str | None) -> bool:
    """Whether a table's files for this partition have been published."""
    match table.unit:
        case "shard":
            saes = lake.config.sae_names if table.is_by_sae else [None]
            return all(lake.has(table.name, sae=sae, shard=int(key or 0)) for sae in saes)
        case "sae":
            return lake.has(table.name, sae=key)
        case _:
            return lake.is_complete(table.name)
