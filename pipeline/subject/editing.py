"""Changing what the subject model computes at a hookpoint."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.subject.forward import Hookpoint, Subject


@contextmanager
def editing(model: nn.Module, hookpoint: Hookpoint, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change the output, or input, of the hookpoint's module in each forward pass of the model.

    Args:
        model: The model without its LM head.
        hookpoint: The hookpoint.
        change: Maps the tensor at the hookpoint to its replacement, of the same shape and dtype.
    """

    def change_output(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    def change_input(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if inputs:
            return (change(inputs[0]), *inputs[1:]), named
        first = next(iter(named))
        return inputs, {**named, first: change(named[first])}

    module = model.get_submodule(hookpoint.module)
    handle = (
        module.register_forward_hook(change_output)
        if hookpoint.reads == "output"
        else module.register_forward_pre_hook(change_input, with_kwargs=True)
    )
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def run_edited(
    subject: Subject, token_ids: Tensor, hookpoint: Hookpoint, edit: Callable[[Tensor], Tensor]
) -> Tensor:
    """The last hidden states, after the final norm, [n, length, d_model] in the model's dtype.

    Args:
        subject: The model; it runs to its end.
        token_ids: int64 [n, length].
        hookpoint: The hookpoint.
        edit: Maps the tensor at the hookpoint, [n, length, width], to its replacement.
    """
    shape = token_ids.shape

    def change(value: Tensor) -> Tensor:
        # Some modules see all tokens in one row.
        return edit(value.view(*shape, -1)).to(value.dtype).view(value.shape)

    with editing(subject.model, hookpoint, change):
        last: Tensor = subject.model(input_ids=token_ids.to(subject.device), use_cache=False).last_hidden_state
    return last
