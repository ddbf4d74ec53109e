"""Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`.

Tensors: encoder.weight [n, d_in], encoder.bias [n], decoder.weight [d_out, n], decoder.bias [d_out]. Inputs and
outputs were scaled to an average norm of sqrt(d) for training, by s_in and s_out: sqrt(d) / the average norm. For
an SAE the two are the same; if hook_point_out is another hookpoint, it is a transcoder.

If sparsity_include_decoder_norm is true, as in everything published, a feature's activation times the norm of its
decoder row decides whether it fires; published norms are about 1.5. jump_relu_threshold is in units of unscaled
activations:

    (s_in x encoder^T + bias) |decoder| > s_out jump_relu_threshold

Without these norms it is in units of unscaled inputs: s_in jump_relu_threshold. Based on OpenMOSS' lm_saes, whose
inference folds scales and norms into the weights; SAELens 6.54 uses neither the norms nor s_out.
"""

from collections.abc import Mapping
from typing import Any

import torch

from pipeline.sae.coder import JumpReLU, SparseCoder, fold_norms
from pipeline.sae.files import SaeFiles, is_number, object_in, text_in
from pipeline.sae.hub_names import model_in
from pipeline.sae.training import SAELENS_LOADER, Fact, Training

FILES = ("hyperparams.json", "checkpoints/final.safetensors")


def load(files: SaeFiles) -> SparseCoder:
    """The coder in a Llama Scope folder, float32. Raises SaeError if a file is damaged or inconsistent."""
    config, tensors = files.config("hyperparams.json"), files.tensors("checkpoints/final.safetensors")
    check_function(files, config, "hyperparams.json")
    if (how := config.get("norm_activation", "dataset-wise")) != "dataset-wise":
        files.fail(f"hyperparams.json has norm_activation '{how}', not 'dataset-wise' as in all published SAEs")
    encoder = tensors.take("encoder.weight", None, None)
    n_features, d_in = encoder.shape
    for key, size in (("d_model", d_in), ("d_sae", n_features)):
        if config.get(key, size) != size:
            tensors.fail(f"its {key} is {size}, but its hyperparams.json says {config[key]}")
    hookpoint = text_in(config, "hook_point_in")
    transcodes = config.get("hook_point_out", hookpoint) != hookpoint
    decoder = tensors.take("decoder.weight", None if transcodes else d_in, n_features).T.contiguous()
    bias, d_out = tensors.take("encoder.bias", n_features), decoder.shape[1]
    threshold, norms = _number(files, config, "jump_relu_threshold"), "dataset_average_activation_norm"
    scale = d_in**0.5 / _number(files, object_in(config, norms), "in")
    scale_out = d_out**0.5 / _number(files, object_in(config, norms), "out") if transcodes else scale
    folded = f"the factor of its inputs' norm, {scale:.6g}"
    folded += f", and of its outputs', {scale_out:.6g}" if transcodes else ""
    encoder, threshold_scale = encoder * scale, scale
    if fires_by_norm(config):
        encoder, bias, decoder = fold_norms(encoder, bias, decoder)
        threshold_scale, folded = scale_out, f"{folded}; the norms of the decoder"
    l0 = config.get("top_k")
    return SparseCoder(
        hookpoint=hookpoint,
        encoder=encoder,
        encoder_bias=bias,
        decoder=decoder / scale_out,
        activation=JumpReLU.above(torch.tensor(threshold * threshold_scale, dtype=torch.float32)),
        decoder_bias=tensors.take("decoder.bias", d_out) / scale_out,
        transcodes=transcodes,
        target=text_in(config, "hook_point_out") if transcodes else None,
        architecture="jumprelu",
        folded=folded,
        declared_l0=l0 if is_number(l0) else None,
    )


def trained_on(files: SaeFiles) -> Training:
    """Llama 3.1 8B, unless the path names another model; contexts of 1,024 tokens after a BOS token."""
    usual = Fact("meta-llama/Llama-3.1-8B", "its format, which is Llama Scope's", is_guess=True)
    model = None if model_in(files.weights_path) else usual
    return Training(model, Fact(1024, SAELENS_LOADER), Fact(True, SAELENS_LOADER))


def check_function(files: SaeFiles, config: Mapping[str, Any], name: str) -> None:
    """Raise SaeError if a config of lm_saes turns on something that latentlake does not compute."""
    for key, does in _UNREAD.items():
        if config.get(key, False):
            files.fail(f"{name} has {key} true: {does}, which latentlake does not support")


def fires_by_norm(config: Mapping[str, Any]) -> bool:
    """Whether activations times the norms of the decoder's rows decide what fires in an SAE of lm_saes."""
    return config.get("sparsity_include_decoder_norm") is True


_UNREAD = {
    "apply_decoder_bias_to_pre_encoder": "the decoder's bias is subtracted from its input",
    "use_glu_encoder": "its encoder is gated",
}
"""What lm_saes supports but no published SAE uses, by config key."""


def _number(files: SaeFiles, config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    if not is_number(value) or value <= 0:
        within = "" if key == "jump_relu_threshold" else "dataset_average_activation_norm."
        files.fail(f"hyperparams.json has {within}{key} {value!r}, not a number above 0")
    return float(value)
