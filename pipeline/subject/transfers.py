"""Transfers between host and GPU, through pinned memory and without waiting for forward passes.

How many features fire is known only on the GPU, so collecting firings has to wait. A thread other than the one
that starts the passes does so, on a stream of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch
from torch import Tensor


def move(indices: Tensor, device: torch.device) -> Tensor:
    """Indices on a device; copied to a GPU without waiting for its current work."""
    if device.type != "cuda":
        return indices.to(device)
    return indices.pin_memory().to(device, non_blocking=True)


def fetch(values: Sequence[Tensor]) -> list[Tensor]:
    """Values of one device, on the host; from a GPU through pinned memory, with a single wait."""
    if values[0].device.type != "cuda":
        return [value.cpu() for value in values]
    held = [torch.empty_like(value, device="cpu", pin_memory=True) for value in values]
    for host, value in zip(held, values, strict=True):
        host.copy_(value, non_blocking=True)
    torch.cuda.current_stream(values[0].device).synchronize()
    return held


def beside_passes(device: torch.device) -> AbstractContextManager[object]:
    """A block, to be run once by any thread, whose GPU work begins after the work started so far is done.

    It does not wait for work started later. Tensors that it reads must be kept alive until it has fetched its
    results, since their memory belongs to the other stream.
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
