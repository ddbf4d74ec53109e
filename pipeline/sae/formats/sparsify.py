"""EleutherAI's sparsify: `cfg.json` and `sae.safetensors` in a folder named for the hookpoint.

Tensors: encoder.weight [n, d_in], encoder.bias [n], W_dec [n, d_out], b_dec [d_out]; a skip transcoder also has
W_skip [d_out, d_in]. A transcoder reads the module's input and does not subtract b_dec. One from before February
2025 does (EleutherAI/sparsify#49); cfg.json did not have `transcode` yet, only the run's config.json did. Based on
eai-sparsify 1.3.3; the tests compare with its own `encode`.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.sae.coder import GroupMax, SparseCoder, TopK
from pipeline.sae.files import SaeFiles, count_of
from pipeline.sae.training import Training, training_in

FILES = ("cfg.json", "sae.safetensors")

_TENSORS = ("encoder.weight", "encoder.bias", "W_dec", "b_dec", "W_skip")
_UNREAD = {
    "matching_pursuit": "its firings are found one after another, not by one encoder",
    "signed": "its features also fire below 0",
    "gram_lookup": "the mean activation of each token's n-gram is subtracted from what it reads",
    "embed_skip": "it also reads the token embeddings",
}
"""What versions of sparsify support but latentlake does not, by config key."""


def load(files: SaeFiles) -> SparseCoder:
    """The coder in a sparsify folder, float32. Raises SaeError if a file is damaged or inconsistent."""
    config, tensors = files.config("cfg.json"), files.tensors("sae.safetensors")
    of_today = bool(config.get("transcode", False))
    transcodes = of_today or outside(files).get("transcodes", False) or "W_skip" in tensors.names()
    encoder = tensors.take("encoder.weight", None, None)
    n_features, d_in = encoder.shape
    if config.get("d_in", d_in) != d_in:
        tensors.fail(f"its width is {d_in}, but its cfg.json says d_in {config['d_in']}")
    # A transcoder's decoder writes to another module, whose width may differ.
    decoder = tensors.take("W_dec", n_features, None if of_today else d_in)
    d_out = decoder.shape[1]
    decoder_bias = tensors.take("b_dec", d_out)
    tensors.check_names(_TENSORS, "this format")
    return SparseCoder(
        hookpoint=files.folder_name,
        encoder=encoder,
        encoder_bias=tensors.take("encoder.bias", n_features),
        decoder=decoder,
        activation=_activation(files, n_features),
        input_bias=None if of_today else decoder_bias,
        decoder_bias=decoder_bias,
        skip=tensors.take_if_there("W_skip", d_out, d_in, must_be=config.get("skip_connection") is True),
        transcodes=transcodes,
        architecture=str(config.get("activation", "topk")),
    )


def outside(files: SaeFiles) -> Mapping[str, bool]:
    """Whether the run's config.json says that it is a transcoder, if cfg.json does not say."""
    return {} if "transcode" in files.config("cfg.json") else {"transcodes": _run(files).get("transcode") is True}


def trained_on(files: SaeFiles) -> Training:
    """The model and the context length in the run's config.json, above the SAE's folder."""
    return training_in(_run(files), "the run's config.json", model="model", context_length="ctx_len")


def _run(files: SaeFiles) -> dict[str, Any]:
    """The config of the training run, if there is one."""
    return files.config_nearby("../config.json")


def _activation(files: SaeFiles, n_features: int) -> TopK | GroupMax:
    config = files.config("cfg.json")
    name = config.get("activation", "topk")
    if name not in ("topk", "groupmax"):  # it may be a list
        files.fail(f"cfg.json has activation '{name}', not 'topk' or 'groupmax'")
    for key, does in _UNREAD.items():
        if config.get(key, False):
            files.fail(f"cfg.json has {key} true: {does}, which latentlake does not support")
    k = count_of(config.get("k"), n_features, files.fail, "cfg.json has k")
    if name == "topk":
        return TopK(k)
    if n_features % k:
        files.fail(f"cfg.json has groupmax with k {k}, which does not divide {n_features}")
    return GroupMax(k)
