"""Firings from another program: delphi's cache instead of a forward pass."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow.parquet as pq

from pipeline.config import SaeConfig
from pipeline.errors import CorpusError
from pipeline.firings.buffers import shard_buffers
from pipeline.firings.files import Firings
from pipeline.lake import Lake
from pipeline.progress import progress
from pipeline.texts.delphi import Folder, Split, splits_of
from pipeline.texts.tensors import Array


def import_shard(lake: Lake, shard: int, saes: Sequence[SaeConfig], cache: Folder) -> tuple[int, float]:
    """Write the firings of SAEs in a shard's contexts from a cache; returns tokens and seconds.

    A context's id is its row number. Raises CorpusError if a file has other tokens there.
    """
    start = time.monotonic()
    rows = pq.read_table(lake.path("contexts", shard=shard), columns=["context_id", "token_ids"])
    contexts = rows["token_ids"].combine_chunks()
    first = rows["context_id"][0].as_py() if rows.num_rows else 0
    splits = [(sae, split) for sae in saes for split in splits_of(cache / sae.hookpoint)]
    with (
        shard_buffers(lake, shard, [sae.name for sae in saes]) as buffers,
        progress(len(splits), f"activations, shard {shard}", "files") as bar,
    ):
        for sae, split in splits:
            if not np.array_equal(_tokens_of(split, first, rows.num_rows), contexts.flatten().to_numpy()):
                raise CorpusError(
                    f"delphi's cache '{split.path}' has other tokens than the first file of '{cache}', from which "
                    "the corpus is read; all must be of one run"
                )
            for firings in _firings_of(split, first, rows.num_rows, lake.config.corpus.context_length):
                buffers[sae.name].add(firings)
                buffers[sae.name].flush()
            bar.update(1)
        for buffer in buffers.values():
            buffer.flush()  # so that there is a file where nothing fires
    return len(contexts.flatten()), time.monotonic() - start


def _tokens_of(split: Split, first: int, n: int) -> Array:
    """The tokens of n rows from `first` on, concatenated."""
    parts = [rows.tokens[rows.is_text] for rows in split.rows(first, first + n)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _firings_of(split: Split, first: int, n: int, context_length: int) -> Iterator[Firings]:
    """The firings in n rows from `first` on."""
    for found in split.firings(first, first + n):
        if len(found.row):
            yield Firings(
                found.feature.astype(np.int32), found.row * context_length + found.position, found.activation
            )
