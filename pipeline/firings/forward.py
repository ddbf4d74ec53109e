"""The forward pass: contexts in, the firings of every SAE out, a shard of the corpus at a time.

One pass serves all SAEs, as deep as the deepest hookpoint. Nothing dense leaves a batch; firings stream into
the store (see `store`), which sorts and writes them beside the next batches.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.config import Config, SaeConfig
from pipeline.errors import LakeError, SubjectError
from pipeline.firings.imported import import_shard
from pipeline.firings.store import FiringBuffer, Firings, count_rows, shard_buffers
from pipeline.fit.verdict import check_fit
from pipeline.lake import Lake, Published
from pipeline.progress import progress
from pipeline.sae import SparseCoder, load_sae
from pipeline.subject.contexts import ContextBatch, pad_contexts
from pipeline.subject.forward import Hookpoint, Subject, load_subject, pass_tokens
from pipeline.subject.hookpoints import resolve_hookpoint, written_hookpoint
from pipeline.subject.transfers import beside_passes, fetch, move
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


def write_activation_shard(lake: Lake, shard: int) -> Published:
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
            readers = {sae.name: open_reader(lake.config, sae, subject.device) for sae in saes}
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


_BATCHES_AHEAD = 4
"""Batches that have been started and whose firings are not taken yet, at most."""


class Reader(NamedTuple):
    """An SAE at its place in the subject model; `writes` is where its directions belong, if not there."""

    coder: SparseCoder
    hookpoint: Hookpoint
    writes: Hookpoint | None = None


def open_reader(config: Config, sae: SaeConfig, device: torch.device) -> Reader:
    """An SAE of the config, loaded onto a device, at its place."""
    coder = load_sae(sae).to(device)
    hookpoint = resolve_hookpoint(config.subject, sae.hookpoint, coder.reads, centred=sae.centred)
    writes = written_hookpoint(
        config.subject, sae.hookpoint, coder.reads, transcodes=coder.transcodes, target=coder.target
    )
    return Reader(coder, hookpoint, writes)


def cache_shard(
    lake: Lake, shard: int, subject: Subject, readers: Mapping[str, Reader], generation: int = 0
) -> tuple[int, float]:
    """One pass over a shard for all SAEs at once; tokens read and seconds taken, writing included."""
    start = time.monotonic()
    with shard_buffers(lake, shard, readers, generation) as buffers:
        n_tokens = n_pending = 0
        contexts = lake.path("contexts", shard=shard, generation=generation)
        total = lake.query("shard_tokens", shard=shard, given={"contexts": [contexts]}).item()
        # One thread owns the buffers, and others sort and write what they hold: a device waits for neither.
        with (
            progress(total, f"activations, shard {shard}", "tokens") as bar,
            ThreadPoolExecutor(_n_writers(), thread_name_prefix="shards") as writers,
            ThreadPoolExecutor(1, thread_name_prefix="firings") as taker,
        ):
            flushed: Future[list[Future[None]]] = taker.submit(list)
            adding: list[Future[None]] = []
            for batch in context_batches(lake, shard, generation):
                adding.append(taker.submit(_add, run_batch(batch, subject, readers), buffers))
                _wait(adding[:-_BATCHES_AHEAD][-1:])
                n_tokens += batch.n_tokens
                n_pending += batch.n_tokens
                if n_pending >= lake.config.machine.flush_tokens:
                    _wait(flushed.result())  # so that no more than two buffers are in memory
                    flushed = taker.submit(_flush, buffers, writers)
                    n_pending = 0
                bar.update(batch.n_tokens)
            _wait([*adding, *flushed.result()])
            _wait(_flush(buffers, writers))
    return n_tokens, time.monotonic() - start


def _n_writers() -> int:
    """Threads that write SAEs' files side by side; of a few cores the pass takes all but one."""
    return max(1, (os.cpu_count() or 1) // 4)


def _add(firings: Callable[[], Iterator[tuple[str, Firings]]], buffers: Mapping[str, FiringBuffer]) -> None:
    """Put a batch's firings into the buffers of their SAEs."""
    for name, found in firings():
        buffers[name].add(found)


def _flush(buffers: Mapping[str, FiringBuffer], writers: ThreadPoolExecutor) -> list["Future[None]"]:
    """Have written what is in the buffers, which are empty then."""
    return [writers.submit(buffer.hand_over()) for buffer in buffers.values()]


def _wait(steps: Sequence["Future[None]"]) -> None:
    """Wait until firings are taken or buffers written. Raises what one of these steps has raised."""
    for each in steps:
        each.result()


def encode_batch(
    batch: ContextBatch, subject: Subject, readers: Mapping[str, Reader]
) -> Iterator[tuple[str, Firings]]:
    """The firings of every SAE in a batch, by SAE name; nothing dense leaves this function.

    Raises SubjectError if the model gives values that are no numbers.
    """
    yield from run_batch(batch, subject, readers)()


def run_batch(
    batch: ContextBatch, subject: Subject, readers: Mapping[str, Reader]
) -> Callable[[], Iterator[tuple[str, Firings]]]:
    """Run the pass; what it returns gives the firings, as `encode_batch` does.

    On a CPU each SAE encodes when the pass is at its hookpoint. A GPU's pass is started and not waited for: the
    tokens are kept there, and encoded, beside the next pass, by whoever wants the firings.
    """
    positions = torch.arange(batch.token_ids.shape[1])
    is_token = positions < batch.lengths[:, None]  # [n, length]
    token_index = (batch.first_index[:, None] + positions)[is_token]  # [n_tokens]
    places = None if bool(is_token.all()) else move(is_token.view(-1).nonzero().view(-1), subject.device)
    encoding: dict[str, Callable[[], Sequence[torch.Tensor]]] = {}

    def take(hookpoint: Hookpoint, value: torch.Tensor) -> None:
        tokens = value.flatten(0, 1)  # [n * length, d_in], and without the padding [n_tokens, d_in]
        tokens = tokens if places is None else tokens.index_select(0, places)
        if not tokens.is_cpu and places is None:
            tokens = tokens.clone()
        for name, reader in readers.items():
            if reader.hookpoint == hookpoint:
                encode = partial(reader.coder.encode, tokens)
                encoding[name] = partial(tuple, encode()) if tokens.is_cpu else encode

    subject.run(batch.token_ids, {reader.hookpoint for reader in readers.values()}, take)
    block = beside_passes(subject.device)

    def firings() -> Iterator[tuple[str, Firings]]:
        with block:
            fetched = {name: fetch(encode()) for name, encode in encoding.items()}
        for name, (tokens, features, activations) in fetched.items():
            found = Firings(features.to(torch.int32).numpy(), token_index[tokens].numpy(), activations.numpy())
            if not np.isfinite(found.activation).all():
                raise SubjectError(
                    f"hookpoint '{readers[name].hookpoint.module}' of '{subject.name}' gave values that are no "
                    "numbers; try subject.dtype float32"
                )
            yield name, found

    return firings


def context_batches(lake: Lake, shard: int, generation: int = 0) -> Iterator[ContextBatch]:
    """A shard's contexts in batches of about `pass_tokens`, of like length within each thousand contexts."""
    at_once = pass_tokens(lake.config)
    file = pq.ParquetFile(lake.path("contexts", shard=shard, generation=generation))
    for rows in file.iter_batches(1024, columns=["context_id", "token_ids"]):
        contexts = list(zip(rows["context_id"].to_pylist(), rows["token_ids"].to_pylist(), strict=True))
        contexts.sort(key=lambda context: (-len(context[1]), context[0]))
        while contexts:
            n_contexts = max(1, at_once // len(contexts[0][1]))
            yield pad_contexts(contexts[:n_contexts], lake.config.corpus.context_length)
            contexts = contexts[n_contexts:]
