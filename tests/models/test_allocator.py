"""What a model's layer frees is kept in the process."""

import ctypes

import pytest

from pipeline.models.allocator import keep_freed_memory

LAYER_BYTES = 48 << 20
C = ctypes.CDLL(None)


class Usage(ctypes.Structure):
    """glibc's `struct mallinfo2` (malloc.h): bytes got from the system, and blocks mapped one by one."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


@pytest.mark.skipif(not hasattr(C, "mallinfo2"), reason="the C library is not glibc")
def test_freed_memory_stays_in_the_process():
    C.mallinfo2.restype = Usage
    C.malloc.restype, C.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    keep_freed_memory()
    before = C.mallinfo2()
    place = C.malloc(LAYER_BYTES)
    taken = C.mallinfo2()
    C.free(place)
    assert taken.hblks == before.hblks, "it is no block of its own, which would go back at once"
    assert C.mallinfo2().arena >= taken.arena
