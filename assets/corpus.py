"""The corpus and the SAEs: read once for the whole experiment."""

from typing import TYPE_CHECKING

from assets.graph.declare import table_asset

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published


@table_asset(group="corpus")
def saes(lake: "Lake") -> "list[Published]":
    """One row per SAE of the experiment."""
    from pipeline.firings.forward import write_saes

    return write_saes(lake)


@table_asset(group="corpus")
def documents(lake: "Lake") -> "Published":
    """One row per document of the corpus, duplicates dropped."""
    from pipeline.corpus.documents import write_documents

    return write_documents(lake)


@table_asset(group="corpus")
def tokens(lake: "Lake") -> "Published":
    """One row per token of the subject model's vocabulary."""
    from pipeline.corpus.documents import write_tokens

    return write_tokens(lake)


@table_asset(group="corpus")
def slots(lake: "Lake") -> "Published":
    """One row per slot: a piece of a context from position 1 on, the same for every feature."""
    from pipeline.corpus.slots import write_slots

    return write_slots(lake)
