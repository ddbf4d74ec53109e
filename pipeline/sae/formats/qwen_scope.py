"""Qwen-Scope: one file per layer, `layer{n}.sae.pt`, in a repository whose name ends in `-L0_{k}`.

Tensors: W_enc [n, d_in], W_dec [d_in, n], b_enc [n], b_dec [d_in]. The k largest fire; only the repository's name
gives k. b_dec is not subtracted. The residual stream after the layer is read. Based on SAELens 6.54's loader.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.sae.coder import SparseCoder, TopK
from pipeline.sae.files import SaeFiles
from pipeline.sae.training import Training, training_in

FILES = ("*.sae.pt",)


def load(files: SaeFiles) -> SparseCoder:
    """The coder in such a file, float32. Raises SaeError if shapes do not match, or the path gives no k."""
    tensors = files.tensors("*.sae.pt")
    encoder = tensors.take("W_enc", None, None)
    n_features, d_in = encoder.shape
    k = outside(files).get("k", 0)
    if not 0 < k <= n_features:
        tensors.fail("its k is given by its repository's name, '…-L0_{k}', but no folder above it has such a name")
    layer = files.find_in_path(r"layer(\d+)\.sae\.pt$")
    return SparseCoder(
        hookpoint=f"blocks.{layer[1]}.hook_resid_post" if layer else None,
        encoder=encoder,
        encoder_bias=tensors.take("b_enc", n_features),
        decoder=tensors.take("W_dec", d_in, n_features).T.contiguous(),
        activation=TopK(k),
        decoder_bias=tensors.take("b_dec", d_in),
        architecture="topk",
    )


def outside(files: SaeFiles) -> Mapping[str, Any]:
    """Its k, from the repository's name; empty if no folder gives it."""
    found = files.find_in_path(r"-L0_(\d+)")
    return {"k": int(found[1])} if found else {}


def trained_on(files: SaeFiles) -> Training:
    """The model named in the repository's config.json."""
    return training_in(files.config_nearby("config.json"), "config.json", model="base_model")
