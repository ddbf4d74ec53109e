"""Documents are cut into context windows, each with the model's BOS token in front if the config asks for it."""

from dataclasses import replace

from pipeline.errors import CorpusError
from pipeline.lake import Lake, Published
from pipeline.make_table import make_table
from pipeline.models.load import load_tokenizer


def write_contexts(lake: Lake, shard: int) -> Published:
    """Cut a shard's documents into context windows; ends of documents are kept.

    Each generation's go into a file of its own; those that are there stay, unless all are.
    """
    lake.require("documents")
    published = [
        make_table(
            *(lake, "contexts"),
            shard=shard,
            generation=generation,
            given={"documents": [lake.path("documents", generation=generation)]},
            bos_token_id=bos_prefix(lake),
        )
        for generation in lake.missing_generations("contexts", shard=shard)
    ]
    return replace(published[-1], n_rows=sum(each.n_rows for each in published))


def bos_prefix(lake: Lake) -> list[int]:
    """What each context begins with: the BOS token id if the config asks for it, else nothing."""
    if not lake.config.corpus.prepend_bos:
        return []
    bos = load_tokenizer(lake.config.subject).bos_token_id
    if bos is None:
        raise CorpusError(
            f"corpus.prepend_bos is set, but the tokenizer of '{lake.config.subject.model}' has no BOS token"
        )
    return [bos]
