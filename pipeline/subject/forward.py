"""The subject model: loaded without its LM head, and run no deeper than the deepest hookpoint.

All hookpoints are read in one pass, which ends as soon as the last of them has been read. `hookpoints` maps names
in the config to hookpoints.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.config import Config, SubjectConfig
from pipeline.errors import SubjectError
from pipeline.models.causal import load_base
from pipeline.models.load import pick_device
from pipeline.sae.coder import Side
from pipeline.subject.compiling import compiled_layers, running_compiled
from pipeline.subject.transfers import move


class Hookpoint(NamedTuple):
    """Where the model is read.

    Attributes:
        module: A module's path below the base model.
        reads: Its output (the first of a tuple), or its first argument.
        centred: Whether each token's mean over the width is subtracted, as in a model with centred writing
            weights (TransformerLens' center_writing_weights).
        rms_eps: If set, each token is divided by sqrt(mean(x^2) + rms_eps), as an RMSNorm does before its gain.
    """

    module: str
    reads: Side = "output"
    centred: bool = False
    rms_eps: float | None = None

    def of(self, value: Tensor) -> Tensor:
        """The values read from the tensor at this hookpoint, [..., width], in its dtype."""
        if self.rms_eps is not None:
            x = value.float()
            value = (x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.rms_eps)).to(value.dtype)
        return value - value.mean(dim=-1, keepdim=True) if self.centred else value


Take = Callable[[Hookpoint, Tensor], None]
"""Takes the values of a hookpoint."""


class Subject:
    """A loaded base model (no LM head).

    With `compiles`, its passes run layers compiled by torch, except those that are read inside.
    """

    def __init__(self, model: nn.Module, name: str, device: torch.device, *, compiles: bool = False) -> None:
        self.model = model.eval().to(device)
        self.name = name
        self.device = device
        self._layers = compiled_layers(model) if compiles else {}

    @torch.inference_mode()
    def run(self, token_ids: Tensor, hookpoints: Collection[Hookpoint], take: Take) -> None:
        """One pass over token_ids [n_contexts, length], int64; `take` gets each hookpoint's values when they are
        computed.

        It is [n_contexts, length, width] each, and the model's own, which may add to it in place: to be used or
        copied at once. Shorter contexts are padded at the end: attention is causal, and what comes before is the
        same.
        """

        def take_shaped(hookpoint: Hookpoint, value: Tensor) -> None:
            # Some modules see all tokens in one row (OPT's MLP, experts).
            take(hookpoint, value.view(*token_ids.shape, -1) if value.ndim == 2 else value)

        with (
            running_compiled(self._layers, self.name, [each.module for each in hookpoints]),
            _handing_over(self.model, self.name, hookpoints, take_shaped),
        ):
            self.model(input_ids=move(token_ids, self.device), use_cache=False)

    def read(self, token_ids: Tensor, hookpoints: Collection[Hookpoint]) -> dict[Hookpoint, Tensor]:
        """A copy of what hookpoints give for token_ids, as `run` hands it over."""
        read: dict[Hookpoint, Tensor] = {}
        self.run(token_ids, hookpoints, lambda hookpoint, value: read.update({hookpoint: value.clone()}))
        return read


_CPU_TOKENS, _GPU_TOKENS = 2048, 16_384
"""Tokens per forward pass: few enough for a CPU's cache, and enough to keep a GPU busy."""


def pass_tokens(config: Config) -> int:
    """Tokens per forward pass of the subject model, from the config or by device."""
    on_gpu = pick_device(config.device).type == "cuda"
    return config.machine.batch_tokens or (_GPU_TOKENS if on_gpu else _CPU_TOKENS)


def load_subject(subject: SubjectConfig, device: str) -> Subject:
    """The subject model in its dtype on a device, loaded once per process."""
    return _load_subject(subject, str(pick_device(device)))


@cache
def _load_subject(subject: SubjectConfig, device: str) -> Subject:
    return Subject(load_base(subject, device), subject.model, torch.device(device), compiles=subject.compile)


class _LastHookpointReadError(Exception):
    """Ends a forward pass; never leaves this module."""


@contextmanager
def reading(
    model: nn.Module, name: str, hookpoints: Collection[Hookpoint], *, copies: bool = True
) -> Iterator[dict[Hookpoint, Tensor]]:
    """As `_handing_over`, into a dict; `copies` guards against models that add in place."""
    read: dict[Hookpoint, Tensor] = {}

    def take(hookpoint: Hookpoint, value: Tensor) -> None:
        read[hookpoint] = value.clone() if copies else value

    with _handing_over(model, name, hookpoints, take):
        yield read


@contextmanager
def _handing_over(model: nn.Module, name: str, hookpoints: Collection[Hookpoint], take: Take) -> Iterator[None]:
    """Hook the model: `take` gets each hookpoint's values in a forward pass, which ends with the last one.

    Raises SubjectError if a hookpoint is not run in the pass, or is not an activation tensor.
    """
    left = set(hookpoints)

    def hand_over(hookpoint: Hookpoint, value: Any) -> None:
        value = value[0] if isinstance(value, tuple) else value
        if not isinstance(value, Tensor) or value.ndim < 2:
            raise SubjectError(
                f"the {hookpoint.reads} of '{hookpoint.module}' of '{name}' is not an activation tensor"
            )
        take(hookpoint, hookpoint.of(value))
        left.discard(hookpoint)
        if not left:
            raise _LastHookpointReadError

    handles = []
    for hookpoint in set(hookpoints):
        module = model.get_submodule(hookpoint.module)
        if hookpoint.reads == "output":
            handle = module.register_forward_hook(
                lambda _module, _inputs, output, hookpoint=hookpoint: hand_over(hookpoint, output)
            )
        else:
            handle = module.register_forward_pre_hook(
                lambda _module, inputs, named, hookpoint=hookpoint: hand_over(
                    hookpoint, [*inputs, *named.values()][0]
                ),
                with_kwargs=True,
            )
        handles.append(handle)
    try:
        yield
    except _LastHookpointReadError:
        pass
    else:
        raise SubjectError(
            f"'{name}' does not run its module '{min(each.module for each in left)}', so nothing can be read there"
        )
    finally:
        for handle in handles:
            handle.remove()
