"""Logits in float32 from a model in lower precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models.int8 import Int8Linear


@contextmanager
def precise_head(model: Any) -> Iterator[None]:
    """Compute logits in float32: bfloat16 rounds logits of 16 to 32 to steps of 0.125, so that choices tie.

    The inputs of an int8 head are used as they are, not rounded to 8 bits.
    """

    def in_float32(head: nn.Linear | Int8Linear, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        if logits.dtype == torch.float32 and isinstance(head, nn.Linear):
            return logits
        states = inputs[0].float()
        # In parts, so that a large head is never copied as a whole.
        parts = head.weight.chunk(1 + len(head.weight) // 16_384)
        exact = torch.cat([states @ part.float().T for part in parts], dim=-1)
        if isinstance(head, Int8Linear):
            exact *= head.scale
        return exact if head.bias is None else exact + head.bias

    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear | Int8Linear):
        yield
        return
    hook = head.register_forward_hook(in_float32)
    try:
        yield
    finally:
        hook.remove()
