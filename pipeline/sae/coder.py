"""One sparse autoencoder, whatever its file format: dense activations in, firings out."""

from dataclasses import dataclass, fields, replace
from threading import local
from typing import Any, Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, linear

from pipeline.sae.firing import find_above, find_largest, is_cut_in_blocks

_DENSE_BYTES, _GPU_DENSE_BYTES = 1 << 28, 1 << 30
"""Bound on the size of the dense pre-activations that exist at once; a GPU is waited for after each part."""


class _Room(local):
    """A thread's memory for dense pre-activations, reused by every call.

    The system clears the pages of new memory first, which costs a tenth of the matrix product's time at 16,384
    features.
    """

    values = torch.empty(0)

    def of(self, n_tokens: int, n_features: int) -> Tensor:
        """Float32 [n_tokens, n_features] on a CPU, uninitialised; valid until the next call."""
        size = n_tokens * n_features
        if len(self.values) < size:
            self.values = torch.empty(size)
        return self.values[:size].view(n_tokens, n_features)


_ROOM = _Room()

Side = Literal["output", "input"]
"""Whether a module's output or its input is meant."""

Normalisation = Literal["none", "centred", "layer_norm", "constant_norm_rescale"]
"""What is done to an input of d values: nothing; subtract their mean; subtract their mean and divide by their
standard deviation (with n - 1) plus 1e-5; or scale to norm sqrt(d)."""


class Encoding(NamedTuple):
    """The firings of some tokens as columns, each [n_firings], sorted by token.

    Attributes:
        tokens: int64, row numbers of the input.
        features: int64, feature ids.
        activations: float32, above 0; not finite where the input is not.
    """

    tokens: Tensor
    features: Tensor
    activations: Tensor


class Activation(Protocol):
    """Which pre-activations are firings. NaN counts as a firing, so that it is noticed."""

    def fire(self, pre: Tensor) -> Encoding:
        """The firings among pre-activations, float32 [n_tokens, n_features]; the result is not a view of them."""
        ...


@dataclass(frozen=True)
class TopK:
    """The k largest of each token, if above 0 (Gao et al. 2024, arXiv 2406.04093, section 2.3)."""

    k: int

    def fire(self, pre: Tensor) -> Encoding:
        """See `Activation`."""
        if is_cut_in_blocks(pre):
            return Encoding(*find_largest(pre, self.k))
        values, features = pre.topk(self.k, dim=-1, sorted=False)
        return _above_zero(values, features)


@dataclass(frozen=True)
class GroupMax:
    """The largest of each of k equal groups of features, if above 0 (EleutherAI's sparsify)."""

    k: int

    def fire(self, pre: Tensor) -> Encoding:
        """See `Activation`."""
        values, indices = torch.unflatten(pre, -1, (self.k, -1)).max(dim=-1)
        groups = torch.arange(self.k, device=pre.device) * (pre.shape[1] // self.k)
        return _above_zero(values, indices + groups)


@dataclass(frozen=True)
class JumpReLU:
    """Values strictly above a threshold (Rajamanoharan et al. 2024, arXiv 2407.14435); with threshold 0, the ReLU.

    Attributes:
        threshold: float32 [n_features], or [] if all features share one; never below 0.
    """

    threshold: Tensor

    @classmethod
    def above(cls, threshold: Tensor) -> Self:
        """From the thresholds in a file. Negative ones become 0, because the ReLU is applied first."""
        return cls(threshold.clamp(min=0))

    def fire(self, pre: Tensor) -> Encoding:
        """See `Activation`."""
        if is_cut_in_blocks(pre):
            return Encoding(*find_above(pre, self.threshold))
        tokens, features = (pre <= self.threshold).logical_not_().nonzero(as_tuple=True)
        return Encoding(tokens, features, pre[tokens, features])

    def to(self, device: str | torch.device) -> "JumpReLU":
        """A copy with its threshold on a device."""
        return JumpReLU(self.threshold.to(device))


RELU = JumpReLU(torch.zeros(()))


def fold_gate(
    encoder: Tensor, gate_bias: Tensor, magnitude_bias: Tensor, log_rates: Tensor
) -> tuple[Tensor, Tensor, JumpReLU]:
    """Encoder, bias and threshold of the JumpReLU that is equivalent to a gated SAE.

    With a = x encoder^T and r = log_rates, a gated SAE fires where a + gate_bias > 0, with activation
    relu(a e^r + magnitude_bias). That is h = a e^r + magnitude_bias where h > magnitude_bias - gate_bias e^r (and
    above 0); Rajamanoharan et al. 2024 (arXiv 2404.16014).
    """
    rates = log_rates.exp()
    threshold = JumpReLU.above(magnitude_bias - gate_bias * rates)
    return encoder * rates[:, None], magnitude_bias, threshold


def fold_norms(encoder: Tensor, bias: Tensor, decoder: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder, bias and decoder with the norms of the decoder's rows moved into the activations; they are then 1.

    For SAEs whose firings are decided by activations times these norms. A row of zeros stays zero, and its feature
    never fires.
    """
    norms = decoder.norm(dim=1)
    unit = decoder / norms.clamp_min(torch.finfo(decoder.dtype).tiny)[:, None]
    return encoder * norms[:, None], bias * norms, unit


def _above_zero(values: Tensor, features: Tensor) -> Encoding:
    """The firings among the values [n_tokens, k] of features [n_tokens, k], some of which may be 0 or less."""
    tokens, columns = (values <= 0).logical_not_().nonzero(as_tuple=True)
    return Encoding(tokens, features[tokens, columns], values[tokens, columns])


@dataclass(frozen=True)
class SparseCoder:
    """A sparse autoencoder or transcoder.

    With x normalised, pre = (x - input_bias) encoder^T + encoder_bias; `activation` decides which of these fire.

    Attributes:
        hookpoint: Its hookpoint as its files name it, in any notation; None if they do not.
        encoder: float32 [n_features, d_in].
        encoder_bias: float32 [n_features].
        decoder: float32 [n_features, d_out], one direction per row; d_out equals d_in except for a transcoder.
        activation: `TopK`, `GroupMax`, `JumpReLU` or `RELU`.
        input_bias: float32 [d_in], subtracted from the input; None if nothing is.
        normalisation: What is done to the input first.
        decoder_bias: float32 [d_out], added to the reconstruction; None if nothing is.
        skip: float32 [d_out, d_in], a transcoder's linear skip connection; None if there is none.
        transcodes: Whether it reconstructs another hookpoint than the one it reads.
        target: The reconstructed hookpoint as its files name it, in any notation; None if they do not, or if it is
            not a transcoder.
        architecture: Its name in its files: `topk`, `jumprelu`, `gated`, `BatchTopKSAE`, …
        folded: What was multiplied into the weights, so that they differ from those in the files; None if nothing.
        declared_l0: Firings per token that its files, or the name of their folder, declare, or else its k; None if
            neither is known (`load`).
        format: Name of its file format; empty if it was not loaded.
        revision: Commit of its files on the hub; None if they are local.
    """

    hookpoint: str | None
    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    activation: Activation
    input_bias: Tensor | None = None
    normalisation: Normalisation = "none"
    decoder_bias: Tensor | None = None
    skip: Tensor | None = None
    transcodes: bool = False
    target: str | None = None
    architecture: str = ""
    folded: str | None = None
    declared_l0: float | None = None
    format: str = ""
    revision: str | None = None

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.encoder.shape[0]

    @property
    def reads(self) -> Side:
        """Whether it reads a module's output or input, if its hookpoint is a plain path of a module."""
        return "input" if self.transcodes else "output"

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return self.encoder.shape[1]

    @property
    def k(self) -> int | None:
        """Features kept per token, before those at 0 or less are dropped; None if their number varies."""
        return self.activation.k if isinstance(self.activation, TopK | GroupMax) else None

    @property
    def threshold_range(self) -> tuple[float, float] | None:
        """The lowest and the highest threshold of all features; None if the k largest fire instead."""
        if not isinstance(self.activation, JumpReLU):
            return None
        threshold = self.activation.threshold
        return float(threshold.min()), float(threshold.max())

    def without_decoder(self) -> Self:
        """A copy that can only encode: without the decoder, which is as large as the encoder."""
        return replace(self, decoder=self.decoder.new_empty((0, self.decoder.shape[1])), skip=None)

    def to(self, device: str | torch.device) -> Self:
        """A copy with its weights on a device."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor | JumpReLU):
                moved[field.name] = value.to(device)
        return replace(self, **moved)

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Encoding:
        """The firings of tokens x [n_tokens, d_in] of any float dtype; computed in float32.

        Dense values exist for only a few thousand tokens at a time.
        """
        rows = max(1, (_GPU_DENSE_BYTES if x.is_cuda else _DENSE_BYTES) // (4 * self.n_features))
        parts = []
        for number, part in enumerate(torch.split(x, rows)):
            encoding = self.activation.fire(self._pre_activations(part))
            parts.append(encoding._replace(tokens=encoding.tokens + number * rows) if number else encoding)
        if len(parts) == 1:
            return parts[0]
        return Encoding(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def _pre_activations(self, x: Tensor) -> Tensor:
        """Float32 [n_tokens, n_features]; on a CPU, the thread's next call overwrites them."""
        x = self._normalise(x)[0]
        if self.input_bias is not None:
            x = x - self.input_bias
        if not x.is_cpu:
            return linear(x, self.encoder, self.encoder_bias)
        return torch.addmm(self.encoder_bias, x, self.encoder.T, out=_ROOM.of(len(x), self.n_features))

    def _normalise(self, x: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Inputs in float32 as the encoder takes them, and the scale and shift [n_tokens, 1] that undo it."""
        x = x.to(self.encoder.dtype)
        match self.normalisation:
            case "none":
                return x, 1.0, 0.0
            case "constant_norm_rescale":
                scale = x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5
                return x / scale, scale, 0.0
        mean = x.mean(dim=-1, keepdim=True)
        x = x - mean
        if self.normalisation == "centred":
            return x, 1.0, mean
        deviation = x.std(dim=-1, keepdim=True)
        return x / (deviation + 1e-5), deviation, mean

    @torch.inference_mode()
    def unit_of(self, x: Tensor, feature: int) -> Tensor:
        """What one unit of a feature's activation adds to the reconstruction of x [..., d_in].

        Float32 [..., d_out]; [d_out] if it is the same for every x.
        """
        return self.unit(x) * self.decoder[feature]

    @torch.inference_mode()
    def unit(self, x: Tensor) -> Tensor | float:
        """Factor by which one unit of activation scales a feature's decoder direction, at inputs x [..., d_in].

        Float32 [..., 1], or 1 if it is the same for every x.
        """
        return 1.0 if self.transcodes else self._normalise(x)[1]

    @torch.inference_mode()
    def reconstruct(self, x: Tensor, encoding: Encoding) -> Tensor:
        """The reconstruction from the firings of x [n_tokens, d_in]: of x, or of a transcoder's target.

        Float32 [n_tokens, d_out].
        """
        starts = torch.searchsorted(encoding.tokens, torch.arange(len(x), device=x.device))
        found = embedding_bag(
            encoding.features, self.decoder, starts, mode="sum", per_sample_weights=encoding.activations
        )
        if self.decoder_bias is not None:
            found = found + self.decoder_bias
        if self.skip is not None:
            found = found + linear(x.to(self.skip.dtype), self.skip)
        if self.transcodes:
            return found
        _, scale, shift = self._normalise(x)
        return found * scale + shift
