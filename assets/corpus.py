"""The corpus and the SAEs: read once for the whole experiment."""

from typing import TYPE_CHECKING

from assets.graph.declare import sql_asset, table_asset

if TYPE_CHECKING:
    from pipeline.lake import Lake, Published


@table_asset
def saes(lake: "Lake") -> "list[Published]":
    from pipeline.sae.write import write_saes

    return write_saes(lake)


@table_asset
def documents(lake: "Lake") -> "Published":
    from pipeline.corpus.documents import write_documents

    return write_documents(lake)


@table_asset
def tokens(lake: "Lake") -> "Published":
    from pipeline.corpus.tokens import write_tokens

    return write_tokens(lake)


@table_asset
def slots(lake: "Lake") -> "Published":
    from pipeline.corpus.slots import write_slots

    return write_slots(lake)


train_words = sql_asset("train_words")


@table_asset
def sae_fit(lake: "Lake") -> "list[Published]":
    from pipeline.fit.write import write_sae_fit

    return write_sae_fit(lake)
