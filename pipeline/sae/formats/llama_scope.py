"""Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`.

Tensors: encoder.weight [n, d_in], encoder.bias [n], decoder.weight [d_out, n], decoder.bias [d_out]. JumpReLU with
one jump_relu_threshold. Inputs are scaled to the norm sqrt(d_in) on average: s = sqrt(d_in) / the average norm.
Folded in, as SAELens does it: encoder and threshold times s, decoder and its bias by s. Where hook_point_out is
another place it is a transcoder: decoder and bias by the s of its outputs. Read from SAELens 6.54.
"""

from collections.abc import Mapping
from typing import Any

import torch

from pipeline.sae.coder import JumpReLU, SparseCoder
from pipeline.sae.files import SaeFiles, is_number, object_in, text_in
from pipeline.sae.hub_names import model_in
from pipeline.sae.places import side_of
from pipeline.sae.training import SAELENS_LOADER, Fact, Training

FILES = ("hyperparams.json", "checkpoints/final.safetensors")


def load(files: SaeFiles) -> SparseCoder:
    """The coder in a folder of Llama Scope, float32. Raises SaeError if a file is damaged or does not fit."""
    config, tensors = files.config("hyperparams.json"), files.tensors("checkpoints/final.safetensors")
    encoder = tensors.take("encoder.weight", None, None)
    n_features, d_in = encoder.shape
    for key, size in (("d_model", d_in), ("d_sae", n_features)):
        if config.get(key, size) != size:
            tensors.fail(f"its {key} is {size}, but its hyperparams.json says {config[key]}")
    place = text_in(config, "hook_point_in")
    transcodes = config.get("hook_point_out", place) != place
    decoder = tensors.take("decoder.weight", None if transcodes else d_in, n_features).T.contiguous()
    d_out = decoder.shape[1]
    threshold, norms = _number(files, config, "jump_relu_threshold"), "dataset_average_activation_norm"
    scale = d_in**0.5 / _number(files, object_in(config, norms), "in")
    scale_out = d_out**0.5 / _number(files, object_in(config, norms), "out") if transcodes else scale
    l0 = config.get("top_k")
    return SparseCoder(
        hookpoint=place,
        reads=side_of(place),
        encoder=encoder * scale,
        encoder_bias=tensors.take("encoder.bias", n_features),
        decoder=decoder / scale_out,
        activation=JumpReLU.above(torch.tensor(threshold * scale, dtype=torch.float32)),
        decoder_bias=tensors.take("decoder.bias", d_out) / scale_out,
        transcodes=transcodes,
        target=text_in(config, "hook_point_out") if transcodes else None,
        architecture="jumprelu",
        folded=f"the factor of its inputs' norm, {scale:.6g}"
        + (f", and of its outputs', {scale_out:.6g}" if transcodes else ""),
        declared_l0=l0 if is_number(l0) else None,
    )


def trained_on(files: SaeFiles) -> Training:
    """Llama 3.1 8B, unless its path names another model; contexts of 1,024 tokens behind a BOS."""
    usual = Fact("meta-llama/Llama-3.1-8B", "its format, which is Llama Scope's", is_guess=True)
    model = None if model_in(files.weights_path) else usual
    return Training(model, Fact(1024, SAELENS_LOADER), Fact(True, SAELENS_LOADER))


def _number(files: SaeFiles, config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    if not is_number(value) or value <= 0:
        within = "" if key == "jump_relu_threshold" else "dataset_average_activation_norm."
        files.fail(f"hyperparams.json has {within}{key} {value!r}, not a number above 0")
    return float(value)
