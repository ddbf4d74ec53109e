"""The forward pass: contexts in, the firings of every SAE out.

One pass serves all SAEs, as deep as the deepest hookpoint. Nothing dense leaves a batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch

from pipeline.config import Config, SaeConfig
from pipeline.errors import SubjectError
from pipeline.firings.files import Firings
from pipeline.lake import Lake
from pipeline.sae import SparseCoder, load_sae
from pipeline.subject.contexts import ContextBatch, pad_contexts
from pipeline.subject.forward import Hookpoint, Subject, pass_tokens
from pipeline.subject.hookpoints import resolve_hookpoint, written_hookpoint
from pipeline.subject.transfers import beside_passes, fetch, move


class Reader(NamedTuple):
    """An SAE at its hookpoint in the subject model; `writes` is where its directions belong, if elsewhere."""

    coder: SparseCoder
    hookpoint: Hookpoint
    writes: Hookpoint | None = None


def open_reader(config: Config, sae: SaeConfig, device: torch.device) -> Reader:
    """An SAE of the config on a device, with its hookpoint."""
    return _at_its_hookpoint(config, sae, load_sae(sae).to(device))


def open_encoder(config: Config, sae: SaeConfig, device: torch.device) -> Reader:
    """The same without its decoder: many SAEs that are read in one pass take half the memory of a GPU."""
    return _at_its_hookpoint(config, sae, load_sae(sae).without_decoder().to(device))


def _at_its_hookpoint(config: Config, sae: SaeConfig, coder: SparseCoder) -> Reader:
    hookpoint = resolve_hookpoint(config.subject, sae.hookpoint, coder.reads, centred=sae.centred)
    writes = written_hookpoint(
        config.subject, sae.hookpoint, coder.reads, transcodes=coder.transcodes, target=coder.target
    )
    return Reader(coder, hookpoint, writes)


def encode_batch(
    batch: ContextBatch, subject: Subject, readers: Mapping[str, Reader]
) -> Iterator[tuple[str, Firings]]:
    """The firings of every SAE in a batch, by SAE name; nothing dense leaves this function.

    Raises SubjectError if the model's activations contain NaN.
    """
    yield from run_batch(batch, subject, readers)()


def run_batch(
    batch: ContextBatch, subject: Subject, readers: Mapping[str, Reader]
) -> Callable[[], Iterator[tuple[str, Firings]]]:
    """Run the pass; the returned function gives the firings, like `encode_batch`.

    On a CPU each SAE encodes when the pass reaches its hookpoint. A GPU's pass is started but not waited for: the
    activations are kept and encoded during the next pass, when the firings are requested.
    """
    positions = torch.arange(batch.token_ids.shape[1])
    is_token = positions < batch.lengths[:, None]  # [n, length]
    token_index = (batch.first_index[:, None] + positions)[is_token]  # [n_tokens]
    indices = None if bool(is_token.all()) else move(is_token.view(-1).nonzero().view(-1), subject.device)
    encoding: dict[str, Callable[[], Sequence[torch.Tensor]]] = {}

    def take(hookpoint: Hookpoint, value: torch.Tensor) -> None:
        tokens = value.flatten(0, 1)  # [n * length, d_in], and without the padding [n_tokens, d_in]
        tokens = tokens if indices is None else tokens.index_select(0, indices)
        if not tokens.is_cpu and indices is None:
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
            found = Firings(
                features.to(torch.int32).numpy(),
                token_index[tokens].numpy(),
                activations.clone().numpy(),  # a copy, since there is little pinned memory
            )
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
