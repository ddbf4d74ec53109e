"""A shard of the corpus, read by the subject model and written as firings.

Firings stream into buffers (see `buffers`), which are sorted and written during the next batches.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.firings.buffers import FiringBuffer, shard_buffers
from pipeline.firings.files import Firings
from pipeline.firings.forward import Reader, context_batches, run_batch
from pipeline.lake import Lake
from pipeline.progress import progress
from pipeline.subject.forward import Subject

_BATCHES_AHEAD = 4
"""Maximum number of started batches whose firings have not been taken yet."""


def cache_shard(
    lake: Lake, shard: int, subject: Subject, readers: Mapping[str, Reader], generation: int = 0
) -> tuple[int, float]:
    """One pass over a shard for all SAEs; returns tokens read and seconds taken, including writing."""
    start = time.monotonic()
    with shard_buffers(lake, shard, readers, generation) as buffers:
        n_tokens = n_pending = 0
        contexts = lake.path("contexts", shard=shard, generation=generation)
        total = lake.query("shard_tokens", shard=shard, given={"contexts": [contexts]}).item()
        # One thread owns the buffers, and others sort and write them, so the device waits for neither.
        with (
            progress(total, f"activations, shard {shard}", "tokens") as bar,
            ThreadPoolExecutor(_n_writers(), thread_name_prefix="shards") as writers,
            ThreadPoolExecutor(1, thread_name_prefix="firings") as taker,
        ):
            flushed: Future[list[Future[None]]] = taker.submit(list)
            adding: deque[Future[None]] = deque()
            for batch in context_batches(lake, shard, generation):
                adding.append(taker.submit(_add, run_batch(batch, subject, readers), buffers))
                if len(adding) > _BATCHES_AHEAD:
                    adding.popleft().result()
                n_tokens += batch.n_tokens
                n_pending += batch.n_tokens
                if n_pending >= lake.config.machine.flush_tokens:
                    _wait(flushed.result())  # so that no more than two buffers are in memory
                    flushed = taker.submit(_flush, buffers, writers)
                    n_pending = 0
                bar.update(batch.n_tokens)
            _wait([*adding, *flushed.result()])
            _wait(_flush(buffers, writers))
    return n_tokens, time.monotonic() - start


def _n_writers() -> int:
    """Threads that write SAEs' files in parallel; with few cores, the pass needs all but one."""
    return max(1, (os.cpu_count() or 1) // 4)


def _add(firings: Callable[[], Iterator[tuple[str, Firings]]], buffers: Mapping[str, FiringBuffer]) -> None:
    """Put a batch's firings into the buffers of their SAEs."""
    for name, found in firings():
        buffers[name].add(found)


def _flush(buffers: Mapping[str, FiringBuffer], writers: ThreadPoolExecutor) -> list["Future[None]"]:
    """Start writing the buffers' contents, and leave them empty."""
    return [writers.submit(buffer.hand_over()) for buffer in buffers.values()]


def _wait(steps: Iterable["Future[None]"]) -> None:
    """Wait until firings are taken or buffers written. Raises any exception of these steps."""
    for each in steps:
        each.result()
