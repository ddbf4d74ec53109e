"""The hookpoints of a layer in each family of models: a module below the layer, and its input or output.

A short name means the same in every family, whatever its modules are called and return:

    resid_pre   the residual stream before the layer     attn_in   what the attention reads, normalised
    resid_mid   between attention and MLP                attn_z    its heads' values, before the output projection
    resid_post  after the layer                          attn_out  what the attention adds to the residual
    embed       the token embedding                      mlp_in    what the MLP reads, normalised
    attn_rms    attn_in before the norm's gain           mlp_act   its activations, before the output projection
    mlp_rms     mlp_in before the norm's gain            mlp_out   what the MLP adds to the residual
    mlp_raw     the MLP's output before normalisation

attn_rms and mlp_rms are x / sqrt(mean(x^2) + eps); models with LayerNorms have none. mlp_raw exists
if the MLP's output is normalised before it is added (Gemma 2 and 3, OLMo 2). In sequential blocks resid_mid =
resid_pre + attn_out and resid_post = resid_mid + mlp_out; in parallel ones resid_post = resid_pre + attn_out +
mlp_out, and there is no resid_mid. Read from transformers 5.23.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pipeline.sae.coder import Side

SiteName = Literal[
    "embed",
    "resid_pre",
    "attn_in",
    "attn_z",
    "attn_out",
    "resid_mid",
    "mlp_in",
    "attn_rms",
    "mlp_rms",
    "mlp_act",
    "mlp_raw",
    "mlp_out",
    "resid_post",
]


class Site(NamedTuple):
    """A side of a module; its path is below the layer, and empty for the layer itself.

    `by_rms`: whether each token is divided by its root mean square.
    """

    module: str
    side: Side
    by_rms: bool = False


Sites = Mapping[SiteName, Site]


class Family(NamedTuple):
    """A model's structure below its decoder: the token embedding, the list of layers, and a layer's hookpoints.

    `rms_eps` is added to the mean square by its RMSNorms.
    """

    embedding: str
    layers: str
    sites: Sites
    rms_eps: float | None = None


def _out(module: str) -> Site:
    return Site(module, "output")


def _in(module: str) -> Site:
    return Site(module, "input")


def _rms(norm: str) -> Site:
    return Site(norm, "input", by_rms=True)


def _sites(attention: str, projection: str, mlp: str, down: str) -> dict[SiteName, Site]:
    """The hookpoints of a layer with parallel blocks that return what is added."""
    return {
        "resid_pre": _in(""),
        "attn_in": _in(attention),
        "attn_z": _in(projection),
        "attn_out": _out(attention),
        "mlp_in": _in(mlp),
        "mlp_act": _in(down),
        "mlp_out": _out(mlp),
        "resid_post": _out(""),
    }


_COHERE = _sites("self_attn", "self_attn.o_proj", "mlp", "mlp.down_proj")
"""Parallel: both blocks read the same norm."""

_OLMO: Sites = {**_COHERE, "resid_mid": _in("post_attention_layernorm")}
"""As Llama, with LayerNorms."""

# Qwen 3.5 has attention only in every fourth layer; the others lack its hookpoints.
_LLAMA: Sites = {
    **_OLMO,
    "attn_rms": _rms("input_layernorm"),
    "mlp_rms": _rms("post_attention_layernorm"),
}

# Both blocks read the unnormalised residual, and their outputs are normalised before they are added.
_OLMO_2: Sites = {
    **_COHERE,
    "attn_out": _out("post_attention_layernorm"),
    "resid_mid": _in("mlp"),
    "mlp_raw": _out("mlp"),
    "mlp_out": _out("post_feedforward_layernorm"),
}

# A block's output is normalised before it is added.
_GEMMA_2: Sites = {
    **_LLAMA,
    "attn_out": _out("post_attention_layernorm"),
    "resid_mid": _in("pre_feedforward_layernorm"),
    "mlp_rms": _rms("pre_feedforward_layernorm"),
    "mlp_raw": _out("mlp"),
    "mlp_out": _out("post_feedforward_layernorm"),
}

_GPT_2: Sites = {**_sites("attn", "attn.c_proj", "mlp", "mlp.c_proj"), "resid_mid": _in("ln_2")}

_GPT_NEO: Sites = {**_GPT_2, "attn_z": _in("attn.attention.out_proj")}

_GPT_J = _sites("attn", "attn.out_proj", "mlp", "mlp.fc_out")
"""Parallel: both blocks read the same norm."""

_GPT_NEOX = _sites("attention", "attention.dense", "mlp", "mlp.dense_4h_to_h")
"""Parallel, each block with a norm of its own; sequential if the config says so."""

_GPT_NEOX_SEQUENTIAL: Sites = {**_GPT_NEOX, "resid_mid": _in("post_attention_layernorm")}

_FALCON = _sites("self_attention", "self_attention.dense", "mlp", "mlp.dense_4h_to_h")
"""Parallel; adds the attention into the MLP's output in place."""

_PHI = _sites("self_attn", "self_attn.dense", "mlp", "mlp.fc2")
"""Parallel: both blocks read the same norm."""

# The MLP is two modules of the layer, whose tensors are flattened to [contexts x positions, width].
_OPT: Sites = {
    **_sites("self_attn", "self_attn.out_proj", "fc1", "fc2"),
    "resid_mid": _in("final_layer_norm"),
    "mlp_out": _out("fc2"),
}

# Norms come after the addition (opt-350m): resid_mid is normalised, and so is resid_post.
_OPT_POST_NORM: Sites = {**_OPT, "resid_mid": _in("fc1")}

# Both blocks take the residual, and return it with their output added.
_BLOOM: Sites = {
    **_sites("self_attention", "self_attention.dense", "mlp", "mlp.dense_4h_to_h"),
    "attn_out": _out("self_attention.dense"),
    "resid_mid": _out("self_attention"),
    "mlp_out": _out("mlp.dense_4h_to_h"),
}

_LLAMA_LIKE = frozenset(
    {
        *("gemma", "glm", "gpt_oss", "helium", "llama", "ministral", "ministral3", "mistral", "mixtral", "olmoe"),
        *("phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next"),
        "smollm3",
    }
)


def family_of(config: Any) -> Family | None:
    """The family of a text model by its transformers config; None if its structure is not known here."""
    match config.model_type:
        case kind if kind in _LLAMA_LIKE:
            return Family("embed_tokens", "layers", _LLAMA, config.rms_norm_eps)
        case "gemma2" | "gemma3_text":
            return Family("embed_tokens", "layers", _GEMMA_2, config.rms_norm_eps)
        case "olmo" | "starcoder2":
            return Family("embed_tokens", "layers", _OLMO)
        case "exaone4" | "olmo2" | "olmo3":
            return Family("embed_tokens", "layers", _OLMO_2, config.rms_norm_eps)
        case "cohere" | "cohere2":
            return Family("embed_tokens", "layers", _COHERE)
        case "phi":
            return Family("embed_tokens", "layers", _PHI)
        case "opt":
            return Family("embed_tokens", "layers", _OPT if config.do_layer_norm_before else _OPT_POST_NORM)
        case "gpt_neox":
            sites = _GPT_NEOX if config.use_parallel_residual else _GPT_NEOX_SEQUENTIAL
            return Family("embed_in", "layers", sites)
        case "gpt2":
            return Family("wte", "h", _GPT_2)
        case "gpt_neo":
            return Family("wte", "h", _GPT_NEO)
        case "gptj":
            return Family("wte", "h", _GPT_J)
        case "falcon" if config.parallel_attn or config.new_decoder_architecture:
            return Family("word_embeddings", "h", _FALCON)
        case "bloom" if not config.apply_residual_connection_post_layernorm:
            return Family("word_embeddings_layernorm", "h", _BLOOM)
    return None
