"""How much of what a model knows an SAE keeps: the model's loss with the reconstruction in place of what it read.

    loss_recovered = (ablated - spliced) / (ablated - clean)

1 is as good as what stood there, 0 no better than zeros (SAELens' ce_loss_score, dictionary_learning's
frac_recovered). A loss is the mean over tokens of -ln p(next token), in nats. Clean is the model as it is;
spliced, with the SAE's reconstruction, or in place of what a module returns what its transcoder makes of the
module's input; ablated, with zeros there. The first token of a text and a BOS stay as they are, and what follows
them is not counted.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.fit.places import Place
from pipeline.sae import SparseCoder
from pipeline.subject.contexts import pad_contexts
from pipeline.subject.editing import editing
from pipeline.subject.hookpoints import parse_address

_LOGIT_BYTES = 1 << 28
"""Bound on the logits of one forward pass; no setting, as how rows are cut decides their last digits."""


class Loss(NamedTuple):
    """Mean losses in nats a token; null where they could not be measured, for a reason in words.

    Attributes:
        loss_recovered: The share of the loss that the SAE keeps; null where zeros do no harm.
        loss: Of the model as it is.
        loss_spliced: With the reconstruction.
        loss_ablated: With zeros.
        n_loss_tokens: How many next tokens were predicted.
        loss_reason: Why there is no loss_recovered.
    """

    loss_recovered: float | None = None
    loss: float | None = None
    loss_spliced: float | None = None
    loss_ablated: float | None = None
    n_loss_tokens: int | None = None
    loss_reason: str | None = None


def unmeasurable(model: nn.Module, place: Place) -> str | None:
    """Why what stands at a place cannot be replaced in a base model; None where it can."""
    target, address = place.target, parse_address(place.name)
    is_between = address is not None and "resid_mid" in address.places
    if target.reads == "input" and (is_between or "Norm" in type(model.get_submodule(target.module)).__name__):
        return f"the residual stream goes on past '{target.module}', so that nothing can be put in its place"
    return None


@torch.inference_mode()
def measure_loss(
    model: Any, coder: SparseCoder, place: Place, contexts: Sequence[Sequence[int]], n_kept: int
) -> Loss:
    """The losses on some texts, of which the first n_kept tokens stay as they are.

    The model is a causal one, with its LM head, on the device of the coder.
    """
    sums, n_tokens = [0.0, 0.0, 0.0], 0
    for token_ids, is_edited in _batches(contexts, n_kept, model):
        changes: tuple[AbstractContextManager[None], ...] = (
            nullcontext(),
            _spliced(model, coder, place, is_edited),
            editing(model.base_model, place.target, partial(_replaced, is_edited, 0.0)),
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
        return Loss(None, clean, spliced, ablated, n_tokens, "zeros in its place do no harm")
    return Loss((ablated - spliced) / (ablated - clean), clean, spliced, ablated, n_tokens)


def _batches(contexts: Sequence[Sequence[int]], n_kept: int, model: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Padded token ids [n, length], and which of them are edited."""
    longest = max(map(len, contexts), default=1)
    at_once = max(1, _LOGIT_BYTES // (4 * longest * model.config.get_text_config().vocab_size))
    numbered = list(enumerate(contexts))
    for first in range(0, len(numbered), at_once):
        batch = pad_contexts(numbered[first : first + at_once], longest)
        positions = torch.arange(batch.token_ids.shape[1])
        is_edited = (positions >= n_kept) & (positions < batch.lengths[:, None])
        yield batch.token_ids.to(model.device), is_edited.to(model.device)


@contextmanager
def _spliced(model: Any, coder: SparseCoder, place: Place, is_edited: Tensor) -> Iterator[None]:
    """Replace edited tokens' values at the place by what the coder makes of those that it reads."""
    found: list[Tensor] = []

    def read(value: Tensor) -> Tensor:
        x = value.view(*is_edited.shape, -1)[is_edited].float()  # some modules see all tokens in one row
        given = place.reads.of(x)
        y = coder.reconstruct(given, coder.encode(given))
        found[:] = [y if coder.transcodes else y + (x - given)]  # what centring took away
        return value

    with ExitStack() as stack:
        stack.enter_context(editing(model.base_model, place.reads, read))
        stack.enter_context(editing(model.base_model, place.target, lambda y: _replaced(is_edited, found[0], y)))
        yield


def _replaced(is_edited: Tensor, others: Tensor | float, value: Tensor) -> Tensor:
    """The value with others [n_edited, width] in place of edited tokens."""
    edited = value.clone().view(*is_edited.shape, -1)
    edited[is_edited] = torch.as_tensor(others, dtype=value.dtype, device=value.device)
    return edited.view(value.shape)


def _losses(model: Any, token_ids: Tensor, is_edited: Tensor) -> Tensor:
    """-ln p of what follows each edited token, float32 [n_followed]."""
    logits = model(input_ids=token_ids, use_cache=False).logits
    is_followed = is_edited[:, :-1] & is_edited[:, 1:]
    return cross_entropy(logits[:, :-1][is_followed].float(), token_ids[:, 1:][is_followed], reduction="none")
