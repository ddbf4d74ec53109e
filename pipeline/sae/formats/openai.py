"""OpenAI's SAEs for GPT-2 small: `<location>_v5_32k/autoencoders/<layer>.pt`.

Content: pre_bias [d_in], latent_bias [n], encoder.weight [n, d_in], decoder.weight [d_in, n], activation; a TopK
also has activation_state_dict {k, postact_fn}. With a TopK each token's input is layer-normalised before pre_bias
is subtracted; with a ReLU it is not. Statistics of the training are not read. Based on openai/sparse_autoencoder's
model.py.
"""

from typing import Any

from pipeline.sae.coder import RELU, Activation, SparseCoder, TopK
from pipeline.sae.files import SaeFiles, Tensors, count_of
from pipeline.sae.training import Fact, Training

FILES = ("*.pt",)

_TENSORS = ("pre_bias", "latent_bias", "encoder.weight", "decoder.weight")
_SETTINGS = ("activation", "activation_state_dict")
_STATISTICS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")

_HOOKPOINTS = {
    "mlp_post_act": "mlp.hook_post",
    "resid_delta_attn": "hook_attn_out",
    "resid_delta_mlp": "hook_mlp_out",
    "resid_post_attn": "hook_resid_mid",
    "resid_post_mlp": "hook_resid_post",
}
"""Each location's name in TransformerLens, as its README gives it, below `blocks.{l}`."""


def is_format(files: SaeFiles) -> bool:
    """Whether the file has pre_bias and latent_bias."""
    return {"pre_bias", "latent_bias"} <= files.tensors("*.pt").names()


def load(files: SaeFiles) -> SparseCoder:
    """The coder in such a file, float32. Raises SaeError if it is damaged or its shapes do not match."""
    content = files.tensors("*.pt")
    encoder = content.take("encoder.weight", None, None)
    n_features, d_in = encoder.shape
    activation = _activation(content, n_features)
    bias = content.take("pre_bias", d_in)
    content.check_names((*_TENSORS, *_SETTINGS, *_STATISTICS), "this format")
    found = files.find_in_path(rf"/({'|'.join(_HOOKPOINTS)})(?:_v\w+)?/(?:autoencoders/)?(\d+)\.pt$")
    return SparseCoder(
        hookpoint=f"blocks.{found[2]}.{_HOOKPOINTS[found[1]]}" if found else None,
        encoder=encoder,
        encoder_bias=content.take("latent_bias", n_features),
        decoder=content.take("decoder.weight", d_in, n_features).T.contiguous(),
        activation=activation,
        input_bias=bias,
        normalisation="layer_norm" if isinstance(activation, TopK) else "none",
        decoder_bias=bias,
        architecture=str(content.content.get("activation", "ReLU")),
    )


def trained_on(files: SaeFiles) -> Training:
    """GPT-2 small, on contexts of 64 tokens (Gao et al. 2024, arXiv 2406.04093, section 2.1)."""
    paper = "the paper of this format's SAEs, arXiv 2406.04093"
    return Training(Fact("openai-community/gpt2", paper), Fact(64, paper))


def _activation(content: Tensors, n_features: int) -> Activation:
    name = content.content.get("activation", "ReLU")
    if name == "ReLU":
        return RELU
    if name != "TopK":
        content.fail(f"it has activation '{name}', not 'TopK' or 'ReLU'")
    state: Any = content.content.get("activation_state_dict")
    state = state if isinstance(state, dict) else {}
    if (after := state.get("postact_fn", "ReLU")) != "ReLU":
        content.fail(f"activation_state_dict has postact_fn '{after}', with which features fire below 0")
    return TopK(count_of(state.get("k"), n_features, content.fail, "activation_state_dict has k"))
