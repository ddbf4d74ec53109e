"""Cutting documents into context windows."""

from dataclasses import replace

from pipeline.lake import Lake, Published
from pipeline.make_table import make_table
from pipeline.models.tokenising import bos_prefix


def write_contexts(lake: Lake, shard: int) -> Published:
    """Cut a shard's documents into context windows; a short last context is kept.

    Each generation has its own file; existing files are kept, unless all exist, in which case all are rebuilt.
    """
    lake.require("documents")
    published = [
        make_table(
            lake,
            "contexts",
            shard=shard,
            generation=generation,
            given={"documents": [lake.path("documents", generation=generation)]},
            bos_token_id=bos_prefix(lake.config),
        )
        for generation in lake.missing_generations("contexts", shard=shard)
    ]
    return replace(published[-1], n_rows=sum(each.n_rows for each in published))
