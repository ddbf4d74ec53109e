"""delphi's cache of activations: `latents/HOOKPOINT/START_END.safetensors`, and its `config.json`.

delphi's own loader reads it, and so does a corpus source of kind `delphi`; activations come back bit for bit. A
row is a context. Shorter ones are padded, and the tensor `lengths`, which delphi ignores, has their lengths. As in
delphi's own files, locations are in the order of rows. The tokens, which every file repeats, are read from the
lake some contexts at a time.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.exports import Export, ExportedSae
from pipeline.exports.delphi import check_hookpoints
from pipeline.firings.layout import BUCKET_FEATURES, bucket_path, n_buckets_of
from pipeline.lake import Lake
from pipeline.models.load import load_tokenizer
from pipeline.texts.tensors import Array, Written, write_tensors

READS = ("context_rows", "activations")
_FIRINGS_A_SPLIT = 1 << 24
_CONTEXTS_AT_ONCE = 1 << 12
_UINT16_END = 1 << 16
"""Integers below it fit into uint16."""


class _Rows(NamedTuple):
    """The corpus as rows: the length of each, int64 [n_contexts], their width, and the padding token."""

    lengths: Array
    width: int
    padding: int


def write(export: Export) -> str:
    """Write a folder per SAE; returns what was written. Raises ConfigError for two SAEs of one hookpoint."""
    check_hookpoints(export)
    config = export.lake.config
    lengths = [batch["token_ids"].value_lengths().to_numpy() for batch in _contexts(export)]
    padding = load_tokenizer(config.subject).eos_token_id or 0
    rows = _Rows(np.concatenate([np.empty(0, np.int64), *lengths]), config.corpus.context_length, padding)
    for sae in export.saes:
        folder = export.folder / "latents" / sae.hookpoint
        folder.mkdir(parents=True)
        splits = list(_splits(export.lake, sae))
        for buckets in splits:
            _write_split(export, sae, buckets, rows, folder)
        settings = {
            "model_name": config.subject.model,
            "dataset_repo": "",
            "cache_ctx_len": rows.width,
            "n_tokens": len(rows.lengths) * rows.width,
            "n_splits": len(splits),
        }
        (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return f"every firing of {', '.join(sae.sae for sae in export.saes)}"


def _contexts(export: Export) -> Iterator[pa.RecordBatch]:
    """The contexts in order, some at a time, with their tokens."""
    yield from export.lake.select(export.connection, "context_rows").to_arrow_reader(_CONTEXTS_AT_ONCE)


def _tokens(export: Export, rows: _Rows) -> Iterator[Array]:
    """The tokens of all contexts, int64 [n, width], padded, some contexts at a time."""
    for batch in _contexts(export):
        lengths = batch["token_ids"].value_lengths().to_numpy()
        tokens = np.full((len(lengths), rows.width), rows.padding, np.int64)
        tokens[np.arange(rows.width) < lengths[:, None]] = batch["token_ids"].flatten().to_numpy()
        yield tokens


def _splits(lake: Lake, sae: ExportedSae) -> Iterator[range]:
    """The buckets of an SAE in groups whose firings fit into memory."""
    first = n_firings = 0
    for bucket in range(n_buckets_of(sae.n_features)):
        n_own = pq.read_metadata(bucket_path(lake, sae.sae, bucket)).num_rows
        if bucket > first and n_firings + n_own > _FIRINGS_A_SPLIT:
            yield range(first, bucket)
            first, n_firings = bucket, 0
        n_firings += n_own
    yield range(first, n_buckets_of(sae.n_features))


def _write_split(export: Export, sae: ExportedSae, buckets: range, rows: _Rows, folder: Path) -> None:
    paths = [bucket_path(export.lake, sae.sae, bucket) for bucket in buckets]
    columns = [pq.read_table(path, columns=["feature", "token_index", "activation"]).columns for path in paths]
    feature, token_index, activation = (
        np.concatenate([column.to_numpy() for column in each]) for each in zip(*columns, strict=True)
    )
    order = np.argsort(token_index, kind="stable")
    feature, token_index, activation = feature[order], token_index[order], activation[order]
    first, end = buckets.start * BUCKET_FEATURES, min(buckets.stop * BUCKET_FEATURES, sae.n_features)
    row, position = np.divmod(token_index, rows.width)
    n, n_rows = len(row), len(rows.lengths)
    located = np.stack([row, position, feature - first], axis=1)
    half = np.where(activation < _UINT16_END, activation, 0).astype(np.float16)
    is_exact = bool((half == activation).all())
    location_type = np.uint16 if max(n_rows, end - first) <= _UINT16_END else np.uint32
    split = {
        "locations": Written(location_type, (n, 3), [located]),
        "activations": Written(np.float16 if is_exact else np.float32, (n,), [half if is_exact else activation]),
        "tokens": Written(np.int64, (n_rows, rows.width), _tokens(export, rows)),
    }
    if (rows.lengths < rows.width).any():
        split["lengths"] = Written(np.int64, (n_rows,), [rows.lengths])
    write_tensors(folder / f"{first}_{end - 1}.safetensors", split)
