"""Finds which pre-activations fire, on a CPU in one pass: compiled, with as many threads as torch uses.

Values are compared 64 at a time, and one by one only where one of the 64 is large enough, which is rare. So this
takes little longer than reading the memory (`torch.topk` takes three times as long).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from pipeline.compiling import Floats, Ints, compiled

_BLOCK = 64
_ROWS_A_THREAD = 64
"""Fewer rows are not worth a thread."""

Find = Callable[[Floats, Ints, Ints, Floats], int]
"""From blocks of pre-activations [n_tokens, n_blocks, 64], fills in the number of firings per token, and each
firing's feature and activation; returns the total number of firings."""


def is_cut_in_blocks(pre: Tensor) -> bool:
    """Whether pre-activations are on a CPU and their features make up whole blocks."""
    return pre.is_cpu and pre.shape[1] % _BLOCK == 0


def find_largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest of each token, if above 0, of float32 [n_tokens, n_features]: tokens, features, activations.

    NaN counts as infinity.
    """
    return _find(pre, k, lambda blocks, *found: _largest(blocks, k, *found))


def find_above(pre: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The values above their feature's threshold ([n_features] or []), and NaN; columns as `find_largest`."""
    lowest = threshold.expand(pre.shape[1]).contiguous().numpy().reshape(-1, _BLOCK)
    return _find(pre, pre.shape[1], lambda blocks, *found: _above(blocks, lowest, *found))


def _find(pre: Tensor, at_most: int, find: Find) -> tuple[Tensor, Tensor, Tensor]:
    """What `find` finds in all tokens, split among threads; `at_most` bounds the firings of a token."""

    def find_in(blocks: Floats) -> tuple[Ints, Ints, Floats]:
        counts, room = np.empty(len(blocks), np.int64), len(blocks) * at_most
        features, values = np.empty(room, np.int64), np.empty(room, np.float32)  # costs only what is written
        n = find(blocks, counts, features, values)
        return counts, features[:n].copy(), values[:n].copy()

    n_parts = max(1, min(torch.get_num_threads(), len(pre) // _ROWS_A_THREAD))
    parts = np.array_split(pre.contiguous().numpy().reshape(len(pre), -1, _BLOCK), n_parts)
    found = [find_in(parts[0])] if n_parts == 1 else [*_threads(n_parts).map(find_in, parts)]
    counts, features, values = (torch.from_numpy(np.concatenate(column)) for column in zip(*found, strict=True))
    return torch.repeat_interleave(counts), features, values


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="firings found")


@compiled
def _largest(blocks: Floats, k: int, counts: Ints, features: Ints, values: Floats) -> int:
    """Find the k largest of each token, if above 0; returns how many there are in all.

    Those kept so far form a heap with the smallest at the root: the parent of row r is row (r - 1) // 2, and no
    larger. `lowest` is what a value must exceed to be kept: 0 until the heap is full, then its root.
    """
    n_tokens, n_blocks, n = blocks.shape
    root = 0
    for token in range(n_tokens):
        size, lowest = 0, np.float32(0)
        for block in range(n_blocks):
            # 1. Whether any value of the block is large enough: without a branch, so that it is vectorised, and by
            #    `not <=` instead of `>`, so that it finds NaN.
            part = blocks[token, block]
            n_above = np.int32(0)
            for i in range(_BLOCK):
                n_above += np.int32(not (part[i] <= lowest))
            if n_above == 0:
                continue
            # 2. Only then, value by value; `lowest` rises as the heap fills.
            for i in range(n):
                value = part[i]
                if value <= lowest:
                    continue
                if not (value < np.inf):
                    value = np.float32(np.inf)
                # 3. Where it goes in the heap.
                at = size
                if size < k:  # from the end, move up until the parent is smaller
                    size += 1
                    while at > 0 and value < values[root + (at - 1) // 2]:
                        parent = (at - 1) // 2
                        values[root + at], features[root + at] = values[root + parent], features[root + parent]
                        at = parent
                else:  # from the root, move down until both children are larger
                    at, child = 0, 1
                    while child < k:
                        if child + 1 < k and values[root + child + 1] < values[root + child]:
                            child += 1
                        if value <= values[root + child]:
                            break
                        values[root + at], features[root + at] = values[root + child], features[root + child]
                        at, child = child, 2 * child + 1
                values[root + at], features[root + at] = value, block * _BLOCK + i
                if size == k:
                    lowest = values[root]
        counts[token] = size
        root += size  # the next token's heap begins where this one ends
    return root


@compiled
def _above(blocks: Floats, thresholds: Floats, counts: Ints, features: Ints, values: Floats) -> int:
    """Find the values above their feature's threshold, token by token; returns how many there are in all."""
    n_tokens, n_blocks, n = blocks.shape
    n_found = 0
    for token in range(n_tokens):
        counts[token] = -n_found  # the number after the token is added to it
        for block in range(n_blocks):
            part, lowest = blocks[token, block], thresholds[block]
            n_above = np.int32(0)
            for i in range(_BLOCK):
                n_above += np.int32(not (part[i] <= lowest[i]))
            if n_above == 0:
                continue
            for i in range(n):
                if not (part[i] <= lowest[i]):
                    features[n_found], values[n_found] = block * _BLOCK + i, part[i]
                    n_found += 1
        counts[token] += n_found
    return n_found
