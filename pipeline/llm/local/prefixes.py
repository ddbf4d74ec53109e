"""Groups prompts that begin alike, so that their common prefix is computed once."""

from collections.abc import Sequence
from typing import NamedTuple

_WINDOW = 256
"""Prompts divided at a time, and so the maximum size of a group: the search takes quadratic time."""


class Group(NamedTuple):
    """The indices of prompts in the list, and the number of tokens that all of them begin with."""

    indices: tuple[int, ...]
    n_shared: int


def group_by_prefix(prompts: Sequence[Sequence[int]], pass_cost: int) -> list[Group]:
    """Divide prompts (token ids) so that as little as possible is computed; every index is in exactly one group.

    In lexicographic order, prompts with a shared prefix are adjacent. Of all ways to cut that order into runs,
    this takes the one with the lowest total cost. A run costs its shared tokens, the other tokens of each prompt,
    and `pass_cost`: the fixed cost of a pass, in tokens that could be read in that time.

    The last token of a prompt never counts as shared, so that logits are computed for each prompt. A single prompt
    shares nothing. Within a group, shorter prompts come first.
    """
    order = sorted(range(len(prompts)), key=lambda index: tuple(prompts[index]))
    groups: list[Group] = []
    for start in range(0, len(order), _WINDOW):
        groups += _cut(order[start : start + _WINDOW], prompts, pass_cost)
    return groups


def _cut(order: Sequence[int], prompts: Sequence[Sequence[int]], pass_cost: int) -> list[Group]:
    """The cheapest cut of sorted prompts into runs, by dynamic programming over the start of the last run."""
    n = len(order)
    lengths = [len(prompts[index]) for index in order]
    # Tokens shared with the left neighbour; a run shares the minimum of these within it.
    shared = [0] + [n_shared_tokens(prompts[order[k - 1]], prompts[order[k]]) for k in range(1, n)]
    cost = [0.0] + [float("inf")] * n
    begin, run_shares = [0] * (n + 1), [0] * (n + 1)
    for end in range(1, n + 1):
        prefix, tokens = 0, 0
        for first in range(end - 1, -1, -1):
            tokens += lengths[first]
            if first == end - 2:
                prefix = min(shared[end - 1], lengths[first] - 1, lengths[end - 1] - 1)
            elif first < end - 2:
                prefix = min(prefix, shared[first + 1], lengths[first] - 1)
            size = end - first
            run = prefix + tokens - size * prefix + pass_cost
            if cost[first] + run < cost[end]:
                cost[end], begin[end], run_shares[end] = cost[first] + run, first, prefix
    groups = []
    end = n
    while end > 0:
        indices = sorted(order[begin[end] : end], key=lambda index: (len(prompts[index]), tuple(prompts[index])))
        groups.append(Group(tuple(indices), run_shares[end]))
        end = begin[end]
    return groups[::-1]


def n_shared_tokens(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix of two prompts, in tokens."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))
