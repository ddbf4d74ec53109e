"""How loops are compiled, and the arrays that they take.

Only what a benchmark showed to pay is compiled (`benchmarks/kernels.py`). The machine code is kept on disk, by the
file of its function: a compiled function calls none of another file, and reads no constant of one, as numba would
not see them change.
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
    """The function as machine code, compiled at its first call and kept on disk."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def inlined(function: Function) -> Function:
    """A compiled step, put into its loop: a call would count references to every array that it is given."""
    return cast(Function, numba.njit(cache=True, nogil=True, forceinline=True)(function))
