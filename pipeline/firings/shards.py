"""A shard of the corpus, read by the subject model and written as firings.

Firings stream into buffers (see `buffers`), which are sorted and written during the next batches.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch

from pipeline.firings.buffers import FiringBuffer, shard_buffers
from pipeline.firings.files import Firings
from pipeline.firings.forward import Reader, context_batches, run_batch
from pipeline.lake import Lake
from pipeline.progress import progress
from pipeline.subject.forward import Subject

_BATCHES_AHEAD = 4
"""Maximum number of started batches whose firings have not been taken yet."""

_GPU_WRITERS = 8
"""Maximum number of files that are written in parallel during a GPU's passes; each holds its firings twice."""


def cache_shard(
    lake: Lake, shard: int, subject: Subject, readers: Mapping[str, Reader], generation: int = 0
) -> tuple[int, float]:
    """One pass over a shard for all SAEs; returns tokens read and seconds taken, including writing."""
    start = time.monotonic()
    with shard_buffers(lake, shard, readers, generation) as buffers:
        n_tokens = 0
        contexts = lake.path("contexts", shard=shard, generation=generation)
        total = lake.query("shard_tokens", shard=shard, given={"contexts": [contexts]}).item()
        # One thread owns the buffers, and others sort and write them, so the device waits for neither.
        with (
            progress(total, f"activations, shard {shard}", "tokens") as bar,
            _Writers(_n_writers(subject.device)) as writers,
            ThreadPoolExecutor(1, thread_name_prefix="firings") as taker,
        ):
            take = partial(_take, buffers, writers, lake.config.machine.flush_firings)
            taking: deque[Future[None]] = deque()
            for batch in context_batches(lake, shard, generation):
                taking.append(taker.submit(take, run_batch(batch, subject, readers)))
                _wait_for_all_but(_BATCHES_AHEAD, taking)
                n_tokens += batch.n_tokens
                bar.update(batch.n_tokens)
            _wait_for_all_but(0, taking)
            for buffer in buffers.values():
                writers.write(buffer)
            writers.finish()
    return n_tokens, time.monotonic() - start


class _Writers(ThreadPoolExecutor):
    """Threads that write buffers as files; beyond one file each, they keep whoever hands one over waiting."""

    def __init__(self, n: int) -> None:
        super().__init__(n, thread_name_prefix="shards")
        self._n = n
        self._writing: deque[Future[None]] = deque()

    def write(self, buffer: FiringBuffer) -> None:
        """Start writing a buffer, and leave it empty."""
        self._writing.append(self.submit(buffer.hand_over()))
        _wait_for_all_but(self._n, self._writing)

    def finish(self) -> None:
        """Wait until all files are written."""
        _wait_for_all_but(0, self._writing)


def _n_writers(device: torch.device) -> int:
    """Threads that write files in parallel; a CPU's pass needs most of the cores, and a GPU's few."""
    n_cores = os.cpu_count() or 1
    return max(1, n_cores // 4 if device.type == "cpu" else min(n_cores // 2, _GPU_WRITERS))


def _take(
    buffers: Mapping[str, FiringBuffer],
    writers: _Writers,
    flush_firings: int,
    firings: Callable[[], Iterator[tuple[str, Firings]]],
) -> None:
    """Put a batch's firings into the buffers of their SAEs, and start writing those that are full."""
    for name, found in firings():
        buffers[name].add(found)
        if buffers[name].n_pending >= flush_firings:
            writers.write(buffers[name])


def _wait_for_all_but(n: int, steps: deque["Future[None]"]) -> None:
    """Wait until only the last n steps may be unfinished. Raises any exception of the others."""
    while len(steps) > n:
        steps.popleft().result()
