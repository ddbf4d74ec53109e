"""The forward pass: contexts in, the firings of every SAE out, a shard of the corpus at a time.

One pass serves all SAEs, as deep as the deepest hookpoint. Nothing dense leaves a batch; firings stream into
the store (see `store`), which sorts and writes them beside the next batches.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.config import Config, SaeConfig
from pipeline.errors import LakeError, SubjectError
from pipeline.firings.store import FiringBuffer, Firings, count_rows
from pipeline.fit.verdict import check_fit
from pipeline.lake import Lake, Published
from pipeline.progress import progress
from pipeline.sae import SparseCoder, load_sparse_coder
from pipeline.subject.forward import Hookpoint, Subject, load_subject
from pipeline.subject.hookpoints import resolve_hookpoint
from pipeline.tables import TABLES


def write_saes(lake: Lake) -> list[Published]:
    """Write one row an SAE of the config, from its own files. Raises SaeError if one does not load."""
    published = []
    for sae in lake.config.saes:
        coder = load_sparse_coder(sae.source, sae.format)
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


def write_activation_shard(lake: Lake, shard: int) -> Published:
    """Run the subject model over a shard of contexts and write the firings of every SAE that lacks them.

    Figures: tokens read, firings, and tokens per second of the pass. Raises SaeError if an SAE does not fit its
    place.
    """
    lake.require("saes")
    if not lake.has("contexts", shard=shard):
        raise LakeError(
            f"shard {shard} of 'contexts' is not there; materialise '{lake.config.name}/contexts' first, "
            "as make run does"
        )
    missing = [sae for sae in lake.config.saes if not lake.has("activation_shards", sae=sae.name, shard=shard)]
    n_tokens, seconds = 0, 0.0
    if missing:
        check_fit(lake, missing)
        subject = load_subject(lake.config.subject, lake.config.device)
        readers = {sae.name: open_reader(lake.config, sae, subject.device) for sae in missing}
        n_tokens, seconds = _cache_shard(lake, shard, subject, readers)
    n_rows = sum(
        count_rows(lake.path("activation_shards", sae=name, shard=shard)) for name in lake.config.sae_names
    )
    figures: dict[str, float | int | str] = {"tokens_read": n_tokens, "firings": n_rows}
    if seconds:
        figures["tokens_per_second"] = round(n_tokens / seconds)
    folder = lake.path("activation_shards", sae=lake.config.saes[0].name, shard=shard)
    return Published("activation_shards", folder, n_rows, figures)


class Reader(NamedTuple):
    """An SAE at its place in the subject model."""

    coder: SparseCoder
    hookpoint: Hookpoint


def open_reader(config: Config, sae: SaeConfig, device: torch.device) -> Reader:
    """An SAE of the config, loaded onto a device, at its place."""
    coder = load_sparse_coder(sae.source, sae.format).to(device)
    return Reader(coder, resolve_hookpoint(config.subject, sae.hookpoint, coder.reads, centred=sae.centred))


def _cache_shard(lake: Lake, shard: int, subject: Subject, readers: Mapping[str, Reader]) -> tuple[int, float]:
    """One pass over a shard for all SAEs at once; tokens read and seconds taken, writing included."""
    start = time.monotonic()
    with lake.scratch(f"shard-{shard}") as scratch:
        buffers = {
            name: FiringBuffer(scratch / name, name, reader.coder.n_features) for name, reader in readers.items()
        }
        n_tokens = n_pending = 0
        total = lake.query("shard_tokens", shard=shard).item()
        # One thread owns the buffers, so that a device does not wait while firings are sorted and written.
        with (
            progress(total, f"activations, shard {shard}", "tokens") as bar,
            ThreadPoolExecutor(1, thread_name_prefix="firings") as writer,
        ):
            flushed: list[Future[None]] = []
            adding: list[Future[None]] = []
            for batch in context_batches(lake, shard):
                for name, firings in encode_batch(batch, subject, readers):
                    adding.append(writer.submit(buffers[name].add, firings))
                n_tokens += batch.n_tokens
                n_pending += batch.n_tokens
                if n_pending >= lake.config.machine.flush_tokens:
                    _wait(flushed)  # so that no more than two buffers are in memory
                    flushed = adding + [writer.submit(buffer.flush) for buffer in buffers.values()]
                    n_pending, adding = 0, []
                bar.update(batch.n_tokens)
            _wait(flushed + adding + [writer.submit(buffer.flush) for buffer in buffers.values()])
        for name, buffer in buffers.items():
            lake.ensure_schema_file("activation_shards", name)
            with lake.writing(lake.path("activation_shards", sae=name, shard=shard)) as folder:
                buffer.folder.rename(folder)
    return n_tokens, time.monotonic() - start


def _wait(flushed: Sequence["Future[None]"]) -> None:
    """Wait until firings are taken and buffers written. Raises what one of these steps has raised."""
    for each in flushed:
        each.result()


class ContextBatch(NamedTuple):
    """Contexts padded at the end to one length: token_ids int64 [n, length], lengths and first_index [n]."""

    token_ids: torch.Tensor
    lengths: torch.Tensor
    first_index: torch.Tensor

    @property
    def n_tokens(self) -> int:
        """Tokens without the padding."""
        return int(self.lengths.sum())


def pad_contexts(contexts: Sequence[tuple[int, Sequence[int]]], context_length: int) -> ContextBatch:
    """A batch of (context_id, token_ids)."""
    width = max(len(token_ids) for _, token_ids in contexts)
    padded = torch.zeros((len(contexts), width), dtype=torch.long)
    for row, (_, token_ids) in enumerate(contexts):
        padded[row, : len(token_ids)] = torch.tensor(token_ids)
    return ContextBatch(
        padded,
        torch.tensor([len(token_ids) for _, token_ids in contexts]),
        torch.tensor([context_id for context_id, _ in contexts]) * context_length,
    )


def encode_batch(
    batch: ContextBatch, subject: Subject, readers: Mapping[str, Reader]
) -> Iterator[tuple[str, Firings]]:
    """The firings of every SAE in a batch, by SAE name; nothing dense leaves this function.

    Raises SubjectError if the model gives values that are no numbers.
    """
    places = torch.arange(batch.token_ids.shape[1])
    is_token = places < batch.lengths[:, None]  # [n, length]
    token_index = (batch.first_index[:, None] + places)[is_token]  # [n_tokens]
    read = subject.read(batch.token_ids, [reader.hookpoint for reader in readers.values()])
    for name, reader in readers.items():
        dense = read[reader.hookpoint][is_token.to(subject.device)]  # [n_tokens, d_in]
        encoding = reader.coder.encode(dense)
        if not bool(encoding.activations.isfinite().all()):
            raise SubjectError(
                f"hookpoint '{reader.hookpoint.module}' of '{subject.name}' gave values that are no numbers; "
                "try subject.dtype float32"
            )
        yield (
            name,
            Firings(
                encoding.features.to(torch.int32).cpu().numpy(),
                token_index[encoding.tokens.cpu()].numpy(),
                encoding.activations.cpu().numpy(),
            ),
        )


def context_batches(lake: Lake, shard: int) -> Iterator[ContextBatch]:
    """A shard's contexts in batches of about batch_tokens, of like length within each thousand contexts."""
    file = pq.ParquetFile(lake.path("contexts", shard=shard))
    for rows in file.iter_batches(1024, columns=["context_id", "token_ids"]):
        contexts = list(zip(rows["context_id"].to_pylist(), rows["token_ids"].to_pylist(), strict=True))
        contexts.sort(key=lambda context: (-len(context[1]), context[0]))
        while contexts:
            n_contexts = max(1, lake.config.machine.batch_tokens // len(contexts[0][1]))
            yield pad_contexts(contexts[:n_contexts], lake.config.corpus.context_length)
            contexts = contexts[n_contexts:]
