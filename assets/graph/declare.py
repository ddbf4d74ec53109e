"""How a table becomes a Dagster asset.

The table's declaration gives the name, the job and the description; its stage gives the inputs, and the stage hash
the code version. The SQL or the function that makes the table gets the lake and the partition, and returns what
it published.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.graph.failures import failures_for_people
from assets.graph.lakes import open_lake
from assets.graph.partitions import partition_keywords, partition_mapping, partitions
from assets.graph.shown import materialization
from assets.processes import tag_own_run
from assets.stopping import raise_if_asked
from pipeline.config import Config
from pipeline.tables import TABLES, Table
from pipeline.tables.schema import type_name
from pipeline.tables.stages import STAGES
from pipeline.tables.versions import SourceHashes, inputs_of, stage_hash

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published

_Write = Callable[..., "Published | list[Published]"]

AFTER_BATCHES = (
    dg.AutomationCondition.eager()
    .without(~dg.AutomationCondition.any_deps_missing())
    .without(~dg.AutomationCondition.any_deps_in_progress())
)
"""Makes a table over all batches again after each batch, even if others are missing or under way, once the
automation sensor is switched on."""

ASKING_POOL = "llm"
"""The Dagster pool of the tables that are made by asking an LLM."""

_NEW_DOCUMENTS_ENTER = "documents"
"""The table that takes in documents added to the corpus. All others use the documents recorded in it."""


@dataclass(frozen=True)
class TableAsset:
    """A table's asset before its experiment is known.

    Attributes:
        table: The table.
        module: The module with the function `write_<table>` that makes it; None if its SQL alone does.
        pool: The Dagster pool that bounds how many partitions are made at once.
    """

    table: Table
    module: str | None
    pool: str | None = None

    def write(self, lake: "Lake", **partition: Any) -> "Published | list[Published]":
        """Make and publish the table or one partition. The module is imported here, not when the graph loads."""
        if self.module is None:
            from pipeline.make_table import make_table

            return make_table(lake, self.table.name, **partition)
        function: _Write = getattr(import_module(self.module), f"write_{self.table.name}")
        return function(lake, **partition)

    def build(self, config: Config, assets: Mapping[str, "TableAsset"]) -> dg.AssetsDefinition:
        """The asset in one experiment; `assets` are its assets by table, among which the inputs are found."""
        table, stage = self.table, STAGES[self.table.name]
        inputs = (*inputs_of(config, table.name), *stage.gates)
        columns = [dg.TableColumn(column.name, type_name(column.type), column.words) for column in table.columns]
        parts = partitions(config, table.unit)

        @dg.asset(
            key=[config.name, table.name],
            group_name=table.group,
            description=table.row,
            kinds={"duckdb"} if stage.is_sql else {"python"},
            code_version=stage_hash(config, table.name, SourceHashes()),
            metadata={"dagster/column_schema": dg.TableSchema(columns=columns), "key": ", ".join(table.key)},
            partitions_def=parts,
            deps=[self._dependency(config, assets[name].table) for name in inputs],
            pool=self.pool,
            automation_condition=AFTER_BATCHES if table.group == "explain_and_score" and not parts else None,
        )
        def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            tag_own_run(context.instance, context.run)
            with failures_for_people():
                raise_if_asked()
                lake = open_lake(config, takes_new=table.name == _NEW_DOCUMENTS_ENTER)
                partition = partition_keywords(table.unit, context)
                # A table over all partitions is made after each of them, by runs that share nothing else.
                with lake.alone(table.name, waits=not partition, **partition):
                    published = self.write(lake, **partition)
                return materialization(lake, published)

        return asset

    def _dependency(self, config: Config, upstream: Table) -> dg.AssetDep:
        mapping = partition_mapping(upstream.unit, self.table.unit)
        return dg.AssetDep(dg.AssetKey([config.name, upstream.name]), partition_mapping=mapping)


def sql_asset(table: str) -> TableAsset:
    """The asset of a table that its SQL alone makes."""
    return TableAsset(TABLES[table], None)


def python_asset(table: str, module: str) -> TableAsset:
    """The asset of a table that `write_<table>` in a module makes."""
    return TableAsset(TABLES[table], module)


def asking_asset(table: str, module: str) -> TableAsset:
    """The same for a table that is made by asking an LLM, in the pool for those."""
    return TableAsset(TABLES[table], module, pool=ASKING_POOL)
