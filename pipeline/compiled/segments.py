"""Sorting rows within segments, such as a bucket's firings by feature."""

import numpy as np
import numpy.typing as npt

from pipeline.compiling import Ints, compiled


def order_segments(keys: npt.NDArray[np.unsignedinteger], starts: Ints, order: Ints | None = None) -> Ints:
    """Rows of each segment by ascending key, [n]; equal keys keep the given order, or their own.

    keys [n]; starts [n_segments + 1]; order [n], the rows segment by segment.
    """
    order = np.arange(len(keys)) if order is None else order.copy()
    scratch = np.empty(np.diff(starts).max(initial=0), np.int64)
    _radix_sort(keys.astype(np.uint64), keys.itemsize, starts, order, scratch)
    return order


@compiled
def _radix_sort(keys: npt.NDArray[np.uint64], n_bytes: int, starts: Ints, order: Ints, scratch: Ints) -> None:
    """Sort the rows in `order` by their keys, byte by byte from the lowest.

    A pass keeps the order of rows with equal bytes. So after the pass for a byte, the rows of a segment are in the
    order of their keys' bytes up to it, and what is equal in all of them is as it was given.
    """
    free = np.empty(256, np.int64)
    for segment in range(len(starts) - 1):
        first, end = starts[segment], starts[segment + 1]
        for shift in range(0, 8 * n_bytes, 8):
            # 1. Count the rows of each byte.
            free[:] = 0
            for i in range(first, end):
                free[(keys[i] >> shift) & 255] += 1
            if first == end or free[(keys[first] >> shift) & 255] == end - first:
                continue  # all the same
            # 2. The counts before a byte give its first row.
            next_free = 0
            for byte in range(256):
                next_free, free[byte] = next_free + free[byte], next_free
            # 3. Put each row in the next free one of its byte.
            for i in range(first, end):
                byte = (keys[order[i]] >> shift) & 255
                scratch[free[byte]] = order[i]
                free[byte] += 1
            for i in range(end - first):
                order[first + i] = scratch[i]
