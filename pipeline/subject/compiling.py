"""Compiling a model's layers with torch, for forward passes that read nothing inside them.

A compiled layer bypasses the hooks of its modules, so only whole layers are compiled, and a layer with a hookpoint
inside runs uncompiled. Hooks on the layer itself still see its input and output.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from pipeline.errors import SubjectError
from pipeline.subject.families import family_of


class _CompiledLayer(NamedTuple):
    """A layer, and its forward pass compiled."""

    layer: nn.Module
    forward: Callable[..., Any]


def compiled_layers(model: Any) -> Mapping[str, _CompiledLayer]:
    """The layers of a base model by path; they are compiled on their first run.

    Raises SubjectError if the model's structure is not known.
    """
    text_config, decoder = model.config.get_text_config(), model.get_decoder()
    family = family_of(text_config)
    if family is None:
        raise SubjectError(
            "subject.compile: latentlake does not know the structure of models of type "
            f"'{text_config.model_type}', so it cannot compile their layers; set it to false"
        )
    prefix = next(path for path, module in model.named_modules() if module is decoder)
    start = ".".join(part for part in (prefix, family.layers) if part)
    return {
        f"{start}.{number}": _CompiledLayer(layer, torch.compile(layer.forward, dynamic=True))
        for number, layer in decoder.get_submodule(family.layers).named_children()
    }


@contextmanager
def running_compiled(layers: Mapping[str, _CompiledLayer], name: str, modules: Collection[str]) -> Iterator[None]:
    """Run compiled layers within the block, except those with one of the modules, which are read, inside.

    Raises SubjectError if torch cannot compile a layer.
    """
    if not layers:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # takes a second

    whole = [
        compiled
        for path, compiled in layers.items()
        if not any(module.startswith(f"{path}.") for module in modules)
    ]
    try:
        for compiled in whole:
            compiled.layer.forward = compiled.forward
        yield
    except TorchDynamoException as error:
        reason = " ".join(str(error).split())[:300]
        raise SubjectError(f"'{name}' cannot be compiled: {reason}; set subject.compile to false") from None
    finally:
        for compiled in whole:
            del compiled.layer.forward  # back to that of its class
