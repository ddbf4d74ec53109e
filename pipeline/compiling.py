"""Compiling loops with numba, and the types of their arrays.

Loops are compiled only where a benchmark shows that it pays (`benchmarks/kernels.py`). The machine code is cached
on disk per source file, so a compiled function must not call functions or read constants of other files: numba
would not notice when they change.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., Any])

Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def compiled(function: Function) -> Function:
    """The function as machine code, compiled at its first call and cached on disk."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def inlined(function: Function) -> Function:
    """A compiled function inlined into its caller: a call would count references to all its arrays."""
    return cast(Function, numba.njit(cache=True, nogil=True, forceinline=True)(function))
