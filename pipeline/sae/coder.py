"""One sparse autoencoder, whatever file it came from: dense activations in, firings out."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_DENSE_BYTES = 1 << 28
"""Bound on the dense pre-activations that exist at once."""


class Encoding(NamedTuple):
    """The firings of some tokens. A kept value of 0 is padding and no firing.

    Attributes:
        indices: int64 [n_tokens, width], feature ids.
        activations: float32 [n_tokens, width], strengths, never below 0.
    """

    indices: Tensor
    activations: Tensor


@dataclass(frozen=True)
class SparseCoder:
    """A TopK sparse autoencoder or transcoder (Gao et al. 2024, arXiv 2406.04093, section 2.3).

    With centred input, pre = relu((x - b_dec) W_enc^T + b_enc), and the k largest values are kept: of all
    features (`topk`), or one of each of k equal groups (`groupmax`).

    Attributes:
        hookpoint: Module path below the base model that its files name, or None.
        reads: Whether it encodes the module's output, or its input (a transcoder).
        encoder: float32 [n_features, d_in].
        encoder_bias: float32 [n_features].
        decoder: float32 [n_features, d_in], a feature's direction a row.
        input_bias: float32 [d_in], subtracted from the input; None where nothing is.
        k: Features kept a token.
        activation: `topk` or `groupmax`.
        decoder_bias: float32 [d_out], added to the reconstruction; None where nothing is.
        transcodes: Whether it reconstructs another place than it reads.
        declared_l0: Firings a token as its files declare; None where they do not.
    """

    hookpoint: str | None
    reads: Literal["output", "input"]
    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    input_bias: Tensor | None
    k: int
    activation: Literal["topk", "groupmax"] = "topk"
    decoder_bias: Tensor | None = None
    transcodes: bool = False
    declared_l0: float | None = None

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.encoder.shape[0]

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return self.encoder.shape[1]

    def to(self, device: str | torch.device) -> Self:
        """The same coder with its weights on a device."""
        return replace(
            self,
            encoder=self.encoder.to(device),
            encoder_bias=self.encoder_bias.to(device),
            decoder=self.decoder.to(device),
            input_bias=None if self.input_bias is None else self.input_bias.to(device),
            decoder_bias=None if self.decoder_bias is None else self.decoder_bias.to(device),
        )

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Encoding:
        """The firings of tokens x [n_tokens, d_in] of any float dtype; computed in float32.

        Dense values exist for a few thousand tokens at a time only.
        """
        rows = max(1, _DENSE_BYTES // (4 * self.n_features))
        parts = [self._encode_dense(part) for part in torch.split(x, rows)]
        if len(parts) == 1:
            return parts[0]
        return Encoding(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    @torch.inference_mode()
    def reconstruct(self, x: Tensor, encoding: Encoding) -> Tensor:
        """What the firings of x [n_tokens, d_in] add up to: about x; a transcoder's output, [n_tokens, d_out]."""
        found = embedding_bag(
            encoding.indices, self.decoder, mode="sum", per_sample_weights=encoding.activations
        )
        return found if self.decoder_bias is None else found + self.decoder_bias

    def _encode_dense(self, x: Tensor) -> Encoding:
        x = x.to(self.encoder.dtype)
        if self.input_bias is not None:
            x = x - self.input_bias
        pre = torch.nn.functional.linear(x, self.encoder, self.encoder_bias).relu_()  # [n_tokens, n_features]
        if self.activation == "groupmax":
            activations, places = torch.unflatten(pre, -1, (self.k, -1)).max(dim=-1)
            groups = torch.arange(self.k, device=pre.device) * (self.n_features // self.k)
            return Encoding(places + groups, activations)
        activations, indices = pre.topk(self.k, dim=-1, sorted=False)
        return Encoding(indices, activations)
