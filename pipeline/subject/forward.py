"""The subject model: loaded without its LM head, and run no deeper than the deepest hookpoint.

A hookpoint is a module path below the base model (`layers.9`, `layers.9.mlp`). All hookpoints are read in
one pass, which ends as soon as the last of them has been read.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModel

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError, nearest
from pipeline.models.load import find_files, load_subject_config, loading, pick_device
from pipeline.models.precision import dtype_of


class Hookpoint(NamedTuple):
    """A place in the model: a module's path below the base model, and which side of it is read."""

    module: str
    reads: Literal["output", "input"] = "output"


def hookpoint_widths(subject: SubjectConfig, hookpoints: Collection[Hookpoint]) -> dict[Hookpoint, int]:
    """The width of what each hookpoint gives, found without loading a weight.

    The model is built on torch's meta device and run once on shapes alone.

    Raises:
        SubjectError: The model cannot be found, or a hookpoint is no module of it.
    """
    model = _shapes(subject)
    _check_hookpoints(model, subject.model, hookpoints)
    # A ready-made mask: transformers would look into the (absent) values to make one.
    arguments = {"attention_mask": torch.zeros((1, 1, 4, 4), device="meta"), "use_cache": False}
    with _reading(model, hookpoints) as read:
        model(input_ids=torch.zeros((1, 4), dtype=torch.long, device="meta"), **arguments)
    return {hookpoint: read[hookpoint].shape[-1] for hookpoint in hookpoints}


def module_paths(subject: SubjectConfig) -> frozenset[str]:
    """The paths of all modules below the base model. Raises SubjectError if the model cannot be found."""
    return frozenset(path for path, _ in _shapes(subject).named_modules() if path)


@cache
def _shapes(subject: SubjectConfig) -> nn.Module:
    """The base model without a weight, on torch's meta device."""
    config = load_subject_config(subject)  # may convert a GGUF file, which needs real tensors
    with torch.device("meta"):
        model: nn.Module = AutoModel.from_config(config)
    return model


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
        with _reading(self.model, hookpoints) as read:
            self.model(input_ids=token_ids.to(self.device), use_cache=False)
        return read


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
def _reading(model: nn.Module, hookpoints: Collection[Hookpoint]) -> Iterator[dict[Hookpoint, Tensor]]:
    """Hook the model; the dict fills during a forward pass, which ends with the last hookpoint."""
    read: dict[Hookpoint, Tensor] = {}

    def keep(hookpoint: Hookpoint, value: Any) -> None:
        read[hookpoint] = value[0] if isinstance(value, tuple) else value
        if len(read) == len(set(hookpoints)):
            raise _LastHookpointReadError

    handles = []
    for hookpoint in set(hookpoints):
        module = model.get_submodule(hookpoint.module)
        if hookpoint.reads == "output":
            handle = module.register_forward_hook(
                lambda _module, _inputs, output, place=hookpoint: keep(place, output)
            )
        else:
            handle = module.register_forward_pre_hook(lambda _module, inputs, place=hookpoint: keep(place, inputs))
        handles.append(handle)
    try:
        yield read
    except _LastHookpointReadError:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _check_hookpoints(model: nn.Module, name: str, hookpoints: Collection[Hookpoint]) -> None:
    known = [path for path, _ in model.named_modules() if path]
    for hookpoint in hookpoints:
        if hookpoint.module not in known:
            raise SubjectError(
                f"hookpoint '{hookpoint.module}' is not a module of '{name}'; "
                f"nearest: {nearest(hookpoint.module, known)}"
            )
