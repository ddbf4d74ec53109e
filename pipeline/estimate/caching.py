"""Estimates the cost of caching before it starts: disk space for the firings, and time for the forward pass.

Per SAE, bytes are tokens x firings per token x 3, twice, because each shard's own file is kept next to the sorted
store. Firings per token (k for a TopK SAE) and speed are measured: a few batches of the corpus's first texts go
through the subject model and its SAEs on this machine, and their firings are written. Reading and writing run in
parallel, so the slower one counts; on a GPU that is often writing.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from pipeline.errors import LakeError
from pipeline.firings.buffers import FiringBuffer
from pipeline.firings.forward import Reader, encode_batch, open_encoder
from pipeline.lake import Lake
from pipeline.models.tokenising import tokenise
from pipeline.sources import corpus_texts
from pipeline.subject.contexts import ContextBatch, pad_contexts
from pipeline.subject.forward import Subject, load_subject, pass_tokens

_BYTES_A_FIRING = 3
_COPIES = 2
_DOCUMENTS_AT_ONCE = 64
_BATCHES = 2
"""Batches of machine.batch_tokens to measure, after one for warming up."""


class CachingCost(NamedTuple):
    """The cost of what is left to cache.

    Attributes:
        n_tokens: Tokens of the corpus in shards that are not cached yet; None if unknown.
        is_exact: Whether the corpus has been read; before that, `n_tokens` is corpus.max_tokens.
        firings_a_token: Measured firings per token of all SAEs together.
        tokens_per_second: Measured speed of the forward pass with all SAEs, or of writing firings if slower.
        free_bytes: Free space on the lake's disk.
    """

    n_tokens: int | None
    is_exact: bool
    firings_a_token: float
    tokens_per_second: float
    free_bytes: int

    def n_bytes(self, n_tokens: int) -> int:
        """Disk space for the firings of this many tokens."""
        return round(n_tokens * self.firings_a_token * _BYTES_A_FIRING * _COPIES)

    def sentence(self) -> str:
        """Disk space and time in words."""
        n_tokens, quantity = self.n_tokens, "" if self.is_exact else "at most "
        if n_tokens is None:
            n_tokens, quantity = 1_000_000, "the corpus has not been read yet; each "
        disk, seconds = in_bytes(self.n_bytes(n_tokens)), in_time(n_tokens / self.tokens_per_second)
        return (
            f"caching: {quantity}{n_tokens:,} tokens x {self.firings_a_token:,.0f} firings take {disk} of disk "
            f"({in_bytes(self.free_bytes)} free), and {seconds} at {self.tokens_per_second:,.0f} tokens per "
            "second, as just measured"
        )


def caching_cost(lake: Lake) -> CachingCost | None:
    """The cost of the missing shards; None if none is missing, or if they are read from a cache.

    Raises:
        SubjectError: The subject model cannot be loaded.
        SaeError: An SAE cannot be loaded.
    """
    config = lake.config
    missing = {
        (generation, shard)
        for generation in lake.generations("activation_shards")
        for shard in range(config.corpus.shards)
        for sae in config.sae_names
        if not lake.has("activation_shards", sae=sae, shard=shard, generation=generation)
    }
    if not missing or config.corpus.cache is not None:
        return None
    is_exact = lake.has("documents")
    n_tokens = config.corpus.max_tokens
    if is_exact:
        rows = lake.query("document_shards").iter_rows()
        n_tokens = sum(n for generation, shard, n in rows if (generation, shard) in missing)
    subject = load_subject(config.subject, config.device)
    readers = {sae.name: open_encoder(config, sae, subject.device) for sae in config.saes}
    firings, speed = measure_firing(lake, subject, readers)
    return CachingCost(n_tokens, is_exact, firings, speed, free_bytes(lake.root))


def check_disk(lake: Lake, cost: CachingCost) -> None:
    """Raise LakeError if the firings of a corpus that has been read will not fit on the lake's disk."""
    if cost.is_exact and cost.n_tokens is not None and cost.n_bytes(cost.n_tokens) > cost.free_bytes:
        raise LakeError(
            f"caching needs about {in_bytes(cost.n_bytes(cost.n_tokens))}, but '{lake.root}' has only "
            f"{in_bytes(cost.free_bytes)} free; put the lake on a larger disk (machine.lake or LATENTLAKE_LAKE), "
            "or read less (corpus.max_tokens)"
        )


def in_bytes(n_bytes: float) -> str:
    """A size with a readable unit."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:,.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} TB" if n_bytes < 1000 else f"{n_bytes:,.0f} TB"


def in_time(seconds: float) -> str:
    """A duration with a readable unit."""
    for unit, size in (("s", 60), ("min", 60), ("h", 24)):
        if seconds < 2 * size:
            return f"{seconds:,.3g} {unit}"
        seconds /= size
    return f"{seconds:,.3g} days"


def measure_firing(lake: Lake, subject: Subject, readers: Mapping[str, Reader]) -> tuple[float, float]:
    """Firings per token, of all given SAEs together, and tokens per second, on the corpus's first texts."""
    n_firings = n_tokens = 0
    read_s = written_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        buffers = {
            name: FiringBuffer(Path(folder) / name, name, reader.coder.n_features)
            for name, reader in readers.items()
        }
        for number, batch in enumerate(_first_batches(lake)):
            if number == 1:  # the first was for warming up
                n_firings = n_tokens = 0
                read_s = written_s = 0.0
            started = time.monotonic()
            found = [*encode_batch(batch, subject, readers)]
            read = time.monotonic()
            for name, firings in found:
                buffers[name].add(firings)
                buffers[name].flush()
            read_s, written_s = read_s + read - started, written_s + time.monotonic() - read
            n_firings += sum(len(firings.feature) for _, firings in found)
            n_tokens += batch.n_tokens
    return n_firings / n_tokens, n_tokens / max(read_s, written_s, 1e-9)


def _first_batches(lake: Lake) -> Iterator[ContextBatch]:
    """The corpus's first texts as batches of full contexts, as far as these are not rare; then shorter ones, too.

    No more than a few batches of texts are read or held.
    """
    config = lake.config
    length = config.corpus.context_length
    n_contexts = max(1, pass_tokens(config) // length)
    full: list[list[int]] = []
    short: list[list[int]] = []
    n_left = _BATCHES + 1
    for ids in first_texts(lake):
        for start in range(0, len(ids), length):
            piece = ids[start : start + length]
            if len(piece) < length:
                short.append(piece)
                continue
            full.append(piece)
            if len(full) == n_contexts:
                yield pad_contexts(list(enumerate(full)), length)
                full = []
                n_left -= 1
                if not n_left:
                    return
        if len(full) + len(short) >= n_left * n_contexts:
            break
    rest = [*full, *short]
    for start in range(0, min(len(rest), n_left * n_contexts), n_contexts):
        yield pad_contexts(list(enumerate(rest[start : start + n_contexts])), length)


def first_texts(lake: Lake) -> Iterator[list[int]]:
    """The tokens of the corpus's first texts, from the lake's documents if they exist, else from its sources.

    Once read, the corpus is not opened again: a dataset may be far away, or gone.
    """
    if not lake.has("documents", generation=0):
        for _, ids in tokenise(corpus_texts(lake.config), lake.config):
            yield ids
        return
    documents = pq.ParquetFile(lake.path("documents", generation=0))
    for some in documents.iter_batches(_DOCUMENTS_AT_ONCE, columns=["token_ids"]):
        yield from some["token_ids"].to_pylist()


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
