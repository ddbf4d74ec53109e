"""delphi's cache of activations: `latents/HOOKPOINT/START_END.safetensors`, and its `config.json`.

delphi's own loader reads it, and so does a corpus source of kind `delphi`: activations come back to the last bit.
A row is a context; shorter ones are padded, and the tensor `lengths`, which delphi passes over, has their lengths.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import save

from pipeline.corpus.delphi import Array
from pipeline.exports import Export, ExportedSae
from pipeline.exports.delphi import check_hookpoints
from pipeline.firings.store import BUCKET_FEATURES, bucket_path, n_buckets_of
from pipeline.lake import Lake
from pipeline.models.load import load_tokenizer

_FIRINGS_A_SPLIT = 1 << 24
_SMALL = 1 << 16
"""uint16 holds what is below it."""


def write(export: Export) -> str:
    """Write a folder an SAE; what is in them, in words. Raises ConfigError for two SAEs of one hookpoint."""
    check_hookpoints(export)
    config = export.lake.config
    rows = _rows(export)
    for sae in export.saes:
        folder = export.folder / "latents" / sae.hookpoint
        folder.mkdir(parents=True)
        splits = list(_splits(export.lake, sae))
        for buckets in splits:
            _write_split(export.lake, sae, buckets, rows, folder)
        said = {
            "model_name": config.subject.model,
            "dataset_repo": "",
            "cache_ctx_len": config.corpus.context_length,
            "n_tokens": int(rows["tokens"].size),
            "n_splits": len(splits),
        }
        (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    return f"every firing of {', '.join(sae.sae for sae in export.saes)}"


def _rows(export: Export) -> dict[str, Array]:
    """Tokens int64 [n_contexts, context_length], and where some are padding, lengths int64 [n_contexts]."""
    contexts = export.lake.select(export.connection, "context_rows").to_arrow_table()["token_ids"].combine_chunks()
    lengths = contexts.value_lengths().to_numpy().astype(np.int64)
    width = export.lake.config.corpus.context_length
    padding = load_tokenizer(export.lake.config.subject).eos_token_id or 0
    tokens = np.full((len(lengths), width), padding, np.int64)
    tokens[np.arange(width) < lengths[:, None]] = contexts.flatten().to_numpy()
    return {"tokens": tokens} if (lengths == width).all() else {"tokens": tokens, "lengths": lengths}


def _splits(lake: Lake, sae: ExportedSae) -> Iterator[range]:
    """The buckets of an SAE, so many at a time that their firings fit into memory."""
    first = n_firings = 0
    for bucket in range(n_buckets_of(sae.n_features)):
        n_own = pq.read_metadata(bucket_path(lake, sae.sae, bucket)).num_rows
        if bucket > first and n_firings + n_own > _FIRINGS_A_SPLIT:
            yield range(first, bucket)
            first, n_firings = bucket, 0
        n_firings += n_own
    yield range(first, n_buckets_of(sae.n_features))


def _write_split(lake: Lake, sae: ExportedSae, buckets: range, rows: dict[str, Array], folder: Path) -> None:
    paths = [bucket_path(lake, sae.sae, bucket) for bucket in buckets]
    columns = [pq.read_table(path, columns=["feature", "token_index", "activation"]).columns for path in paths]
    feature, token_index, activation = (
        np.concatenate([column.to_numpy() for column in each]) for each in zip(*columns, strict=True)
    )
    first, end = buckets.start * BUCKET_FEATURES, min(buckets.stop * BUCKET_FEATURES, sae.n_features)
    row, position = np.divmod(token_index, lake.config.corpus.context_length)
    is_small = max(len(rows["tokens"]), end - first) <= _SMALL
    located = np.stack([row, position, feature - first], axis=1).astype(np.uint16 if is_small else np.uint32)
    half = np.where(activation < _SMALL, activation, 0).astype(np.float16)
    is_exact = bool((half == activation).all())
    split = {"locations": located, "activations": half if is_exact else activation, **rows}
    (folder / f"{first}_{end - 1}.safetensors").write_bytes(save(split))
