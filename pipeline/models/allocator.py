"""How the C library gives memory out: what a layer frees, the next one takes."""

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt` (malloc.h)."""

_KEPT_BYTES = 1 << 28
_LARGEST_BLOCK = 1 << 26


@cache
def keep_freed_memory() -> None:
    """Keep up to 256 MiB of freed blocks of at most 64 MiB, where the C library is glibc; elsewhere nothing.

    A forward pass frees a layer's activations before it makes the next one's. glibc returns blocks of some
    megabytes to the system at once, which clears every page before it gives it out again: a tenth of a pass.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
