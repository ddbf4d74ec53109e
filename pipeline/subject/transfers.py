"""Between host and GPU: through pinned memory, and beside the passes, none of which is waited for.

How many features fire is known only on the GPU, so that whoever wants the firings has to wait. That is another
thread than the one that starts the passes, and it waits on a stream of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch
from torch import Tensor


def move(indices: Tensor, device: torch.device) -> Tensor:
    """Indices on a device; onto a GPU without waiting for what it is at."""
    if device.type != "cuda":
        return indices.to(device)
    return indices.pin_memory().to(device, non_blocking=True)


def fetch(values: Sequence[Tensor]) -> list[Tensor]:
    """Values of one device on the host; from a GPU through pinned memory, with one wait for all of them."""
    if values[0].device.type != "cuda":
        return [value.cpu() for value in values]
    held = [torch.empty_like(value, device="cpu", pin_memory=True) for value in values]
    for host, value in zip(held, values, strict=True):
        host.copy_(value, non_blocking=True)
    torch.cuda.current_stream(values[0].device).synchronize()
    return held


def beside_passes(device: torch.device) -> AbstractContextManager[object]:
    """A block, to be run once by any thread, whose work on a GPU begins when that started by now is done.

    It waits for nothing that is started later. What it reads of that work has to be held until it has fetched what
    it makes: the memory is the other stream's.
    """
    if device.type != "cuda":
        return nullcontext()
    return _behind(torch.cuda.current_stream(device).record_event(), _own_stream(device))


@contextmanager
def _behind(started: torch.cuda.Event, stream: torch.cuda.Stream) -> Iterator[None]:
    with torch.cuda.stream(stream):
        stream.wait_event(started)
        yield


@cache
def _own_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
