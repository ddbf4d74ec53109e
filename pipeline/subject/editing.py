"""The subject model with what it computes at a place changed, and what it makes of that."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pipeline.subject.forward import Hookpoint, Subject


@torch.inference_mode()
def run_edited(
    subject: Subject, token_ids: Tensor, hookpoint: Hookpoint, edit: Callable[[Tensor], Tensor]
) -> Tensor:
    """The last hidden states, after the final norm, [n, length, d_model] in the model's dtype.

    Args:
        subject: The model; it runs to its end.
        token_ids: int64 [n, length].
        hookpoint: The place.
        edit: From what the place holds, [n, length, width], to what the model goes on with.
    """
    shape = token_ids.shape
    module = subject.model.get_submodule(hookpoint.module)

    def edited(value: Tensor) -> Tensor:
        # Some modules see all tokens in one row.
        return edit(value.view(*shape, -1)).to(value.dtype).view(value.shape)

    def change_output(_module: Any, _inputs: Any, output: Any) -> Any:
        return (edited(output[0]), *output[1:]) if isinstance(output, tuple) else edited(output)

    def change_input(_module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if inputs:
            return (edited(inputs[0]), *inputs[1:]), named
        first = next(iter(named))
        return inputs, {**named, first: edited(named[first])}

    if hookpoint.reads == "output":
        handle = module.register_forward_hook(change_output)
    else:
        handle = module.register_forward_pre_hook(change_input, with_kwargs=True)
    try:
        last: Tensor = subject.model(input_ids=token_ids.to(subject.device), use_cache=False).last_hidden_state
    finally:
        handle.remove()
    return last
