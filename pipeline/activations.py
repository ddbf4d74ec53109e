"""The activation store: one forward pass writes shards of firings, and a merge sorts them by feature.

A shard is streamed: contexts in, firings out, sorted in buffers of some hundred thousand tokens; each
buffer becomes one Parquet file with one row group a feature bucket. Compacting reads one bucket's row
groups of all shards, sorts them by (feature, token_index) and writes one file a bucket. Memory is bounded
by a buffer and a bucket, not by the corpus. Sorted so, a row takes about three bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.config import SaeConfig
from pipeline.errors import LakeError, SubjectError
from pipeline.lake import Lake, Published
from pipeline.progress import progress
from pipeline.sae import SparseCoder, load_sparse_coder
from pipeline.subject import Hookpoint, Subject, load_subject
from pipeline.tables import TABLES

BUCKET_FEATURES = 1024
"""Features of a bucket: one row group of a shard, one file of the store."""

FLOAT16_MAX = 65_504.0
FLOAT16_TINY = np.float32(2.0**-24)
"""The smallest float16 above 0: a weaker firing is still a firing."""

_INDEX_BITS = 40
"""Bits of the token index in a sort key; a trillion token places."""


class Firings(NamedTuple):
    """Firings as columns: feature int32, token_index int64, activation float32, each [n]."""

    feature: npt.NDArray[np.int32]
    token_index: npt.NDArray[np.int64]
    activation: npt.NDArray[np.float32]

    def rows(self, which: slice | npt.NDArray[np.int64]) -> "Firings":
        """The firings in these rows, in this order."""
        return Firings(self.feature[which], self.token_index[which], self.activation[which])


def write_saes(lake: Lake) -> list[Published]:
    """Write one row an SAE of the config, from its own files. Raises SaeError if one does not load."""
    published = []
    for sae in lake.config.saes:
        coder = load_sparse_coder(sae.source, sae.format)
        row = {
            "sae": [sae.name],
            "hookpoint": [sae.hookpoint],
            "format": [sae.format or "sparsify"],
            "d_in": [coder.d_in],
            "n_features": [coder.n_features],
            "source": [sae.source],
            "weights_hash": [lake.hashes.saes[sae.name]],
        }
        published.append(lake.write("saes", pa.table(row), sae=sae.name))
    return published


def write_activation_shard(lake: Lake, shard: int) -> Published:
    """Run the subject model over a shard of contexts and write the firings of every SAE that lacks them.

    Figures: tokens read, firings, and tokens per second of the pass.
    """
    lake.require("saes")
    if not lake.has("contexts", shard=shard):
        raise LakeError(
            f"shard {shard} of 'contexts' is not there; materialise '{lake.config.name}/contexts' first"
        )
    missing = [sae for sae in lake.config.saes if not lake.has("activation_shards", sae=sae.name, shard=shard)]
    n_tokens, seconds = 0, 0.0
    if missing:
        subject = load_subject(lake.config.subject, lake.config.device)
        readers = {sae.name: open_reader(sae, subject.device) for sae in missing}
        n_tokens, seconds = _cache_shard(lake, shard, subject, readers)
    n_rows = sum(_n_rows(lake.path("activation_shards", sae=name, shard=shard)) for name in lake.config.sae_names)
    figures: dict[str, float | int | str] = {"tokens_read": n_tokens, "firings": n_rows}
    if seconds:
        figures["tokens_per_second"] = round(n_tokens / seconds)
    folder = lake.path("activation_shards", sae=lake.config.saes[0].name, shard=shard)
    return Published("activation_shards", folder, n_rows, figures)


def write_activations(lake: Lake, sae: str) -> Published:
    """Merge an SAE's shards into one file a bucket, sorted by (feature, token_index).

    Raises:
        LakeError: A shard is missing, or two rows are of the same firing.
    """
    lake.require("activation_shards", sae=sae)
    files = [
        pq.ParquetFile(path)
        for shard in range(lake.config.corpus.shards)
        for path in sorted(lake.path("activation_shards", sae=sae, shard=shard).glob("*.parquet"))
    ]
    target = lake.path("activations", sae=sae)
    lake.ensure_schema_file("activations", sae)
    n_buckets = n_buckets_of(lake.config.sae(sae).n_features)
    n_rows = 0
    with lake.writing(target) as folder, progress(n_buckets, f"activations of {sae}", "buckets") as bar:
        folder.mkdir()
        for bucket in range(n_buckets):
            merged = _sorted(_concatenate([_read_bucket(file, bucket) for file in files]))
            if np.any(np.diff(_keys(merged)) <= 0):
                raise LakeError(f"bucket {bucket} of SAE '{sae}' holds a firing twice; rebuild its shards")
            with _writer(folder / f"{bucket:05d}.parquet", _schema("activations", merged)) as writer:
                writer.write_table(_table(sae, merged, writer.schema), row_group_size=1 << 18)
            n_rows += len(merged.feature)
            bar.update(1)
    size = sum(path.stat().st_size for path in target.glob("*.parquet"))
    figures: dict[str, float | int | str] = {"bytes": size, "bytes_per_row": round(size / max(n_rows, 1), 3)}
    return Published("activations", target, n_rows, figures)


def n_buckets_of(n_features: int) -> int:
    """Buckets of an SAE of that many features."""
    return -(-n_features // BUCKET_FEATURES)


class Reader(NamedTuple):
    """An SAE at its place in the subject model."""

    coder: SparseCoder
    hookpoint: Hookpoint


def open_reader(sae: SaeConfig, device: torch.device) -> Reader:
    """An SAE of the config, loaded onto a device."""
    coder = load_sparse_coder(sae.source, sae.format).to(device)
    return Reader(coder, Hookpoint(sae.hookpoint, coder.reads))


def _cache_shard(lake: Lake, shard: int, subject: Subject, readers: Mapping[str, Reader]) -> tuple[int, float]:
    """One pass over a shard for all SAEs at once; tokens read and seconds taken."""
    with lake.scratch(f"shard-{shard}") as scratch:
        buffers = {name: FiringBuffer(scratch / name, name, reader.coder) for name, reader in readers.items()}
        n_tokens = n_pending = 0
        total = lake.query("shard_tokens", shard=shard).item()
        with progress(total, f"activations, shard {shard}", "tokens") as bar:
            for batch in _context_batches(lake, shard):
                for name, firings in encode_batch(batch, subject, readers):
                    buffers[name].add(firings)
                n_tokens += batch.n_tokens
                n_pending += batch.n_tokens
                if n_pending >= lake.config.machine.flush_tokens:
                    for buffer in buffers.values():
                        buffer.flush()
                    n_pending = 0
                bar.update(batch.n_tokens)
            seconds = float(bar.format_dict["elapsed"])
        for name, buffer in buffers.items():
            buffer.flush()
            lake.ensure_schema_file("activation_shards", name)
            with lake.writing(lake.path("activation_shards", sae=name, shard=shard)) as folder:
                buffer.folder.rename(folder)
    return n_tokens, seconds


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
        fires = (encoding.activations > 0).cpu()  # a kept value may be 0, which is no firing
        width = fires.shape[1]
        yield (
            name,
            Firings(
                encoding.indices.cpu()[fires].to(torch.int32).numpy(),
                token_index[:, None].expand(-1, width)[fires].numpy(),
                encoding.activations.cpu()[fires].numpy(),
            ),
        )


class FiringBuffer:
    """Firings on their way into a shard's folder: gathered, sorted by feature, one file a flush."""

    def __init__(self, folder: Path, sae: str, coder: SparseCoder) -> None:
        self.folder = folder
        self.folder.mkdir()
        self._sae = sae
        self._n_buckets = n_buckets_of(coder.n_features)
        self._pending: list[Firings] = []
        self._n_files = 0

    def add(self, firings: Firings) -> None:
        """Take a batch's firings."""
        self._pending.append(firings)

    def flush(self) -> None:
        """Write what is pending as one file, with one row group a bucket, empty ones included."""
        firings = _sorted(_concatenate(self._pending))
        edges = np.searchsorted(firings.feature, np.arange(self._n_buckets + 1) * BUCKET_FEATURES)
        path = self.folder / f"{self._n_files:05d}.parquet"
        with _writer(path, _schema("activation_shards", firings)) as writer:
            for start, end in pairwise(edges.tolist()):
                part = firings.rows(slice(start, end))
                writer.write_table(_table(self._sae, part, writer.schema), row_group_size=max(end - start, 1))
        self._pending = []
        self._n_files += 1


def _context_batches(lake: Lake, shard: int) -> Iterator[ContextBatch]:
    """A shard's contexts in batches of about batch_tokens, of like length within each thousand contexts."""
    file = pq.ParquetFile(lake.path("contexts", shard=shard))
    for rows in file.iter_batches(1024, columns=["context_id", "token_ids"]):
        contexts = list(zip(rows["context_id"].to_pylist(), rows["token_ids"].to_pylist(), strict=True))
        contexts.sort(key=lambda context: (-len(context[1]), context[0]))
        while contexts:
            n_contexts = max(1, lake.config.machine.batch_tokens // len(contexts[0][1]))
            yield pad_contexts(contexts[:n_contexts], lake.config.corpus.context_length)
            contexts = contexts[n_contexts:]


def _concatenate(parts: Sequence[Firings]) -> Firings:
    if not parts:
        return Firings(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32))
    return Firings(
        np.concatenate([part.feature for part in parts]),
        np.concatenate([part.token_index for part in parts]),
        np.concatenate([part.activation for part in parts]),
    )


def _keys(firings: Firings) -> npt.NDArray[np.int64]:
    """(feature, token_index) packed into one sort key."""
    return (firings.feature.astype(np.int64) << _INDEX_BITS) | firings.token_index


def _sorted(firings: Firings) -> Firings:
    return firings.rows(np.argsort(_keys(firings)))


def _schema(table: str, firings: Firings) -> pa.Schema:
    """The table's schema; float32 where float16 would overflow."""
    schema = TABLES[table].schema
    if len(firings.activation) and firings.activation.max() > FLOAT16_MAX:
        place = schema.get_field_index("activation")
        schema = schema.set(place, pa.field("activation", pa.float32()))
    return schema


def _table(sae: str, firings: Firings, schema: pa.Schema) -> pa.Table:
    n_rows = len(firings.feature)
    strength = np.maximum(firings.activation, FLOAT16_TINY)
    if schema.field("activation").type == pa.float16():
        strength = strength.astype(np.float16)
    names = pa.DictionaryArray.from_arrays(np.zeros(n_rows, np.int8), pa.array([sae]))
    return pa.table([names, firings.feature, firings.token_index, strength], schema=schema)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["sae", "feature"],
        column_encoding={"token_index": "DELTA_BINARY_PACKED", "activation": "PLAIN"},
    )


def _read_bucket(file: pq.ParquetFile, bucket: int) -> Firings:
    rows = file.read_row_group(bucket, columns=["feature", "token_index", "activation"])
    feature, token_index, activation = (column.to_numpy() for column in rows.columns)
    return Firings(feature.astype(np.int32), token_index, activation.astype(np.float32))


def _n_rows(folder: Path) -> int:
    return sum(pq.ParquetFile(path).metadata.num_rows for path in folder.glob("*.parquet"))
