"""Transcoders as circuit-tracer reads them, such as those of Qwen3: `layer_{l}.safetensors` and `config.yaml`.

Tensors: W_enc [n, d_in], b_enc [n], W_dec [n, d_out], b_dec [d_out]; a JumpReLU has activation_function.threshold,
[n] or one for all; a skip transcoder has W_skip [d_out, d_in]. Nothing is subtracted from the input. config.yaml,
which covers all layers, names the hookpoint that is read (feature_input_hook) and the one that is reconstructed
(feature_output_hook); without it, these are the MLP's normalised input and the MLP's output. A transcoder without
a threshold is a ReLU, unless it is a TopK: then config.yaml has activation and k, or the file has a tensor k.
facebook's crv-8b-instruct-transcoders have k nowhere; it is 128, as circuit-tracer's code knows. Based on
circuit-tracer 0.5.0 and its source of 2026; the tests compare with its own `encode`.
"""

from collections.abc import Mapping

from pipeline.sae.coder import RELU, Activation, JumpReLU, SparseCoder, TopK
from pipeline.sae.files import SaeFiles, Tensors, count_of
from pipeline.sae.training import Training, training_in

FILES = ("layer_*.safetensors",)
OPTIONAL_FILES = ("config.yaml",)


def load(files: SaeFiles) -> SparseCoder:
    """The coder in a file of one layer, float32. Raises SaeError if a file is damaged or inconsistent."""
    config, tensors = files.config("config.yaml"), files.tensors("layer_*.safetensors")
    encoder = tensors.take("W_enc", None, None)
    n_features, d_in = encoder.shape
    decoder = tensors.take("W_dec", n_features, None)
    d_out = decoder.shape[1]
    layer = files.find_in_path(r"/layer_(\d+)\.safetensors$")
    if config and not {"feature_input_hook", "feature_output_hook"} <= config.keys():
        files.fail("config.yaml lacks feature_input_hook or feature_output_hook; it may be truncated")
    below = f"blocks.{layer[1]}." if layer else ""
    hookpoint = f"{below}{config.get('feature_input_hook', 'mlp.hook_in')}" if layer else None
    target = f"{below}{config.get('feature_output_hook', 'hook_mlp_out')}" if layer else None
    if "log_thresholds" in tensors.names():
        tensors.fail("it has log_thresholds, which circuit-tracer itself does not read")
    name, activation = _activation(files, tensors, n_features)
    tensors.check_names(("W_enc", "b_enc", "W_dec", "b_dec", "W_skip", _THRESHOLD, "k"), "this format")
    return SparseCoder(
        hookpoint=hookpoint,
        encoder=encoder,
        encoder_bias=tensors.take("b_enc", n_features),
        decoder=decoder,
        activation=activation,
        decoder_bias=tensors.take("b_dec", d_out),
        skip=tensors.take_if_there("W_skip", d_out, d_in),
        transcodes=True,
        target=target,
        architecture="transcoder" if name == "relu" else f"{name}_transcoder",
    )


def outside(files: SaeFiles) -> Mapping[str, int]:
    """The k of the one published set whose files lack it, recognised by its name; empty for any other."""
    return {"k": 128} if files.find_in_path(r"crv-8b-instruct-transcoders/") else {}


def trained_on(files: SaeFiles) -> Training:
    """The model named in config.yaml."""
    return training_in(files.config("config.yaml"), "config.yaml", model="model_name")


def _activation(files: SaeFiles, tensors: Tensors, n_features: int) -> tuple[str, Activation]:
    """The activation and its name: from config.yaml, else from the tensors that there are."""
    config, has_threshold = files.config("config.yaml"), _THRESHOLD in tensors.names()
    stored = tensors.take_if_there("k")
    plain = "jumprelu" if has_threshold else "relu" if stored is None else "topk"
    said = config.get("activation") or plain
    match name := str(said).lower().replace("_", ""):
        case "jumprelu":
            return name, JumpReLU.above(tensors.take_threshold(_THRESHOLD, n_features))
        case "relu" if plain == "relu":
            return name, RELU
        case "topk" if not has_threshold:
            k = config.get("k", outside(files).get("k")) if stored is None else stored.item()
            return name, TopK(count_of(k, n_features, files.fail, "config.yaml has k"))
        case _:
            known = {"jumprelu": "'jumprelu'", "relu": "'relu' or 'topk'", "topk": "'topk'"}[plain]
            files.fail(f"config.yaml has activation {said!r}, but the weights are those of {known}")


_THRESHOLD = "activation_function.threshold"
