"""The table `activation_shards`: the firings of every SAE in a shard of the corpus."""

from functools import partial

from pipeline.errors import LakeError
from pipeline.firings.forward import open_encoder
from pipeline.firings.imported import import_shard
from pipeline.firings.shards import cache_shard
from pipeline.firings.store import count_rows
from pipeline.fit.verdict import check_fit
from pipeline.lake import Lake, Published
from pipeline.subject.forward import load_subject


def write_activation_shards(lake: Lake, shard: int) -> Published:
    """Run the subject model over a shard of contexts and write the firings of every SAE that lacks them.

    If the corpus is a cache, they are read from it. Each generation of the corpus has its own contexts in the
    shard, with their firings, so only added documents are read. Figures: tokens read, firings, and tokens per
    second of the pass. Raises LakeError if the shard has no contexts, SaeError if an SAE does not fit its
    hookpoint, and CorpusError if a cache cannot be read.
    """
    lake.require("saes")
    if not lake.has("contexts", shard=shard):
        raise LakeError(
            f"shard {shard} of 'contexts' has not been made; materialise '{lake.config.name}/contexts' first, "
            "as make run does"
        )
    generations = lake.generations("activation_shards")
    has = partial(lake.has, "activation_shards", shard=shard)
    missing = {
        generation: saes
        for generation in generations
        if (saes := [sae for sae in lake.config.saes if not has(sae=sae.name, generation=generation)])
    }
    n_tokens, seconds, cache = 0, 0.0, lake.config.corpus.cache
    if missing:
        check_fit(lake, [sae for sae in lake.config.saes if any(sae in saes for saes in missing.values())])
    if missing and cache is None:
        subject = load_subject(lake.config.subject, lake.config.device)
    for generation, saes in missing.items():
        if cache is not None:
            n_read, took = import_shard(lake, shard, saes, cache.folder)
        else:
            readers = {sae.name: open_encoder(lake.config, sae, subject.device) for sae in saes}
            n_read, took = cache_shard(lake, shard, subject, readers, generation)
        n_tokens, seconds = n_tokens + n_read, seconds + took
    path = partial(lake.path, "activation_shards", shard=shard)
    paths = [path(sae=sae, generation=each) for sae in lake.config.sae_names for each in generations]
    n_rows = sum(map(count_rows, paths))
    figures: dict[str, float | int | str] = {"tokens_read": n_tokens, "firings": n_rows}
    if seconds:
        figures["tokens_per_second"] = round(n_tokens / seconds)
    folder = path(sae=lake.config.sae_names[0], generation=generations[-1])
    return Published("activation_shards", folder, n_rows, figures)
