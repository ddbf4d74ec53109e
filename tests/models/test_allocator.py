"""What a model's layer frees is kept in the process."""

import ctypes
import resource

import pytest
import torch

from pipeline.models.allocator import keep_freed_memory

LAYER_BYTES = 48 << 20
N_LAYERS = 8


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_freed_memory_is_given_out_again_without_new_pages():
    keep_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(N_LAYERS):
        torch.empty(LAYER_BYTES, dtype=torch.int8).fill_(1)
    new_pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert new_pages * resource.getpagesize() < 3 * LAYER_BYTES  # one is new, and one more where another cut it up
