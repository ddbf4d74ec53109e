"""The forward pass, by shard of the corpus: what a GPU worker takes."""

from typing import TYPE_CHECKING

from assets.graph.declare import table_asset

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published


@table_asset
def contexts(lake: "Lake", shard: int) -> "Published":
    from pipeline.corpus.contexts import write_contexts

    return write_contexts(lake, shard)


@table_asset
def activation_shards(lake: "Lake", shard: int) -> "Published":
    from pipeline.firings.write import write_activation_shard

    return write_activation_shard(lake, shard)
