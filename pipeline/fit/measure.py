"""How well an SAE reconstructs its input, read as its files say or in other ways.

A wrong hookpoint, scale or orientation of the weights raises no error, and features still look plausible; only the
reconstruction shows it.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pipeline.sae import SparseCoder

Normalisation = Literal["own", "none", "average_norm", "token_norm", "layer_norm", "scaled_up", "scaled_down"]
"""What is done to the input first: what the coder itself does; or, instead, nothing; scale it to a mean norm of
sqrt(d); scale each token to norm sqrt(d); or subtract each token's mean and divide by its standard deviation. Or
it is multiplied or divided by sqrt(2) before what the coder itself does. The reconstruction is scaled back."""

_FACTORS = {"scaled_up": 2**0.5, "scaled_down": 0.5**0.5}

Weights = Literal["own", "input_bias", "transposed"]
"""As loaded; with b_dec subtracted from the input if it was not, or not subtracted if it was; or with the decoder
transposed, if it is square."""

_MASSIVE = 10.0
"""An activation is massive if its norm is above this many times the median norm."""


class Figures(NamedTuple):
    """How well some tokens are reconstructed.

    Attributes:
        fvu: Fraction of variance unexplained: squared errors over squared distances from the mean. 0 is perfect,
            1 is as good as the mean alone. Null with fewer than two tokens.
        l0: Mean number of features that fire on a token.
        dead_share: Share of the features that fire on none of these tokens.
        norm_ratio: Mean ratio of a reconstruction's norm to its target's norm.
        n_tokens: Number of tokens measured.
    """

    fvu: float | None
    l0: float | None
    dead_share: float | None
    norm_ratio: float | None
    n_tokens: int


def is_massive(y: Tensor) -> Tensor:
    """Which tokens of y [n_tokens, width] have massive activations: bool [n_tokens].

    A few of these (Sun et al. 2024, arXiv 2402.17762) carry most of the variance, so anything that reconstructs
    only them well seems to fit.
    """
    norms: Tensor = y.norm(dim=1)
    return norms.gt(_MASSIVE * norms.median()) if len(y) else norms.bool()


def measure(coder: SparseCoder, x: Tensor, y: Tensor, normalisation: Normalisation = "own") -> Figures:
    """The figures of a coder on inputs x [n_tokens, d_in] with reconstruction targets y [n_tokens, d_out].

    y is x itself, except for a transcoder.
    """
    if len(y) < 2:
        return Figures(None, None, None, None, len(y))
    if normalisation not in {"own", *_FACTORS}:
        coder = replace(coder, normalisation="none")
    given, scale, shift = _normalise(x, normalisation)
    encoding = coder.encode(given)
    found = coder.reconstruct(given, encoding)
    if not coder.transcodes:
        found = found * scale + shift
    fired = encoding.features
    return Figures(
        fvu=float((y - found).square().sum() / (y - y.mean(dim=0)).square().sum()),
        l0=len(fired) / len(y),
        dead_share=1 - len(torch.unique(fired)) / coder.n_features,
        norm_ratio=float((found.norm(dim=1) / y.norm(dim=1)).mean()),
        n_tokens=len(y),
    )


def with_weights(coder: SparseCoder, weights: Weights) -> SparseCoder | None:
    """The coder with its weights read in another way; None if that is impossible."""
    match weights:
        case "own":
            return coder
        case "input_bias":
            if coder.input_bias is not None:
                return replace(coder, input_bias=None)
            b_dec = coder.decoder_bias
            can_be = b_dec is not None and len(b_dec) == coder.d_in  # not if a transcoder writes another width
            return replace(coder, input_bias=b_dec) if can_be else None
        case "transposed":
            n_features, width = coder.decoder.shape
            return replace(coder, decoder=coder.decoder.T.contiguous()) if n_features == width else None


def _normalise(x: Tensor, how: Normalisation) -> tuple[Tensor, Tensor | float, Tensor | float]:
    """The normalised input, and the scale and shift that undo it."""
    root = x.shape[1] ** 0.5
    match how:
        case "own" | "none":
            return x, 1.0, 0.0
        case "scaled_up" | "scaled_down":
            return x * _FACTORS[how], 1 / _FACTORS[how], 0.0
        case "average_norm":
            scale = x.norm(dim=1).mean() / root
            return x / scale, scale, 0.0
        case "token_norm":
            scale = x.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny) / root
            return x / scale, scale, 0.0
        case "layer_norm":
            mean = x.mean(dim=1, keepdim=True)
            scale = x.std(dim=1, keepdim=True) + 1e-5
            return (x - mean) / scale, scale, mean
