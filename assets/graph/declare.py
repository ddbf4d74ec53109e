"""How a function becomes the Dagster asset of a table.

An asset is named for its table, which says what is made at a time, in which job, and what it is: so does
`tables`. Its inputs come from the stages, its code version from the stage hash. The function is given the lake and
its own partition, and returns what it published.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from assets.stopping import raise_if_asked
from pipeline.config import Config
from pipeline.errors import faults, sentence_of
from pipeline.tables import TABLES, Table, Unit
from pipeline.tables.schema import type_name
from pipeline.tables.stages import STAGES
from pipeline.tables.versions import SourceHashes, inputs_of, stage_hash

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published

Write = Callable[..., "Published | list[Published]"]

AFTER_BATCHES = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
"""A table over all batches is made again after one of them was, though others are missing, where a person has
switched the automation sensor on."""


@dataclass(frozen=True)
class TableAsset:
    """An asset before its experiment is known."""

    table: Table
    write: Write
    pool: str | None = None

    def build(self, config: Config, assets: Mapping[str, "TableAsset"]) -> dg.AssetsDefinition:
        """The asset of one experiment; `assets` are all declared ones by table, to find its inputs among."""
        table, stage = self.table, STAGES[self.table.name]
        inputs = (*inputs_of(config, table.name), *stage.gates)
        columns = [
            dg.TableColumn(column.name, type_name(column.type), column.words)
            for column in table.columns
        ]

        parts = partitions(config, table.unit)

        @dg.asset(
            key=[config.name, table.name],
            group_name=table.group,
            description=table.row,
            kinds={"duckdb"} if stage.is_sql else {"python"},
            code_version=stage_hash(config, table.name, SourceHashes()),
            metadata={"dagster/column_schema": dg.TableSchema(columns=columns), "key": ", ".join(table.key)},
            partitions_def=parts,
            deps=[self._dependency(config, assets[name]) for name in inputs],
            pool=self.pool,
            automation_condition=AFTER_BATCHES if table.group == "explain_and_score" and not parts else None,
        )
        def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            with failures_for_people():
                raise_if_asked()
                lake = open_lake(config, takes_new=table.name == NEW_DOCUMENTS_ENTER)
                partition = self.partition(context)
                # A table over all partitions is made behind each of them, by runs that share nothing else.
                with lake.alone(table.name, waits=not partition, **partition):
                    published = self.write(lake, **partition)
                return materialization(config, published)

        return asset

    def partition(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> dict[str, Any]:
        """The partition, as the keywords of the function."""
        match self.table.unit:
            case "nothing":
                return {}
            case "shard":
                return {"shard": int(context.partition_key)}
            case "sae":
                return {"sae": context.partition_key}
            case "batch":
                keys = batch_partitions_key(context.partition_key)
                return {"sae": keys.sae, "batch": keys.batch}

    def _dependency(self, config: Config, upstream: "TableAsset") -> dg.AssetDep:
        mapping: dg.PartitionMapping | None = None
        unit, own = upstream.table.unit, self.table.unit
        if unit == "sae" and own == "batch":
            mapping = dg.MultiToSingleDimensionPartitionMapping("sae")
        elif unit not in {"nothing", own}:
            # From shards to SAEs Dagster would infer the identity, which maps to nothing.
            mapping = dg.AllPartitionMapping()
        return dg.AssetDep(dg.AssetKey([config.name, upstream.table.name]), partition_mapping=mapping)


def table_asset(write: Write) -> TableAsset:
    """Declare the function below as the asset of the table that it is named for."""
    return TableAsset(TABLES[write.__name__], write)


def asking_asset(write: Write) -> TableAsset:
    """The same for a table whose making asks an LLM: the pool bounds how many are made at once."""
    return TableAsset(TABLES[write.__name__], write, pool="llm")


def sql_asset(table: str) -> TableAsset:
    """The asset of a table that is made by its SQL alone."""

    def write(lake: "Lake", **partition: Any) -> "Published":
        from pipeline.make_table import make_table

        return make_table(lake, table, **partition)

    return TableAsset(TABLES[table], write)


class BatchKey(NamedTuple):
    """A batch of an SAE's features."""

    sae: str
    batch: int

    @property
    def partition(self) -> str:
        """Dagster's key of it; the dimensions stand in the order of their names."""
        return f"{self.batch:05d}|{self.sae}"


def batch_partitions_key(key: str) -> BatchKey:
    """The batch that a partition key names; given by a tag, it is a plain string."""
    batch, _, sae = key.partition("|")
    return BatchKey(sae, int(batch))


def partitions(config: Config, by: Unit) -> dg.PartitionsDefinition | None:
    """The partitions of an experiment: its shards, its SAEs, or SAEs times batches of feature ids."""
    match by:
        case "nothing":
            return None
        case "shard":
            return dg.StaticPartitionsDefinition([f"{shard:05d}" for shard in range(config.corpus.shards)])
        case "sae":
            return dg.StaticPartitionsDefinition(list(config.sae_names))
        case "batch":
            batches = [f"{batch:05d}" for batch in range(config.n_batches)]
            return dg.MultiPartitionsDefinition(
                {
                    "sae": dg.StaticPartitionsDefinition(list(config.sae_names)),
                    "batch": dg.StaticPartitionsDefinition(batches),
                }
            )


_open_lakes: dict[str, "Lake"] = {}


NEW_DOCUMENTS_ENTER = "documents"
"""The table whose making takes documents that were added to the corpus. All else goes on with those recorded."""


def open_lake(config: Config, *, takes_new: bool = False) -> "Lake":
    """The experiment's lake after its preflight, which runs once per process, and when new documents are taken."""
    from pipeline.preflight import preflight

    key = f"{config.lake_folder} {config.model_dump_json()}"
    if takes_new and key in _open_lakes:
        from pipeline.sources import new_documents

        takes_new = bool(new_documents(config).names)
    if key not in _open_lakes or takes_new:
        _open_lakes[key] = preflight(config, takes_new=takes_new)
    return _open_lakes[key]


@contextmanager
def failures_for_people() -> Iterator[None]:
    """Turn an error that is no bug of ours into a step failure that says it in one sentence."""
    try:
        yield
    except faults() as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        raise dg.Failure(description=sentence, allow_retries=False) from None


def materialization(config: Config, published: "Published | list[Published]") -> dg.MaterializeResult[Any]:
    """Row count, figures, a sample and, where there is one, a plot: what Dagster shows of a table."""
    from pipeline.show.plots import plot_png
    from pipeline.show.terminal import sample_markdown

    parts = published if isinstance(published, list) else [published]
    table, lake = parts[0].table, open_lake(config)
    metadata: dict[str, Any] = {
        "dagster/row_count": sum(part.n_rows for part in parts),
        "path": dg.MetadataValue.path(parts[0].path),
        "sample": dg.MetadataValue.md(sample_markdown(parts[0])),
    }
    for part in parts:
        metadata |= part.figures
    png = plot_png(lake, table, parts[0])
    if png:
        metadata["plot"] = dg.MetadataValue.md(f"![{table}](data:image/png;base64,{png})")
    return dg.MaterializeResult(metadata=metadata)
