"""The subject model: loaded without its LM head, and run no deeper than the deepest hookpoint.

All hookpoints are read in one pass, which ends as soon as the last of them has been read. How a name in the config
becomes a hookpoint is told by `hookpoints`.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModel

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError
from pipeline.models.load import find_files, load_subject_config, loading, pick_device
from pipeline.models.precision import dtype_of
from pipeline.sae.coder import Side


class Hookpoint(NamedTuple):
    """What is read in the model.

    Attributes:
        module: A module's path below the base model.
        reads: Which side of it: what it returns (of a tuple the first), or its first argument.
        centred: Whether each token's mean over the width is subtracted. It is what a model gives whose writing
            weights were centred (TransformerLens' center_writing_weights).
    """

    module: str
    reads: Side = "output"
    centred: bool = False


class Subject:
    """A loaded base model (no LM head)."""

    def __init__(self, model: nn.Module, name: str, device: torch.device) -> None:
        self.model = model.eval().to(device)
        self.name = name
        self.device = device

    @torch.inference_mode()
    def read(self, token_ids: Tensor, hookpoints: Collection[Hookpoint]) -> dict[Hookpoint, Tensor]:
        """What hookpoints give for token_ids [n_contexts, length], int64: [n_contexts, length, width] each.

        Shorter contexts are padded at the end: attention is causal, so what comes before is unchanged.
        """
        with reading(self.model, self.name, hookpoints) as read:
            self.model(input_ids=token_ids.to(self.device), use_cache=False)
        # Some modules see all tokens in one row (OPT's MLP, experts).
        return {
            hookpoint: value.view(*token_ids.shape, -1) if value.ndim == 2 else value
            for hookpoint, value in read.items()
        }


def load_subject(subject: SubjectConfig, device: str) -> Subject:
    """The subject model in its dtype on a device, loaded once per process."""
    return _load_subject(subject, str(pick_device(device)))


@cache
def _load_subject(subject: SubjectConfig, device: str) -> Subject:
    location = find_files(subject)
    dtype = dtype_of(subject.dtype, torch.device(device))
    config = load_subject_config(subject)
    with loading(subject.model):
        model, report = AutoModel.from_pretrained(
            location.name, config=config, dtype=dtype, output_loading_info=True, **location.arguments
        )
    # transformers fills absent weights with random numbers and goes on. A pooler is behind every hookpoint.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise SubjectError(
            f"subject model '{subject.model}' lacks {len(missing)} weights, such as '{missing[0]}'; its files are "
            "incomplete, or of another architecture than its config says"
        )
    return Subject(model, subject.model, torch.device(device))


class _LastHookpointReadError(Exception):
    """Ends a forward pass; never leaves this module."""


@contextmanager
def reading(
    model: nn.Module, name: str, hookpoints: Collection[Hookpoint], *, copies: bool = True
) -> Iterator[dict[Hookpoint, Tensor]]:
    """Hook the model; the dict fills during a forward pass, which ends with the last hookpoint.

    What is read is copied at once, since some models add to it in place; without `copies` it is the model's own.
    Raises SubjectError if a hookpoint is not run in the pass, or gives no activations.
    """
    read: dict[Hookpoint, Tensor] = {}
    wanted = set(hookpoints)

    def keep(hookpoint: Hookpoint, value: Any) -> None:
        value = value[0] if isinstance(value, tuple) else value
        if not isinstance(value, Tensor) or value.ndim < 2:
            raise SubjectError(f"the {hookpoint.reads} of '{hookpoint.module}' of '{name}' is no activations")
        is_last = len({*read, hookpoint}) == len(wanted)
        if hookpoint.centred:
            read[hookpoint] = value - value.mean(dim=-1, keepdim=True)
        else:
            read[hookpoint] = value.clone() if copies and not is_last else value
        if is_last:
            raise _LastHookpointReadError

    handles = []
    for hookpoint in wanted:
        module = model.get_submodule(hookpoint.module)
        if hookpoint.reads == "output":
            handle = module.register_forward_hook(
                lambda _module, _inputs, output, place=hookpoint: keep(place, output)
            )
        else:
            handle = module.register_forward_pre_hook(
                lambda _module, inputs, named, place=hookpoint: keep(place, [*inputs, *named.values()][0]),
                with_kwargs=True,
            )
        handles.append(handle)
    try:
        yield read
    except _LastHookpointReadError:
        pass
    else:
        left = sorted(hookpoint.module for hookpoint in wanted - {*read})
        raise SubjectError(f"'{name}' does not run its module '{left[0]}', so that nothing can be read there")
    finally:
        for handle in handles:
            handle.remove()
