"""SAEs and transcoders as OpenMOSS' lm_saes saves them today: `config.json` and `sae_weights.safetensors`.

Tensors: W_E [d_in, n], b_E [n], W_D [n, d_out]; b_D [d_out] if use_decoder_bias is true; a jumprelu has
activation_function.log_jumprelu_threshold [n]. Nothing is subtracted from the input. If hook_point_out is another
hookpoint than hook_point_in, it is a transcoder. norm_activation says how the activations at both are scaled:

    dataset-wise  to an average norm of sqrt(d), by the tensors dataset_average_activation_norm.<hook point>
    token-wise    each token to norm sqrt(d)
    inference     not at all; the average is already in the weights

If sparsity_include_decoder_norm is true, a feature's activation times the norm of its decoder row decides whether
it fires, as in `llama_scope`. Based on lm_saes' models/sae.py; Llama Scope's own SAEs have other layouts.
"""

from typing import Any

from pipeline.sae.coder import RELU, Activation, JumpReLU, SparseCoder, TopK, fold_norms
from pipeline.sae.files import SaeFiles, Tensors, count_of, text_in
from pipeline.sae.formats.llama_scope import check_function, fires_by_norm

FILES = ("config.json", "sae_weights.safetensors")

_THRESHOLD = "activation_function.log_jumprelu_threshold"


def is_format(files: SaeFiles) -> bool:
    """Whether the file has the matrices W_E and W_D."""
    return {"W_E", "W_D"} <= files.tensors("sae_weights.safetensors").names()


def load(files: SaeFiles) -> SparseCoder:
    """The coder in such a folder, float32. Raises SaeError if it cannot be read or is inconsistent."""
    config, tensors = files.config("config.json"), files.tensors("sae_weights.safetensors")
    if (kind := config.get("sae_type", "sae")) != "sae":
        files.fail(f"config.json has sae_type '{kind}', not 'sae'")
    check_function(files, config, "config.json")
    hookpoint, target = text_in(config, "hook_point_in"), text_in(config, "hook_point_out")
    transcodes = target not in (None, hookpoint)
    encoder = tensors.take("W_E", None, None).T.contiguous()
    n_features, d_in = encoder.shape
    decoder = tensors.take("W_D", n_features, None if transcodes else d_in)
    d_out, bias = decoder.shape[1], tensors.take("b_E", n_features)
    has_bias = config.get("use_decoder_bias", True) is True
    decoder_bias = tensors.take_if_there("b_D", d_out, must_be=has_bias)
    activation = _activation(files, tensors, n_features)
    how, folded = config.get("norm_activation", "dataset-wise"), []
    if how not in ("dataset-wise", "inference") and (how != "token-wise" or transcodes):
        files.fail(f"config.json has norm_activation '{how}', which needs more than a token's own input")
    if fires_by_norm(config):  # before scaling: thresholds apply to scaled inputs and outputs
        encoder, bias, decoder = fold_norms(encoder, bias, decoder)
        folded.append("the norms of the decoder")
    if how == "dataset-wise":
        scale = _scale(tensors, hookpoint, d_in)
        scale_out = _scale(tensors, target, d_out) if transcodes else scale
        encoder, decoder = encoder * scale, decoder / scale_out
        decoder_bias = None if decoder_bias is None else decoder_bias / scale_out
        folded.append(f"the factor of its inputs' norm, {scale:.6g}")
        folded += [f"and of its outputs', {scale_out:.6g}"] if transcodes else []
    return SparseCoder(
        hookpoint=hookpoint,
        encoder=encoder,
        encoder_bias=bias,
        decoder=decoder,
        activation=activation,
        normalisation="constant_norm_rescale" if how == "token-wise" else "none",
        decoder_bias=decoder_bias,
        transcodes=transcodes,
        target=target if transcodes else None,
        architecture=str(config.get("act_fn")),
        folded="; ".join(folded) or None,
    )


def _scale(tensors: Tensors, hookpoint: str | None, width: int) -> float:
    """The factor by which activations at a hookpoint are multiplied."""
    name = f"dataset_average_activation_norm.{hookpoint}"
    norm = tensors.take(name).item()
    if norm <= 0:
        tensors.fail(f"{name} is {norm:g}, not a number above 0")
    return float(width**0.5 / norm)


def _activation(files: SaeFiles, tensors: Tensors, n_features: int) -> Activation:
    config: dict[str, Any] = files.config("config.json")
    match name := str(config.get("act_fn", "relu")).lower():
        case "relu":
            return RELU
        case "jumprelu":
            return JumpReLU.above(tensors.take_threshold(_THRESHOLD, n_features).exp())
        case "topk":
            return TopK(count_of(config.get("top_k"), n_features, files.fail, "config.json has top_k"))
        case "batchtopk" | "batchlayertopk":
            files.fail(f"config.json has act_fn '{name}': firings depend on the batch; convert it to a jumprelu")
        case _:
            files.fail(f"config.json has act_fn '{name}', which is not one of relu, jumprelu, topk")
