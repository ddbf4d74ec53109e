"""One sparse autoencoder, whatever file it came from: dense activations in, firings out."""

from dataclasses import dataclass, fields, replace
from threading import local
from typing import Any, Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, linear

from pipeline.sae.firing import find_above, find_largest, is_cut_in_blocks

_DENSE_BYTES = 1 << 28
"""Bound on the dense pre-activations that exist at once."""


class _Room(local):
    """Memory of a thread for dense pre-activations, used again and again.

    Of new memory the system clears every page first: a tenth of the product for 16,384 features.
    """

    values = torch.empty(0)

    def of(self, n_tokens: int, n_features: int) -> Tensor:
        """Float32 [n_tokens, n_features] on a CPU, of any content, until it is asked for again."""
        size = n_tokens * n_features
        if len(self.values) < size:
            self.values = torch.empty(size)
        return self.values[:size].view(n_tokens, n_features)


_ROOM = _Room()

Side = Literal["output", "input"]
"""Of a module: what it gives, or what it is given."""

Normalisation = Literal["none", "centred", "layer_norm", "constant_norm_rescale"]
"""What is done to an input of d values: nothing; their mean is subtracted; and it is divided by their standard
deviation (with n - 1) plus 1e-5; or it is scaled to the norm sqrt(d)."""


class Encoding(NamedTuple):
    """The firings of some tokens as columns, each [n_firings], sorted by token.

    Attributes:
        tokens: int64, rows of the input.
        features: int64, feature ids.
        activations: float32, strengths above 0; not finite where the input is not.
    """

    tokens: Tensor
    features: Tensor
    activations: Tensor


class Activation(Protocol):
    """Which pre-activations are firings. What is no number counts as one, so that it cannot go unseen."""

    def fire(self, pre: Tensor) -> Encoding:
        """The firings among pre-activations, float32 [n_tokens, n_features]; no view of these."""
        ...


@dataclass(frozen=True)
class TopK:
    """The k largest of a token, if above 0 (Gao et al. 2024, arXiv 2406.04093, section 2.3)."""

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
        values, places = torch.unflatten(pre, -1, (self.k, -1)).max(dim=-1)
        groups = torch.arange(self.k, device=pre.device) * (pre.shape[1] // self.k)
        return _above_zero(values, places + groups)


@dataclass(frozen=True)
class JumpReLU:
    """What is above a threshold, strictly (Rajamanoharan et al. 2024, arXiv 2407.14435); with 0, the ReLU.

    Attributes:
        threshold: float32 [n_features], or [] where all features have the same; nowhere below 0.
    """

    threshold: Tensor

    @classmethod
    def above(cls, threshold: Tensor) -> Self:
        """Of a file's thresholds, some of which may be below 0: where the ReLU comes first, these are 0."""
        return cls(threshold.clamp(min=0))

    def fire(self, pre: Tensor) -> Encoding:
        """See `Activation`."""
        if is_cut_in_blocks(pre):
            return Encoding(*find_above(pre, self.threshold))
        tokens, features = (pre <= self.threshold).logical_not_().nonzero(as_tuple=True)
        return Encoding(tokens, features, pre[tokens, features])

    def to(self, device: str | torch.device) -> "JumpReLU":
        """The same with its threshold on a device."""
        return JumpReLU(self.threshold.to(device))


RELU = JumpReLU(torch.zeros(()))


def fold_gate(
    encoder: Tensor, gate_bias: Tensor, magnitude_bias: Tensor, log_rates: Tensor
) -> tuple[Tensor, Tensor, JumpReLU]:
    """Encoder, bias and threshold of the JumpReLU that fires as a gated SAE does.

    With a = x encoder^T, a gated SAE fires where a + gate_bias > 0, by relu(a e^r + magnitude_bias), r being the
    log_rates. That is h = a e^r + magnitude_bias where h > magnitude_bias - gate_bias e^r (and above 0);
    Rajamanoharan et al. 2024 (arXiv 2404.16014).
    """
    rates = log_rates.exp()
    threshold = JumpReLU.above(magnitude_bias - gate_bias * rates)
    return encoder * rates[:, None], magnitude_bias, threshold


def fold_norms(encoder: Tensor, bias: Tensor, decoder: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder, bias and decoder whose activations are multiplied by the norms of the decoder's rows, now 1.

    So is read what decides by its activations times these norms. A row of zeros stays one, and never fires.
    """
    norms = decoder.norm(dim=1)
    unit = decoder / norms.clamp_min(torch.finfo(decoder.dtype).tiny)[:, None]
    return encoder * norms[:, None], bias * norms, unit


def _above_zero(values: Tensor, features: Tensor) -> Encoding:
    """The firings among the values [n_tokens, k] of some features [n_tokens, k]; a kept value may be 0 or less."""
    tokens, places = (values <= 0).logical_not_().nonzero(as_tuple=True)
    return Encoding(tokens, features[tokens, places], values[tokens, places])


@dataclass(frozen=True)
class SparseCoder:
    """A sparse autoencoder or transcoder.

    With x normalised, pre = (x - input_bias) encoder^T + encoder_bias, of which `activation` says what fires.

    Attributes:
        hookpoint: Its place in the model as its files name it, in whatever way; None where they do not.
        encoder: float32 [n_features, d_in].
        encoder_bias: float32 [n_features].
        decoder: float32 [n_features, d_out], a feature's direction a row; d_out is d_in but for a transcoder.
        activation: `TopK`, `GroupMax`, `JumpReLU` or `RELU`.
        input_bias: float32 [d_in], subtracted from the input; None where nothing is.
        normalisation: What is done to the input before.
        decoder_bias: float32 [d_out], added to the reconstruction; None where nothing is.
        skip: float32 [d_out, d_in], a transcoder's linear path past the features; None where there is none.
        transcodes: Whether it reconstructs another place than it reads.
        target: That place as its files name it, in whatever way; None where they do not, or it is no transcoder.
        architecture: What its files call it: `topk`, `jumprelu`, `gated`, `BatchTopKSAE`, …
        folded: What was multiplied into the weights, which then are not the files' own; None where nothing was.
        declared_l0: Firings a token as its files, or the name of their folder, declare; None where they do not.
        format: The name of its files' format; empty where it was not loaded.
        revision: The commit of its files on the hub; None where they are local.
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
        """The side of a module that it reads where a module's path names its place, and does not say it."""
        return "input" if self.transcodes else "output"

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return self.encoder.shape[1]

    @property
    def k(self) -> int | None:
        """Features kept a token, before those at 0 or less are left out; None where their number varies."""
        return self.activation.k if isinstance(self.activation, TopK | GroupMax) else None

    @property
    def threshold_range(self) -> tuple[float, float] | None:
        """The lowest and the highest threshold of a feature; None where the k largest fire."""
        if not isinstance(self.activation, JumpReLU):
            return None
        threshold = self.activation.threshold
        return float(threshold.min()), float(threshold.max())

    def without_decoder(self) -> Self:
        """The same coder, to encode alone: its directions, as large as the encoder, are left out."""
        return replace(self, decoder=self.decoder.new_empty((0, self.decoder.shape[1])), skip=None)

    def to(self, device: str | torch.device) -> Self:
        """The same coder with its weights on a device."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor | JumpReLU):
                moved[field.name] = value.to(device)
        return replace(self, **moved)

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Encoding:
        """The firings of tokens x [n_tokens, d_in] of any float dtype; computed in float32.

        Dense values exist for a few thousand tokens at a time only.
        """
        rows = max(1, _DENSE_BYTES // (4 * self.n_features))
        parts = []
        for number, part in enumerate(torch.split(x, rows)):
            encoding = self.activation.fire(self._pre_activations(part))
            parts.append(encoding._replace(tokens=encoding.tokens + number * rows) if number else encoding)
        if len(parts) == 1:
            return parts[0]
        return Encoding(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def _pre_activations(self, x: Tensor) -> Tensor:
        """Float32 [n_tokens, n_features]; on a CPU, those of the thread's next call lie where these do."""
        x = self._normalise(x)[0]
        if self.input_bias is not None:
            x = x - self.input_bias
        if not x.is_cpu:
            return linear(x, self.encoder, self.encoder_bias)
        return torch.addmm(self.encoder_bias, x, self.encoder.T, out=_ROOM.of(len(x), self.n_features))

    def _normalise(self, x: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Inputs in float32 as the encoder takes them, and the scale and shift [n_tokens, 1] that lead back."""
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
        """What a unit of a feature's activation adds to the reconstruction of x [..., d_in].

        Float32 [..., d_out]; [d_out] where that is the same for every x.
        """
        return self.unit(x) * self.decoder[feature]

    @torch.inference_mode()
    def unit(self, x: Tensor) -> Tensor | float:
        """How often its direction a unit of any feature's activation adds, at inputs x [..., d_in].

        Float32 [..., 1], or 1 where that is the same for every x.
        """
        return 1.0 if self.transcodes else self._normalise(x)[1]

    @torch.inference_mode()
    def reconstruct(self, x: Tensor, encoding: Encoding) -> Tensor:
        """What the firings of x [n_tokens, d_in] add up to: x, or a transcoder's output; [n_tokens, d_out]."""
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
