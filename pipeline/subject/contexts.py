"""Contexts of the corpus in batches for the subject model, padded to one length."""

from collections.abc import Sequence
from typing import NamedTuple

import torch


class ContextBatch(NamedTuple):
    """Contexts padded at the end to one length: token_ids int64 [n, length], lengths and first_index [n]."""

    token_ids: torch.Tensor
    lengths: torch.Tensor
    first_index: torch.Tensor

    @property
    def n_tokens(self) -> int:
        """Tokens without the padding."""
        return int(self.lengths.sum())


def pad_contexts(contexts: Sequence[tuple[int, Sequence[int]]], context_length: int) -> ContextBatch:
    """A batch of (context_id, token_ids)."""
    width = max(len(token_ids) for _, token_ids in contexts)
    padded = torch.zeros((len(contexts), width), dtype=torch.long)
    for row, (_, token_ids) in enumerate(contexts):
        padded[row, : len(token_ids)] = torch.tensor(token_ids)
    return ContextBatch(
        padded,
        torch.tensor([len(token_ids) for _, token_ids in contexts]),
        torch.tensor([context_id for context_id, _ in contexts]) * context_length,
    )
