"""How much of a model's performance an SAE preserves: the loss with its reconstruction in place of the original.

    loss_recovered = (ablated - spliced) / (ablated - clean)

1 is as good as the original activations, 0 no better than zeros (SAELens' ce_loss_score, dictionary_learning's
frac_recovered). A loss is the mean over tokens of -ln p(next token), in nats. Clean is the unchanged model.
Spliced has the SAE's reconstruction in place of what it reads, or a transcoder's in place of a module's output.
Ablated has zeros there. The first token of a text and a BOS are left unchanged, and the predictions made at them
do not count.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.fit.hookpoints_tried import Hookpoints
from pipeline.sae import SparseCoder
from pipeline.subject.contexts import pad_contexts
from pipeline.subject.editing import editing
from pipeline.subject.hookpoints import parse_address

_LOGIT_BYTES = 1 << 28
"""Bound on the logits of one forward pass; not a setting, because the batch size changes their last digits."""


class Loss(NamedTuple):
    """Mean losses in nats per token; null if they could not be measured, with the reason in words.

    Attributes:
        loss_recovered: Share of the loss that the SAE recovers; null if zeros do not increase the loss.
        loss: With the unchanged model.
        loss_spliced: With the reconstruction.
        loss_ablated: With zeros.
        n_loss_tokens: Number of next tokens predicted.
        loss_reason: Why loss_recovered is null.
    """

    loss_recovered: float | None = None
    loss: float | None = None
    loss_spliced: float | None = None
    loss_ablated: float | None = None
    n_loss_tokens: int | None = None
    loss_reason: str | None = None


def unmeasurable(model: nn.Module, hookpoints: Hookpoints) -> str | None:
    """Why the activations at a hookpoint of a base model cannot be replaced; None if they can."""
    target, address = hookpoints.target, parse_address(hookpoints.name)
    is_between = address is not None and "resid_mid" in address.sites
    if target.reads == "input" and (is_between or "Norm" in type(model.get_submodule(target.module)).__name__):
        return f"the residual stream bypasses '{target.module}', so it cannot be replaced there"
    return None


@torch.inference_mode()
def measure_loss(
    model: Any, coder: SparseCoder, hookpoints: Hookpoints, contexts: Sequence[Sequence[int]], n_kept: int
) -> Loss:
    """The losses on some texts; the first n_kept tokens of each are left unchanged.

    The model is causal, with its LM head, on the coder's device.
    """
    sums, n_tokens = [0.0, 0.0, 0.0], 0
    for token_ids, is_edited in _batches(contexts, n_kept, model):
        changes: tuple[AbstractContextManager[None], ...] = (
            nullcontext(),
            _spliced(model, coder, hookpoints, is_edited),
            editing(model.base_model, hookpoints.target, partial(_replaced, is_edited, 0.0)),
        )
        for number, change in enumerate(changes):
            with change:
                losses = _losses(model, token_ids, is_edited)
            sums[number] += float(losses.double().sum())
        n_tokens += len(losses)
    if n_tokens == 0:
        return Loss(n_loss_tokens=0, loss_reason="the corpus has too few tokens")
    clean, spliced, ablated = (total / n_tokens for total in sums)
    if ablated <= clean:
        return Loss(None, clean, spliced, ablated, n_tokens, "zeros in its place do not increase the loss")
    return Loss((ablated - spliced) / (ablated - clean), clean, spliced, ablated, n_tokens)


def _batches(contexts: Sequence[Sequence[int]], n_kept: int, model: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Padded token ids [n, length], and which of the tokens are edited, bool [n, length]."""
    longest = max(map(len, contexts), default=1)
    at_once = max(1, _LOGIT_BYTES // (4 * longest * model.config.get_text_config().vocab_size))
    numbered = list(enumerate(contexts))
    for first in range(0, len(numbered), at_once):
        batch = pad_contexts(numbered[first : first + at_once], longest)
        positions = torch.arange(batch.token_ids.shape[1])
        is_edited = (positions >= n_kept) & (positions < batch.lengths[:, None])
        yield batch.token_ids.to(model.device), is_edited.to(model.device)


@contextmanager
def _spliced(model: Any, coder: SparseCoder, hookpoints: Hookpoints, is_edited: Tensor) -> Iterator[None]:
    """Replace the values of edited tokens by the coder's reconstruction."""
    found: list[Tensor] = []

    def read(value: Tensor) -> Tensor:
        x = value.view(*is_edited.shape, -1)[is_edited].float()  # some modules take all tokens as one row
        given = hookpoints.reads.of(x)
        y = coder.reconstruct(given, coder.encode(given))
        found[:] = [y if coder.transcodes else y + (x - given)]  # restores what centring removed
        return value

    with ExitStack() as stack:
        stack.enter_context(editing(model.base_model, hookpoints.reads, read))
        replaced = editing(model.base_model, hookpoints.target, lambda y: _replaced(is_edited, found[0], y))
        stack.enter_context(replaced)
        yield


def _replaced(is_edited: Tensor, others: Tensor | float, value: Tensor) -> Tensor:
    """The value, with the values of edited tokens replaced by `others` [n_edited, width]."""
    edited = value.clone().view(*is_edited.shape, -1)
    edited[is_edited] = torch.as_tensor(others, dtype=value.dtype, device=value.device)
    return edited.view(value.shape)


def _losses(model: Any, token_ids: Tensor, is_edited: Tensor) -> Tensor:
    """-ln p of the token after each edited one, float32 [n_followed]."""
    logits = model(input_ids=token_ids, use_cache=False).logits
    is_followed = is_edited[:, :-1] & is_edited[:, 1:]
    return cross_entropy(logits[:, :-1][is_followed].float(), token_ids[:, 1:][is_followed], reduction="none")
