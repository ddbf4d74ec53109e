"""Firings on their way into the store: gathered in memory, sorted by feature, and written as the files of a shard.

A buffer holds some million firings; each flush becomes one Parquet file with one row group per bucket of features.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.firings.files import Firings, in_order, write_firings
from pipeline.firings.layout import BUCKET_FEATURES, ROUNDED_BITS, n_buckets_of
from pipeline.lake import Lake


class FiringBuffer:
    """The firings of one SAE in a shard; each flush writes a file into the shard's folder.

    `n_pending` is the number of firings that wait for a flush.
    """

    def __init__(self, folder: Path, sae: str, n_features: int) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self._sae = sae
        self._n_features = n_features
        self.n_pending = 0
        self._pending: list[Firings] = []
        self._n_files = 0

    def add(self, firings: Firings) -> None:
        """Add a batch's firings."""
        self._pending.append(firings)
        self.n_pending += len(firings.feature)

    def flush(self) -> None:
        """Write what is pending as one file, with one row group per bucket, empty ones included."""
        self.hand_over()()

    def hand_over(self) -> Callable[[], None]:
        """Empty the buffer; the returned function writes what it held, as `flush` does, in any thread."""
        pending, path = self._pending, self.folder / f"{self._n_files:05d}.parquet"
        self._pending, self.n_pending, self._n_files = [], 0, self._n_files + 1
        return partial(self._write, pending, path)

    def _write(self, pending: Sequence[Firings], path: Path) -> None:
        firings = in_order(pending, 0, self._n_features)
        firings = firings._replace(activation=rounded(firings.activation))
        firsts = np.arange(n_buckets_of(self._n_features) + 1, dtype=np.int32) * BUCKET_FEATURES
        edges = np.searchsorted(firings.feature, firsts)
        write_firings(path, "activation_shards", self._sae, firings, edges.tolist())


@contextmanager
def shard_buffers(
    lake: Lake, shard: int, saes: Iterable[str], generation: int = 0
) -> Iterator[dict[str, FiringBuffer]]:
    """A buffer per SAE for its firings in a shard; the files are published when the body has ended."""
    with lake.scratch(f"shard-{shard}") as scratch:
        buffers = {name: FiringBuffer(scratch / name, name, lake.config.sae(name).n_features) for name in saes}
        yield buffers
        for name, buffer in buffers.items():
            lake.ensure_schema_file("activation_shards", name, generation=generation)
            path = lake.path("activation_shards", sae=name, shard=shard, generation=generation)
            with lake.writing(path) as folder:
                buffer.folder.rename(folder)


def rounded(activation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Activations above 0 as they are stored: rounded to 11 significant bits, ties to even; none becomes 0."""
    bits = activation.view(np.uint32)
    half = (bits >> np.uint32(ROUNDED_BITS) & np.uint32(1)) + np.uint32((1 << ROUNDED_BITS - 1) - 1)
    bits = (bits + half) & np.uint32(0x1_0000_0000 - (1 << ROUNDED_BITS))
    return np.maximum(bits, np.uint32(1 << ROUNDED_BITS)).view(np.float32)
