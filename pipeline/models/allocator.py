"""Tuning the C library's allocator, so that a layer reuses the memory freed by the previous one."""

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt` (malloc.h)."""

_KEPT_BYTES = 1 << 28
_LARGEST_BLOCK = 1 << 26


@cache
def keep_freed_memory() -> None:
    """With glibc, keep up to 256 MiB of freed blocks of at most 64 MiB; elsewhere do nothing.

    A forward pass frees a layer's activations before it computes the next one's. By default, glibc returns blocks
    of some megabytes to the system, which clears their pages before reuse: a tenth of a pass.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
