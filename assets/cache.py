"""The forward pass, by shard of the corpus: what a GPU worker takes."""

from typing import TYPE_CHECKING

from assets.graph.declare import table_asset

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published


@table_asset(group="cache", by="shard")
def contexts(lake: "Lake", shard: int) -> "Published":
    """One row per context window; a document's contexts are consecutive, none holds two documents."""
    from pipeline.corpus.documents import write_contexts

    return write_contexts(lake, shard)


@table_asset(group="cache", by="shard")
def activation_shards(lake: "Lake", shard: int) -> "Published":
    """One row per firing in one shard, as the forward pass left it: one row group a feature bucket."""
    from pipeline.firings.forward import write_activation_shard

    return write_activation_shard(lake, shard)
