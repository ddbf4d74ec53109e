"""SAELens: `cfg.json` and `sae_weights.safetensors`.

Tensors: W_enc [d_in, n], b_enc [n], W_dec [n, d_out], b_dec [d_out]; a jumprelu has threshold [n]; a gated SAE has
b_gate, b_mag and r_mag [n] and no b_enc; a skip transcoder has W_skip [d_out, d_in]; some old files have a factor
on the decoder, scaling_factor or finetuning_scaling_factor [n]. With norm_in as normalize_activations says,

    h = (norm_in(x) - b_dec) W_enc + b_enc

where b_dec is subtracted if apply_b_dec_to_input is true, and never in a transcoder. hook_name is the hookpoint
that is read, and hook_name_out the one that a transcoder reconstructs. Configs from before 6.0 have other names
and defaults (`_modern`). An SAE trained with batchtopk is saved as a jumprelu. A checkpoint of training has the
factor on its inputs in a file beside it (`activation_scaler.json`); the final SAE has it in its weights. Based on
SAELens 6.54; the tests compare with its own `encode`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from pipeline.sae.coder import (
    RELU,
    Activation,
    JumpReLU,
    Normalisation,
    SparseCoder,
    TopK,
    fold_gate,
    fold_norms,
)
from pipeline.sae.files import SaeFiles, Tensors, count_of, is_number, object_in, text_in
from pipeline.sae.training import Fact, Training, training_in

FILES = ("cfg.json", "sae_weights.safetensors")
NEARBY_FILES = ("activation_scaler.json",)

_TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
_CHECKPOINTS = ("batchtopk", "matryoshka_batchtopk")
_KNOWN = ("standard", "topk", "jumprelu", "gated", *_CHECKPOINTS, *_TRANSCODERS)

_REFUSED = {
    "abstopk": "its features also fire below 0",
    "matching_pursuit": "its firings are found one after another, not by one encoder",
    "temporal": "its firings on a token depend on earlier tokens",
}

_AVERAGE = "expected_average_only_in"

_NORMALISATIONS: dict[str, Normalisation] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm_rescale",
}

_SCALES = ("finetuning_scaling_factor", "scaling_factor")
"""Names of a tensor in old files by which firings are multiplied before they are decoded."""

_CENTRED = ("resid", "hook_mlp_out", "hook_attn_out", "hook_embed")
"""Hookpoints that a model's centred writing weights change: the residual stream, and what is added to it."""


class _Weights(NamedTuple):
    """A file's weights with the gate, norms and factors multiplied in; see `SparseCoder`."""

    encoder: Tensor
    bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor
    activation: Activation
    folded: str | None


def load(files: SaeFiles) -> SparseCoder:
    """The coder in a SAELens folder, float32. Raises SaeError if it cannot be read or is inconsistent."""
    config = _modern({**outside(files), **files.config("cfg.json"), **files.overrides})
    architecture = str(config.get("architecture"))
    if architecture in _REFUSED:
        files.fail(f"architecture '{architecture}' cannot be read: {_REFUSED[architecture]}")
    if architecture not in _KNOWN:
        files.fail(f"cfg.json has architecture '{architecture}', which is not one of {', '.join(_KNOWN)}")
    if (head := config.get("hook_head_index")) is not None:
        files.fail(f"it reads only head {head} (hook_head_index); latentlake reads all heads of a layer")
    normalisation = _normalisation(files, config)
    tensors = files.tensors("sae_weights.safetensors")
    weights = _read_weights(config, tensors)
    tensors.check_names(_tensors_of(architecture), f"architecture '{architecture}'")
    transcodes = architecture in _TRANSCODERS
    subtracts = config.get("apply_b_dec_to_input", True) and not transcodes
    hookpoint = text_in(config, "hook_name")
    return SparseCoder(
        hookpoint=hookpoint,
        encoder=weights.encoder,
        encoder_bias=weights.bias,
        decoder=weights.decoder,
        activation=weights.activation,
        input_bias=weights.decoder_bias if subtracts else None,
        normalisation=normalisation,
        decoder_bias=weights.decoder_bias,
        skip=tensors.take_if_there(
            "W_skip", weights.decoder.shape[1], weights.encoder.shape[1], must_be="skip" in architecture
        ),
        transcodes=transcodes,
        target=text_in(config, "hook_name_out") if transcodes else None,
        architecture=architecture,
        folded=weights.folded,
    )


def _tensors_of(architecture: str) -> set[str]:
    """All tensors that SAELens itself accepts in a file of this architecture."""
    own = {"W_enc", "W_dec", "b_dec", *_SCALES}
    own |= {"b_gate", "b_mag", "r_mag"} if architecture == "gated" else {"b_enc"}
    own |= {"threshold"} if "jumprelu" in architecture else set()
    own |= {"W_skip"} if "skip" in architecture else set()
    return own | ({"topk_threshold"} if architecture in _CHECKPOINTS else set())


def outside(files: SaeFiles) -> Mapping[str, float]:
    """The factor on its inputs, from the file beside a checkpoint of training; empty for any other SAE."""
    if files.config("cfg.json").get("normalize_activations") != _AVERAGE:
        return {}
    factor = files.config_nearby(NEARBY_FILES[0]).get("scaling_factor")
    return {"norm_scaling_factor": float(factor)} if is_number(factor) else {}


def trained_on(files: SaeFiles) -> Training:
    """The model, context length and BOS of cfg.json; SAELens prepends a BOS unless that says otherwise."""
    config = _modern({**files.config("cfg.json"), **files.overrides})
    keys = {"model": "model_name", "context_length": "context_size", "prepend_bos": "prepend_bos"}
    training = training_in(config, "cfg.json", **keys)
    return replace(training, prepend_bos=training.prepend_bos or Fact(True, "SAELens' default", is_guess=True))


def _read_weights(config: dict[str, Any], tensors: Tensors) -> _Weights:
    architecture = config["architecture"]
    encoder = tensors.take("W_enc", None, None).T.contiguous()
    n_features, d_in = encoder.shape
    for key, size in (("d_in", d_in), ("d_sae", n_features)):
        if config.get(key, size) != size:
            tensors.fail(f"W_enc has shape {[d_in, n_features]}, but its cfg.json says {key} {config[key]}")
    decoder = tensors.take("W_dec", n_features, None if architecture in _TRANSCODERS else d_in)
    decoder_bias = tensors.take("b_dec", decoder.shape[1])
    folded = []
    activation: Activation
    if architecture == "gated":
        parts = (tensors.take(name, n_features) for name in ("b_gate", "b_mag", "r_mag"))
        encoder, bias, activation = fold_gate(encoder, *parts)
        folded.append("the gate, into a threshold")
    else:
        bias = tensors.take("b_enc", n_features)
        activation = _activation(config, tensors, n_features)
    if config.get("rescale_acts_by_decoder_norm", False) and architecture in {"topk", *_CHECKPOINTS}:
        encoder, bias, decoder = fold_norms(encoder, bias, decoder)
        folded.append("the norms of the decoder")
    if config.get("finetuning_scaling_factor") is True or not tensors.names().isdisjoint(_SCALES):
        scale = tensors.take(_SCALES[0], n_features, others=_SCALES[1:])
        if not bool((scale == 1).all()):
            decoder = decoder * scale[:, None]
            folded.append("scaling_factor, into the decoder")
    if config.get("normalize_activations") == _AVERAGE:
        factor = float(config["norm_scaling_factor"])
        encoder, decoder, decoder_bias = encoder * factor, decoder / factor, decoder_bias / factor
        folded.append(f"the factor of its inputs' norm, {factor:.6g}")
    return _Weights(encoder, bias, decoder, decoder_bias, activation, "; ".join(folded) or None)


def _modern(config: dict[str, Any]) -> dict[str, Any]:
    """A config with the names and defaults of 6.0, and with its metadata merged in."""
    config = {**object_in(config, "metadata"), **config}
    version = str(config.get("sae_lens_version") or "0")
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) >= 6:
        return config
    renamed = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}
    renamed["hook_point_head_index"] = "hook_head_index"
    config = {renamed.get(key, key): value for key, value in config.items()}
    function, arguments = config.get("activation_fn", "relu"), object_in(config, "activation_fn_kwargs")
    config.setdefault("architecture", "standard")
    if function == "topk" and arguments.get("k") is not None:
        config |= {"architecture": "topk", "k": arguments["k"]}
    elif function != "relu" and (function != "topk" or config["architecture"] == "standard"):  # it may be a list
        config["architecture"] = f"{config['architecture']} with activation_fn {function}"
    normalisation = config.get("normalize_activations")
    if isinstance(normalisation, bool):
        config["normalize_activations"] = _AVERAGE if normalisation else "none"
    return config


def _activation(config: dict[str, Any], tensors: Tensors, n_features: int) -> Activation:
    match config["architecture"]:
        case "topk":
            return TopK(count_of(config.get("k"), n_features, tensors.fail, "its cfg.json has k"))
        case "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder":
            return JumpReLU.above(tensors.take_threshold("threshold", n_features))
        case "batchtopk" | "matryoshka_batchtopk":
            if "topk_threshold" not in tensors.names():
                tensors.fail(
                    f"its cfg.json says {config['architecture']}, a checkpoint of training, but it has no tensor "
                    "'topk_threshold', above which its features fire; save it with save_inference_model"
                )
            return JumpReLU.above(tensors.take_threshold("topk_threshold", n_features))
        case _:
            return RELU


def _normalisation(files: SaeFiles, config: dict[str, Any]) -> Normalisation:
    name = str(config.get("normalize_activations") or "none")
    if name == "covariance_whitening":
        files.fail(
            "normalize_activations is covariance_whitening, whose matrix its files lack; use the final SAE of the "
            "training, which has it in its weights"
        )
    if name == _AVERAGE:
        factor = config.get("norm_scaling_factor")
        if not is_number(factor) or factor <= 0:
            files.fail(
                f"normalize_activations is {_AVERAGE}, whose factor its files lack; name it as "
                "saelens://RELEASE/ID if that has the factor, or add norm_scaling_factor to cfg.json in a local "
                "copy (1 if the weights already include it, as in the final SAEs of SAELens 3.12.4 to 5)"
            )
        name = "none"  # because the factor is multiplied into the weights
    if name not in _NORMALISATIONS:
        files.fail(f"normalize_activations is '{name}', which is not one of {', '.join(_NORMALISATIONS)}")
    centres = object_in(config, "model_from_pretrained_kwargs").get("center_writing_weights", False)
    if not centres or not any(each in str(config.get("hook_name")) for each in _CENTRED) or name == "layer_norm":
        return _NORMALISATIONS[name]
    if name != "none":
        files.fail(f"normalize_activations is {name} of centred activations, which latentlake does not support")
    return "centred"
