"""Rounds rows of floats to int8 with one scale each, on a CPU: one compiled pass instead of several in torch."""

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import torch
from torch import Tensor

_LARGEST = np.float32(127)
_LEAST = np.float32(1e-12)
"""A row whose largest absolute value is smaller counts as all zeros."""

_MAGNITUDE = np.uint32(0x7FFF_FFFF)
"""The bits of a float32 without its sign; as integers they are ordered like the absolute values."""

_BITS: dict[torch.dtype, tuple[torch.dtype, int]] = {
    torch.bfloat16: (torch.uint16, 16),
    torch.float32: (torch.uint32, 0),
}
"""By dtype: the integer type of its bits, and how far to shift these to get the bits of a float32."""


def round_on_cpu(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [n, width] of any float dtype as int8 [n, width], and the float32 scales [n, 1] that restore them."""
    given = rows if rows.dtype in _BITS else rows.float()
    bits, shift = _BITS[given.dtype]
    rounded = torch.empty(rows.shape, dtype=torch.int8)
    scales = torch.empty(len(rows), 1)
    _round_rows(given.detach().contiguous().view(bits).numpy(), shift, rounded.numpy(), scales.numpy()[:, 0])
    return rounded, scales


def _loop(bits: Any, shift: int, rounded: Any, scales: Any) -> None:
    """Round the floats whose leading bits are `bits` [n, width]; ties go to the even neighbour.

    A row's scale maps its largest absolute value to 127. A row is small enough to stay in the cache for all steps,
    each a loop of its own, because the compiler vectorises those.
    """
    n, width = bits.shape
    row = np.empty(width, np.uint32)
    values = row.view(np.float32)
    peak = np.empty(1, np.uint32)
    for i in range(n):
        # 1. The bits as those of a float32; `values` reads the same memory as floats.
        for j in range(width):
            row[j] = np.uint32(bits[i, j]) << np.uint32(shift)
        # 2. The largest absolute value: without their signs, floats are ordered like their bits.
        largest = np.uint32(0)
        for j in range(width):
            largest = max(largest, np.uint32(row[j] & _MAGNITUDE))
        peak[0] = largest
        scale = max(peak.view(np.float32)[0], _LEAST) / _LARGEST
        scales[i] = scale
        # 3. Round; a product is faster than a quotient.
        factor = np.float32(1) / scale
        for j in range(width):
            rounded[i, j] = np.int8(np.int32(np.rint(values[j] * factor)))


_round_rows = cast(Callable[..., None], numba.njit(cache=True, nogil=True, error_model="numpy")(_loop))
