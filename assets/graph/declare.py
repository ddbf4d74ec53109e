"""How a table becomes a Dagster asset.

The table's declaration gives the name, the job and the description; its stage gives the inputs and the function
that makes it, and the stage hash the code version. The function gets the lake and the partition, and returns what
it published.
"""

from typing import Any

import dagster as dg

from assets.graph.failures import failures_for_people
from assets.graph.keys import asset_key
from assets.graph.lakes import open_lake
from assets.graph.partitions import partition_keywords, partition_mapping, partitions
from assets.graph.shown import materialization
from assets.processes import tag_own_run
from assets.stopping import raise_if_asked
from pipeline.config import Config
from pipeline.tables import TABLES, Table
from pipeline.tables.inputs import inputs_of
from pipeline.tables.schema import type_name
from pipeline.tables.stages import STAGES
from pipeline.tables.versions import Versions

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


def table_asset(config: Config, table: Table, versions: Versions) -> dg.AssetsDefinition:
    """The asset of a table in one experiment; what makes it is imported when it is made, not with the graph."""
    stage = STAGES[table.name]
    inputs = (*inputs_of(config, table.name), *stage.gates)
    columns = [dg.TableColumn(column.name, type_name(column.type), column.words) for column in table.columns]
    parts = partitions(config, table.unit)

    @dg.asset(
        key=asset_key(config, table.name),
        group_name=table.group,
        description=table.row,
        kinds={"duckdb"} if stage.is_sql else {"python"},
        code_version=versions.of(table.name),
        metadata={"dagster/column_schema": dg.TableSchema(columns=columns), "key": ", ".join(table.key)},
        partitions_def=parts,
        deps=[_dependency(config, TABLES[name], table) for name in inputs],
        pool=ASKING_POOL if stage.plugins else None,
        automation_condition=AFTER_BATCHES if table.group == "explain_and_score" and not parts else None,
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        tag_own_run(context.instance, context.run)
        with failures_for_people():
            raise_if_asked()
            lake = open_lake(config, takes_new=table.name == _NEW_DOCUMENTS_ENTER)
            partition = partition_keywords(table.unit, context)
            # A table over all partitions is made after each of them, by runs that share nothing else.
            with lake.in_use(), lake.alone(table.name, waits=not partition, **partition):
                published = stage.write(lake, **partition)
            return materialization(published)

    return asset


def _dependency(config: Config, upstream: Table, table: Table) -> dg.AssetDep:
    mapping = partition_mapping(upstream.unit, table.unit)
    return dg.AssetDep(asset_key(config, upstream.name), partition_mapping=mapping)
