"""The tables `saes` and `activation_shards`: what each SAE is, and the firings of all of them."""

from pathlib import Path

import pyarrow as pa

from pipeline.config import SaeConfig
from pipeline.errors import LakeError
from pipeline.firings.forward import open_encoder
from pipeline.firings.imported import import_shard
from pipeline.firings.shards import cache_shard
from pipeline.firings.store import count_rows
from pipeline.fit.verdict import check_fit
from pipeline.lake import Lake, Published
from pipeline.sae import load_sae
from pipeline.subject.forward import load_subject
from pipeline.tables import TABLES


def write_saes(lake: Lake) -> list[Published]:
    """Write one row an SAE of the config, from its own files. Raises SaeError if one does not load."""
    published = []
    for sae in lake.config.saes:
        if sae.source is None:
            published.append(_write_cached_sae(lake, sae))
            continue
        coder = load_sae(sae)
        lowest, highest = coder.threshold_range or (None, None)
        row = {
            "sae": sae.name,
            "hookpoint": sae.hookpoint,
            "format": coder.format,
            "architecture": coder.architecture,
            "d_in": coder.d_in,
            "n_features": coder.n_features,
            "k": coder.k,
            "threshold_min": lowest,
            "threshold_max": highest,
            "normalisation": coder.normalisation,
            "folded": coder.folded,
            "declared_l0": coder.declared_l0,
            "source": sae.source,
            "revision": coder.revision,
            "weights_hash": lake.hashes.saes[sae.name],
        }
        rows = pa.Table.from_pylist([row], schema=TABLES["saes"].schema)
        published.append(lake.write("saes", rows, sae=sae.name))
    return published


def _write_cached_sae(lake: Lake, sae: SaeConfig) -> Published:
    """The row of an SAE whose firings are read from a cache, and whose weights are not here."""
    folder = lake.config.corpus.cache and lake.config.corpus.cache.folder / sae.hookpoint
    row = {
        "sae": sae.name,
        "hookpoint": sae.hookpoint,
        "format": "delphi",
        "n_features": sae.n_features,
        "source": str(folder),
        "weights_hash": lake.hashes.saes[sae.name],
    }
    return lake.write("saes", pa.Table.from_pylist([row], schema=TABLES["saes"].schema), sae=sae.name)


def write_activation_shards(lake: Lake, shard: int) -> Published:
    """Run the subject model over a shard of contexts and write the firings of every SAE that lacks them.

    Where the corpus is a cache, they are read from that. Each generation of the corpus has its own contexts in the
    shard, and firings of these: documents that are added are all that is read. Figures: tokens read, firings, and
    tokens per second of the pass. Raises SaeError if an SAE does not fit its place, and CorpusError for a cache
    that cannot be read.
    """
    lake.require("saes")
    if not lake.has("contexts", shard=shard):
        raise LakeError(
            f"shard {shard} of 'contexts' is not there; materialise '{lake.config.name}/contexts' first, "
            "as make run does"
        )
    generations = lake.generations("activation_shards")
    missing = {
        generation: saes
        for generation in generations
        if (saes := [sae for sae in lake.config.saes if not _is_there(lake, sae.name, shard, generation)])
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
    n_rows = sum(
        count_rows(_folder(lake, name, shard, generation))
        for name in lake.config.sae_names
        for generation in generations
    )
    figures: dict[str, float | int | str] = {"tokens_read": n_tokens, "firings": n_rows}
    if seconds:
        figures["tokens_per_second"] = round(n_tokens / seconds)
    folder = _folder(lake, lake.config.saes[0].name, shard, generations[-1])
    return Published("activation_shards", folder, n_rows, figures)


def _is_there(lake: Lake, sae: str, shard: int, generation: int) -> bool:
    return lake.has("activation_shards", sae=sae, shard=shard, generation=generation)


def _folder(lake: Lake, sae: str, shard: int, generation: int) -> Path:
    return lake.path("activation_shards", sae=sae, shard=shard, generation=generation)
