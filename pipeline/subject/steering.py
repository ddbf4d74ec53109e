"""The subject model with a feature changed: its logits, its continuations, and the strength of a change.

    edit = Edit(feature=7, action="set", strength=0.0)     # zero-ablation
    subject.logits(token_ids, edit)

On every token but the first of a text (an attention sink, on which features are not read) the feature's
activation f becomes f', and the difference, decoded by the SAE, is added at the hookpoint:

    x + (f' - f) scale(x) W_dec[feature]

scale(x) is 1 except for SAEs that scale their input. The SAE's reconstruction error is unchanged.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError
from pipeline.models.causal import load_causal
from pipeline.models.load import pick_device
from pipeline.sae.coder import SparseCoder
from pipeline.subject.editing import editing
from pipeline.subject.forward import Hookpoint, reading
from pipeline.subject.unembedding import path_to_logits

_LOGIT_BYTES = 1 << 28
"""Bound on the logits of one forward pass; not a setting, as splitting rows affects their last digits."""

_TOLERANCE = 0.01
_MAX_STEPS = 40
_MOST_NORMS = 64.0
"""No strength above this multiple of the mean activation norm is tried: it would drown everything else."""
_FIRST_NORMS = 0.25

Action = Literal["add", "set"]


class Edit(NamedTuple):
    """How a feature's activation is changed.

    Attributes:
        feature: Its index in the SAE.
        action: `add`: strength is added to its activation; `set`: its activation becomes strength.
        strength: In units of the feature's activation.
    """

    feature: int
    action: Action
    strength: float


class SteeredSubject:
    """A causal language model (with its LM head) and the SAE whose features steer it."""

    def __init__(
        self, model: Any, name: str, device: torch.device, coder: SparseCoder, hookpoint: Hookpoint
    ) -> None:
        self._model = model
        self._name = name
        self._coder = coder
        self._hookpoint = hookpoint
        self.device = device

    @torch.inference_mode()
    def logits(self, token_ids: Tensor, edit: Edit | None = None) -> Tensor:
        """Logits of every next token, float32 [n_texts, length, n_tokens], of int64 [n_texts, length]."""
        parts = []
        for some in self.split(token_ids.to(self.device)):
            with self._edited(len(some), edit):
                parts.append(self._model(input_ids=some, use_cache=False).logits.float())
        return torch.cat(parts)

    @torch.inference_mode()
    def write(self, token_ids: Tensor, draws: Tensor, edit: Edit | None = None) -> Tensor:
        """The model's continuations: int64 [n_texts, n_new], on the CPU.

        Args:
            token_ids: The texts so far, int64 [n_texts, length], all of one length.
            draws: Numbers from 0 to 1 [n_texts, n_new], float64: each selects a token by inverse CDF over the
                vocabulary in order, so that the same numbers give the same text.
            edit: The change, applied throughout prompt and continuation.
        """
        cache = DynamicCache(config=self._model.config)
        ids, written = token_ids.to(self.device), []
        with self._edited(len(token_ids), edit):
            for step in range(draws.shape[1]):
                output = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                ids = _take(output.logits[:, -1].float(), draws[:, step])[:, None]
                written.append(ids)
        return torch.cat(written, dim=1).cpu()

    @torch.inference_mode()
    def mean_norm(self, token_ids: Tensor) -> float:
        """The mean norm of the activation at the hookpoint, without first tokens."""
        return float(self._read(token_ids)[:, 1:].float().norm(dim=-1).mean())

    def unit_strength(self, mean_norm: float, feature: int) -> float | None:
        """The strength at which a feature adds the mean activation norm: mean norm / norm of its direction.

        None if the feature's direction is zero.
        """
        own = float(self._coder.decoder[feature].norm())
        return mean_norm / own if own > 0 else None

    def split(self, token_ids: Tensor) -> Sequence[Tensor]:
        """Texts in parts whose logits fit into memory."""
        n_tokens = self._model.config.get_text_config().vocab_size
        return torch.split(token_ids, max(1, _LOGIT_BYTES // (4 * token_ids.shape[1] * n_tokens)))

    def _read(self, token_ids: Tensor) -> Tensor:
        """The activations at the hookpoint: [n_texts, length, width]."""
        base = self._model.base_model
        with reading(base, self._name, [self._hookpoint]) as read:
            base(input_ids=token_ids.to(self.device), use_cache=False)
        return read[self._hookpoint].view(*token_ids.shape, -1)

    def _activations(self, x: Tensor, feature: int) -> Tensor:
        """The feature's activation on each token, float32 [n_texts, length], of x [n_texts, length, width]."""
        encoding = self._coder.encode(self._hookpoint.of(x).flatten(0, 1))
        is_own = encoding.features == feature
        found = torch.zeros(x.shape[0] * x.shape[1], device=x.device)
        found[encoding.tokens[is_own]] = encoding.activations[is_own]
        return found.view(x.shape[:2])

    @contextmanager
    def _edited(self, n_texts: int, edit: Edit | None) -> Iterator[None]:
        """Change the output, or input, of the hookpoint's module in each forward pass over this many texts."""
        if edit is None:
            yield
            return
        n_seen = 0

        def change(value: Tensor) -> Tensor:
            nonlocal n_seen
            x = value.view(n_texts, -1, value.shape[-1])  # some modules see all tokens in one row
            strength = torch.full(x.shape[:2], edit.strength, device=x.device)
            if edit.action == "set":
                strength = strength - self._activations(x, edit.feature)
            if n_seen == 0:
                strength[:, 0] = 0
            n_seen += x.shape[1]
            added = strength[..., None] * self._coder.unit_of(x, edit.feature)
            return (x.float() + added).to(value.dtype).view(value.shape)

        with editing(self._model.base_model, self._hookpoint, change):
            yield


def _take(logits: Tensor, draws: Tensor) -> Tensor:
    """One token per row: the first at which the cumulative probability exceeds the row's draw; int64 [n]."""
    cumulated = logits.double().softmax(dim=-1).cumsum(dim=-1)
    wanted = draws.to(logits.device)[:, None] * cumulated[:, -1:]
    return torch.searchsorted(cumulated, wanted, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


class Divergence:
    """How far a change moves the model on some texts, int64 [n_texts, length]: a mean KL divergence, in nats.

    KL(changed || unchanged) of the distributions of the next token, the mean over all tokens but the first of
    each text. The distributions of the unchanged model
    are kept, as float16: rounded by 1 in 2,000, they move a mean by far less than a strength's tolerance.
    """

    def __init__(self, subject: SteeredSubject, token_ids: Tensor) -> None:
        self._subject = subject
        self.token_ids = token_ids
        self._parts = [(some, self._log_probabilities(some).half()) for some in subject.split(token_ids)]

    @torch.inference_mode()
    def __call__(self, edit: Edit) -> float:
        """The divergence of an edit."""
        sums = []
        for some, unchanged in self._parts:
            changed = self._log_probabilities(some, edit)  # [n_some, length - 1, n_tokens]
            sums.append(float((changed.exp() * (changed - unchanged)).sum(dim=-1).double().sum()))
        return math.fsum(sums) / (self.token_ids.shape[0] * (self.token_ids.shape[1] - 1))

    def _log_probabilities(self, token_ids: Tensor, edit: Edit | None = None) -> Tensor:
        return self._subject.logits(token_ids, edit)[:, 1:].log_softmax(dim=-1)


class Strength(NamedTuple):
    """The strength found for a target, and its divergence in nats; `is_reached`: whether it is the target's."""

    strength: float
    kl: float
    is_reached: bool


def find_strengths(
    kl_of: Callable[[float], float], targets: Sequence[float], unit: float
) -> dict[float, Strength]:
    """For each target the strength whose divergence is within 1 % of it, by bisection.

    The divergence grows roughly with the square of a small strength, which guides the steps; they never leave the
    interval known to contain the target. Measurements for one target are reused for the next.

    Args:
        kl_of: The divergence of a strength.
        targets: In nats, above 0.
        unit: The strength that adds the mean activation norm; at most 64 times that is tried.
    """
    known = {0.0: 0.0}
    found = {}
    for target in sorted(targets):
        found[target] = _find(kl_of, target, unit, known)
    return found


def _find(kl_of: Callable[[float], float], target: float, unit: float, known: dict[float, float]) -> Strength:
    """The strength for one target; `known` has the divergences measured so far, and is extended."""
    most = _MOST_NORMS * unit
    low = max(strength for strength, kl in known.items() if kl < target)
    high = min((strength for strength, kl in known.items() if strength > low and kl >= target), default=None)
    tried = low
    for step in range(_MAX_STEPS):
        # 1. Where to look: beyond all that is known, or within the interval.
        if high is None:
            if low >= most:
                break
            tried = min(most, max(2 * low, _grown(low, known[low], target)) if low else _FIRST_NORMS * unit)
        else:
            tried = _between(low, high, known, target) if step % 4 < 3 else (low + high) / 2
        # 2. Measure there.
        known[tried] = kl_of(tried)
        if abs(known[tried] / target - 1) <= _TOLERANCE:
            return Strength(tried, known[tried], True)
        if known[tried] < target:
            low = tried
        else:
            high = tried
    return Strength(tried, known[tried], False)


def _grown(strength: float, kl: float, target: float) -> float:
    """The strength for the target if divergence grows with its square; at most 4 times the given one."""
    return strength * min(4.0, math.sqrt(target / kl)) if kl > 0 else 4 * strength


def _between(low: float, high: float, known: dict[float, float], target: float) -> float:
    """The strength for the target by log-log interpolation; at least a twentieth away from both ends."""
    kl_low, kl_high = known[low], known[high]
    if low > 0 and kl_low > 0 and math.isfinite(kl_high):
        share = math.log(target / kl_low) / math.log(kl_high / kl_low)
        strength = low * math.exp(share * math.log(high / low))
    elif math.isfinite(kl_high):
        strength = high * math.sqrt(target / kl_high)
    else:
        strength = (low + high) / 2
    margin = (high - low) / 20
    return min(max(strength, low + margin), high - margin)


def load_steered(
    subject: SubjectConfig, device: str, coder: SparseCoder, name: str, hookpoint: Hookpoint
) -> SteeredSubject:
    """The subject model with its LM head, loaded once per process, steered by an SAE at its hookpoint.

    Args:
        subject, device: The model, and where it runs.
        coder: The SAE.
        name: The hookpoint's name in the config.
        hookpoint: The resolved hookpoint.

    Raises SubjectError if changing a feature makes no sense there.
    """
    check_steering(subject, coder, name, hookpoint)
    found = pick_device(device)
    return SteeredSubject(load_causal(subject, device), subject.model, found, coder.to(found), hookpoint)


def check_steering(subject: SubjectConfig, coder: SparseCoder, name: str, hookpoint: Hookpoint) -> None:
    """Raise SubjectError, with the reason, if the model does not continue from what the SAE writes.

    The residual stream before or after a layer, and what an attention or MLP block adds to it, can be steered.
    """
    cannot = f"features at hookpoint '{name}' of '{subject.model}' cannot be steered: "
    if coder.transcodes:
        raise SubjectError(f"{cannot}a transcoder reads one hookpoint and writes another")
    path = path_to_logits(subject, hookpoint, coder.decoder.shape[1])
    if path == "none":
        raise SubjectError(f"{cannot}it is neither the residual stream nor what a block adds to it")
    if hookpoint.reads == "input" and not hookpoint.module.rpartition(".")[2].isdecimal():
        raise SubjectError(
            f"{cannot}changes at the input of '{hookpoint.module}' do not reach the residual stream"
        )
