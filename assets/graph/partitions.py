"""The partitions of an experiment, and how those of one table map to those of another."""

from typing import Any, NamedTuple

import dagster as dg

from pipeline.config import Config
from pipeline.tables import Unit


class BatchKey(NamedTuple):
    """A batch of an SAE's features."""

    sae: str
    batch: int

    @property
    def partition(self) -> str:
        """Its partition key in Dagster, `00012|sae`: dimensions come in alphabetical order of their names."""
        return f"{self.batch:05d}|{self.sae}"


def batch_partitions_key(key: str) -> BatchKey:
    """The batch that a partition key names. Dagster passes the key as a plain string where it comes from a tag."""
    batch, _, sae = key.partition("|")
    return BatchKey(sae, int(batch))


def partitions(config: Config, unit: Unit) -> dg.PartitionsDefinition | None:
    """The partitions of an experiment: its shards, its SAEs, or SAEs times batches of feature ids."""
    match unit:
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


def partition_keywords(
    unit: Unit, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext
) -> dict[str, Any]:
    """The partition that Dagster asks for, as keywords of the function that makes it."""
    match unit:
        case "nothing":
            return {}
        case "shard":
            return {"shard": int(context.partition_key)}
        case "sae":
            return {"sae": context.partition_key}
        case "batch":
            return batch_partitions_key(context.partition_key)._asdict()


def partition_mapping(upstream: Unit, own: Unit) -> dg.PartitionMapping | None:
    """Which partitions of an upstream table one of ours reads; None: Dagster's default."""
    if upstream == "sae" and own == "batch":
        return dg.MultiToSingleDimensionPartitionMapping("sae")
    if upstream not in {"nothing", own}:
        # From shards to SAEs Dagster would infer the identity, which maps to nothing.
        return dg.AllPartitionMapping()
    return None
