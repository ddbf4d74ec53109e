"""How much of the bare forward pass the activation store leaves: tokens a second, and their ratio.

Three ways to the same firings, in one process, taken by turns shard by shard on the demo's model, SAE and texts:
the store's own way (reading contexts, padding, the truncated pass, encoding, sorting, Parquet); the bare
truncated pass and encoding of the same batches, of which nothing is kept; and the usual way, the whole model with
its LM head and latents as dense as the SAE is wide (EleutherAI's delphi, `latents/cache.py`). The ratio is the
median over the shards, so that what else the machine does falls on a shard and not on the figure. The shares come
from clocks inside the store's own runs.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from transformers import AutoModelForCausalLM

from benchmarks.figures import Figure, measured, publish
from pipeline.config import Config, SubjectConfig, load_config
from pipeline.corpus.documents import write_contexts, write_documents
from pipeline.firings.forward import (
    ContextBatch,
    Reader,
    context_batches,
    open_reader,
    write_activation_shard,
    write_saes,
)
from pipeline.lake import Lake
from pipeline.lake.sources import fix_sources, open_sources
from pipeline.models.load import find_files, loading
from pipeline.models.precision import dtype_of
from pipeline.sae import SparseCoder
from pipeline.subject.forward import Subject, load_subject

SHARD_TOKENS = 10_000
N_SHARDS = 6
"""The first is written in a process of its own, for its memory; the others are the repeats."""

USUAL_BATCHES = 2
"""Batches of a shard that the usual way reads: its pace is steady, and slow."""


class Pace(NamedTuple):
    """What some tokens took; `inside` is the wall time of the calls that were clocked."""

    n_tokens: int
    wall_s: float
    cpu_s: float
    inside: dict[str, float]


def main() -> None:
    """Measure, print, write `results/caching.json`."""
    with tempfile.TemporaryDirectory() as folder:
        config = _write_corpus(Path(folder))
        alone = measured(_store, config, 0)
        store, bare, usual = measured(_take_turns, config).result
    by_cpu = _ratio(bare, store, "cpu_s")
    share = {what: median(pace.inside[what] / pace.wall_s for pace in store) for what in ("read", "encode")}
    figures = [
        Figure(
            "caching_ratio",
            _ratio(bare, store, "wall_s"),
            "",
            target=0.9,
            better="higher",
            limit=1.0,
            note=f"of the bare pass's tokens/s, median of {len(bare)} shards (by CPU-seconds {by_cpu:.3f})",
        ),
        Figure(
            "caching_tokens_per_s",
            _tokens_per_s(store),
            "1/s",
            better="higher",
            limit=_tokens_per_s(bare),
            note="contexts to sorted shards",
        ),
        Figure("bare_tokens_per_s", _tokens_per_s(bare), "1/s", better="higher", note="truncated pass and encode"),
        Figure(
            "usual_tokens_per_s",
            _tokens_per_s(usual),
            "1/s",
            better="higher",
            note="whole model, dense latents, non-zeros of them; nothing written",
        ),
        Figure("read_share", share["read"], "", better="higher", note="of the store's time: the truncated pass"),
        Figure("encode_share", share["encode"], "", better="higher", note="of the store's time: encoding"),
        Figure("rest_share", 1 - sum(share.values()), "", target=0.1, note="of the store's time: all else"),
        Figure("peak_gib", alone.peak_gib, "GiB", target=2.0, note="one process that writes a shard"),
    ]
    publish("caching", figures)


def _write_corpus(folder: Path) -> Config:
    """The demo's config with a lake of its own in `folder`, up to contexts and saes."""
    demo = load_config(Path(__file__).parents[1] / "config" / "demo.yaml")
    corpus = demo.corpus.model_copy(update={"max_tokens": N_SHARDS * SHARD_TOKENS, "shards": N_SHARDS})
    machine = demo.machine.model_copy(update={"lake": folder, "device": "cpu"})
    config = demo.model_copy(update={"name": "caching", "corpus": corpus, "machine": machine})
    lake = Lake(config, fix_sources(config))
    write_documents(lake)
    for shard in range(N_SHARDS):
        write_contexts(lake, shard)
    write_saes(lake)
    return config


def _open(config: Config) -> Lake:
    return Lake(config, open_sources(config))


def _store(config: Config, shard: int) -> Pace:
    """Write a shard, all in all: nothing of it is left out of the time but loading the model."""
    lake = _open(config)
    load_subject(config.subject, config.device)  # once a process, and kept
    with _clocked(Subject, "read") as read, _clocked(SparseCoder, "encode") as encode:
        wall, cpu = time.perf_counter(), time.process_time()
        published = write_activation_shard(lake, shard)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Pace(int(published.figures["tokens_read"]), wall, cpu, {"read": sum(read), "encode": sum(encode)})


@contextmanager
def _clocked(owner: type, name: str) -> Iterator[list[float]]:
    """The wall seconds of each call of a method while the block lasts."""
    seconds: list[float] = []
    method = getattr(owner, name)

    def clocked(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = method(*arguments)
        seconds.append(time.perf_counter() - start)
        return result

    with patch.object(owner, name, clocked):
        yield seconds


def _take_turns(config: Config) -> tuple[list[Pace], list[Pace], list[Pace]]:
    """Each shard in each of the three ways; the order changes from shard to shard."""
    lake = _open(config)
    subject = load_subject(config.subject, config.device)
    reader = open_reader(config, config.saes[0], subject.device)
    whole = load_whole(config.subject)
    warm_up = next(context_batches(lake, 0))
    _read_bare(subject, reader, [warm_up])
    _read_whole(whole, reader, [warm_up])
    store, bare, usual = [], [], []
    for shard in range(1, N_SHARDS):
        batches = list(context_batches(lake, shard))
        if shard % 2:
            store.append(_store(config, shard))
        bare.append(_timed(batches, lambda batches: _read_bare(subject, reader, batches)))
        if not shard % 2:
            store.append(_store(config, shard))
        usual.append(_timed(batches[:USUAL_BATCHES], lambda batches: _read_whole(whole, reader, batches)))
    return store, bare, usual


def _timed(batches: Sequence[ContextBatch], read: Callable[[Sequence[ContextBatch]], None]) -> Pace:
    wall, cpu = time.perf_counter(), time.process_time()
    read(batches)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Pace(sum(batch.n_tokens for batch in batches), wall, cpu, {})


def _read_bare(subject: Subject, reader: Reader, batches: Sequence[ContextBatch]) -> None:
    """The truncated pass and the encoding of the tokens, padding left out; what comes of it is dropped."""
    for batch in batches:
        states = subject.read(batch.token_ids, [reader.hookpoint])[reader.hookpoint]
        is_token = torch.arange(states.shape[1]) < batch.lengths[:, None]
        reader.coder.encode(states[is_token])


def load_whole(subject: SubjectConfig) -> Any:
    """The model with all its layers and its LM head, in the dtype that the subject has."""
    location = find_files(subject)
    with loading(subject.model):
        model = AutoModelForCausalLM.from_pretrained(
            location.name, dtype=dtype_of(subject.dtype, torch.device("cpu")), **location.arguments
        )
    return model.eval()


@torch.inference_mode()
def _read_whole(model: Any, reader: Reader, batches: Sequence[ContextBatch]) -> None:
    """The usual way: every layer and the LM head, latents [batch, length, n_features], then their non-zeros."""
    states: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    hook = model.base_model.get_submodule(reader.hookpoint.module).register_forward_hook(keep)
    try:
        for batch in batches:
            model(input_ids=batch.token_ids, use_cache=False)
            tokens, features, activations = reader.coder.encode(states.pop().flatten(0, 1))
            latents = torch.zeros(batch.token_ids.numel(), reader.coder.n_features)
            latents[tokens, features] = activations
            latents = latents.view(*batch.token_ids.shape, -1)
            latents.abs().gt(1e-5).nonzero()
            latents[latents.abs() > 1e-5]
    finally:
        hook.remove()


def _ratio(bare: Sequence[Pace], store: Sequence[Pace], seconds: str) -> float:
    """Tokens a second of the store's way over those of the bare one, median over the shards."""
    ratios: list[float] = [
        getattr(one, seconds) / getattr(other, seconds) for one, other in zip(bare, store, strict=True)
    ]
    return median(ratios)


def _tokens_per_s(paces: Sequence[Pace]) -> float:
    return median(pace.n_tokens / pace.wall_s for pace in paces)


if __name__ == "__main__":
    main()
