"""SAE files as their owners write them, and what they must make of an input; shares no code with the readers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from tiny import write_sparsify
from torch import Tensor


class Weights(NamedTuple):
    """Weights of an SAE: encoder and decoder [n, d_in], bias and threshold [n], b_dec [d_in]; k of a token."""

    encoder: Tensor
    bias: Tensor
    decoder: Tensor
    b_dec: Tensor
    threshold: Tensor
    k: int


def random_weights(n_features: int, d_in: int, k: int, seed: int = 5) -> Weights:
    """Random weights; biases are not 0, some pre-activations lie between 0 and the threshold.

    The norms of the decoder's rows are 0.8 to 2.3, as those of SAEs that were not trained with norms of 1.
    """
    generator = torch.Generator().manual_seed(seed)
    encoder = torch.randn(n_features, d_in, generator=generator) / d_in**0.5
    directions = encoder + torch.randn(encoder.shape, generator=generator) / d_in
    bias = torch.randn(n_features, generator=generator) / 8
    b_dec = torch.randn(d_in, generator=generator) / 4
    threshold = torch.rand(n_features, generator=generator) + 0.2
    norms = 0.8 + 1.5 * torch.rand(n_features, 1, generator=generator)
    decoder = norms * torch.nn.functional.normalize(directions, dim=1)
    return Weights(encoder, bias, decoder, b_dec, threshold, k)


def random_inputs(n_tokens: int, d_in: int, seed: int = 1) -> Tensor:
    """Inputs whose mean is not 0 and whose norms differ, float32 [n_tokens, d_in]."""
    generator = torch.Generator().manual_seed(seed)
    norms = 1 + torch.rand(n_tokens, 1, generator=generator)
    return norms * (torch.randn(n_tokens, d_in, generator=generator) + 0.25)


def fired(coder: Any, x: Tensor) -> np.ndarray:
    """A coder's firings as a matrix [n_tokens, n]; no place twice, none at 0 or below, sorted by token."""
    encoding = coder.encode(x)
    assert (encoding.activations > 0).all() and (encoding.tokens.diff() >= 0).all()
    matrix = torch.zeros(len(x), coder.n_features)
    matrix.index_put_((encoding.tokens, encoding.features), encoding.activations, accumulate=True)
    assert (matrix > 0).sum() == len(encoding.activations)
    return matrix.numpy()


def same_firings(found: np.ndarray, expected: np.ndarray | Tensor, atol: float = 1e-5) -> None:
    """Hold firings to a formula's in float64: alike everywhere, some fire and some do not."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=atol)
    assert 0 < (expected > 0).mean() < 0.9


# Formulas, in float64 ---------------------------------------------------------------------------------


def pre_activations(weights: Weights, x: Tensor, *, subtract: bool) -> Tensor:
    """(x - b_dec) W^T + bias, or the same of x itself: [n_tokens, n]."""
    x = x.double() - (weights.b_dec.double() if subtract else 0)
    return x @ weights.encoder.double().T + weights.bias.double()


def llama_activations(weights: Weights, x: Tensor) -> Tensor:
    """What Llama Scope holds against its thresholds: pre-activations times the norms of the decoder's rows."""
    norms = weights.decoder.double().square().sum(dim=1).sqrt()
    return norms * pre_activations(weights, LLAMA_SCALE * x.double(), subtract=False)


def largest(pre: Tensor, k: int) -> Tensor:
    """relu of the k largest of each row, else 0."""
    kept = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(1, kept.indices, kept.values.relu())


def above(pre: Tensor, threshold: Tensor | float) -> Tensor:
    """What is above the threshold and above 0, else 0."""
    return torch.where(pre > threshold, pre, 0).relu()


def layer_normalised(x: Tensor) -> Tensor:
    """Minus the mean, by the standard deviation (n - 1) plus 1e-5, in float64."""
    x = x.double()
    mean = x.sum(dim=1, keepdim=True) / x.shape[1]
    variance = ((x - mean) ** 2).sum(dim=1, keepdim=True) / (x.shape[1] - 1)
    return (x - mean) / (variance.sqrt() + 1e-5)


# Writers, each giving the path that names the SAE ------------------------------------------------------


def _sparsify(folder: Path, weights: Weights) -> Path:
    own = (weights.encoder, weights.bias, weights.decoder, weights.b_dec, weights.k)
    return write_sparsify(folder, *own, normalize_decoder=False)


def _gemma_scope_2(folder: Path, weights: Weights) -> Path:
    path = folder / "google--gemma-scope-2-270m-pt" / "resid_post" / "layer_12_width_16k_l0_medium"
    path.mkdir(parents=True)
    tensors = {
        "w_enc": weights.encoder.T,
        "w_dec": weights.decoder,
        "b_enc": weights.bias,
        "b_dec": weights.b_dec,
        "threshold": weights.threshold,
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path / "params.safetensors")
    place = "model.layers.12.output"
    config = {"architecture": "jump_relu", "model_name": "gemma-v3-270m", "hf_hook_point_in": place}
    write_json(path / "config.json", config)
    return path


def _gemma_scope(folder: Path, weights: Weights) -> Path:
    path = folder / "google--gemma-scope-2b-pt-res" / "layer_9" / "width_16k" / "average_l0_88"
    path.mkdir(parents=True)
    np.savez(
        path / "params.npz",
        W_enc=weights.encoder.T.numpy(),
        W_dec=weights.decoder.numpy(),
        b_enc=weights.bias.numpy(),
        b_dec=weights.b_dec.numpy(),
        threshold=weights.threshold.numpy(),
    )
    return path


def _dictionary_learning(folder: Path, weights: Weights) -> Path:
    path = folder / "resid_post_layer_3" / "trainer_0"
    path.mkdir(parents=True)
    state = {
        "b_dec": weights.b_dec,
        "k": torch.tensor(weights.k, dtype=torch.int),
        "threshold": torch.tensor(0.5),  # stored, and not what fires
        "encoder.weight": weights.encoder,
        "encoder.bias": weights.bias,
        "decoder.weight": weights.decoder.T.contiguous(),
    }
    torch.save(state, path / "ae.pt")
    trainer = {"dict_class": "AutoEncoderTopK", "k": weights.k, "layer": 3, "lm_name": "EleutherAI/pythia-70m"}
    trainer["submodule_name"] = "resid_post_layer_3"
    write_json(path / "config.json", {"trainer": trainer, "buffer": {"ctx_len": 128}})
    return path


def _openai(folder: Path, weights: Weights) -> Path:
    path = folder / "resid_post_mlp_v5_32k" / "autoencoders" / "6.pt"
    path.parent.mkdir(parents=True)
    content = {
        "pre_bias": weights.b_dec,
        "latent_bias": weights.bias,
        "encoder.weight": weights.encoder,
        "decoder.weight": weights.decoder.T.contiguous(),
        "stats_last_nonzero": torch.zeros(len(weights.bias), dtype=torch.long),
        "activation": "TopK",
        "activation_state_dict": {"k": weights.k, "postact_fn": "ReLU"},
    }
    torch.save(content, path)
    return path


def _qwen_scope(folder: Path, weights: Weights) -> Path:
    path = folder / f"models--Qwen--SAE-Res-Qwen3-1.7B-Base-W32K-L0_{weights.k}" / "layer3.sae.pt"
    path.parent.mkdir(parents=True)
    state = {
        "W_enc": weights.encoder,
        "W_dec": weights.decoder.T.contiguous(),
        "b_enc": weights.bias,
        "b_dec": weights.b_dec,
    }
    torch.save(state, path)
    return path


def _goodfire(folder: Path, weights: Weights) -> Path:
    path = folder / "Llama-3.1-8B-Instruct-SAE-l19.pth"
    path.parent.mkdir(parents=True)
    state = {
        "encoder_linear.weight": weights.encoder,
        "encoder_linear.bias": weights.bias,
        "decoder_linear.weight": weights.decoder.T.contiguous(),
        "decoder_linear.bias": weights.b_dec,
    }
    torch.save(state, path)
    return path


def _attention_z(folder: Path, weights: Weights) -> Path:
    path = folder / "gpt2-small_L5_Hcat_z_lr1.20e-03_l11.00e+00_ds49152_bs4096_dc1.00e-06_rsanthropic_v9.pt"
    path.parent.mkdir(parents=True)
    state = {
        "W_enc": weights.encoder.T.contiguous(),
        "W_dec": weights.decoder,
        "b_enc": weights.bias,
        "b_dec": weights.b_dec,
    }
    torch.save(state, path)
    write_json(path.with_name(f"{path.stem}_cfg.json"), {"act_name": "blocks.5.attn.hook_z", "act_size": 768})
    return path


def _saelens(folder: Path, weights: Weights) -> Path:
    folder.mkdir(parents=True)
    tensors = {
        "W_enc": weights.encoder.T,
        "W_dec": weights.decoder,
        "b_enc": weights.bias,
        "b_dec": weights.b_dec,
        "threshold": weights.threshold,
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "sae_weights.safetensors")
    n_features, d_in = weights.encoder.shape
    metadata = {"model_name": "gpt2", "hook_name": "blocks.9.hook_resid_post", "sae_lens_version": "6.54.12"}
    config = {"d_in": d_in, "d_sae": n_features, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True}
    config |= {"normalize_activations": "none", "reshape_activations": "none", "metadata": metadata}
    write_json(folder / "cfg.json", {**config, "architecture": "jumprelu"})
    return folder


LLAMA_SCALE = 1.5
"""By what Llama Scope's inputs are multiplied in these files."""

LM_SAES = {
    "use_decoder_bias": True,
    "apply_decoder_bias_to_pre_encoder": False,
    "act_fn": "jumprelu",
    "norm_activation": "dataset-wise",
    "sparsity_include_decoder_norm": True,
}
"""What a config of lm_saes says of every SAE of Llama Scope."""


def _llama_scope(folder: Path, weights: Weights) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    _save_linear(folder / "checkpoints" / "final.safetensors", weights)
    n_features, d_in = weights.encoder.shape
    config = {**LM_SAES, "d_model": d_in, "d_sae": n_features, "jump_relu_threshold": 0.4, "top_k": 50}
    config |= {"hook_point_in": "blocks.15.hook_resid_post", "hook_point_out": "blocks.15.hook_resid_post"}
    norm = d_in**0.5 / LLAMA_SCALE
    write_json(
        folder / "hyperparams.json", {**config, "dataset_average_activation_norm": {"in": norm, "out": norm}}
    )
    return folder


def _llama_scope_r1(folder: Path, weights: Weights) -> Path:
    folder.mkdir(parents=True)
    place, d_in = "blocks.15.hook_resid_post", weights.encoder.shape[1]
    norm = {f"dataset_average_activation_norm.{place}": torch.tensor(d_in**0.5 / LLAMA_SCALE)}
    threshold = weights.threshold.log()
    _save_linear(folder / "sae_weights.safetensors", weights, log_jumprelu_threshold=threshold, **norm)
    write_json(folder / "config.json", {**LM_SAES, "d_model": d_in, "hook_point_in": place})
    return folder


def _lm_saes(folder: Path, weights: Weights) -> Path:
    folder.mkdir(parents=True)
    place, d_in = "blocks.15.hook_resid_post", weights.encoder.shape[1]
    tensors = {
        "W_E": weights.encoder.T,
        "W_D": weights.decoder,
        "b_E": weights.bias,
        "b_D": weights.b_dec,
        "activation_function.log_jumprelu_threshold": weights.threshold.log(),
        f"dataset_average_activation_norm.{place}": torch.tensor(d_in**0.5 / LLAMA_SCALE),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "sae_weights.safetensors")
    config = {**LM_SAES, "sae_type": "sae", "d_model": d_in, "expansion_factor": len(weights.bias) / d_in}
    config |= {"hook_point_in": place, "hook_point_out": place, "use_glu_encoder": False, "top_k": 50}
    write_json(folder / "config.json", config)
    return folder


def _save_linear(path: Path, weights: Weights, **others: Tensor) -> None:
    tensors = {
        "encoder.weight": weights.encoder,
        "encoder.bias": weights.bias,
        "decoder.weight": weights.decoder.T,
        "decoder.bias": weights.b_dec,
        **others,
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _circuit_tracer(folder: Path, weights: Weights) -> Path:
    folder.mkdir(parents=True)
    tensors = {
        "W_enc": weights.encoder,
        "W_dec": weights.decoder,
        "b_enc": weights.bias,
        "b_dec": weights.b_dec,
        "activation_function.threshold": weights.threshold,
    }
    save_file(tensors, folder / "layer_3.safetensors")
    config = "model_name: Qwen/Qwen3-0.6B\nfeature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n"
    (folder / "config.yaml").write_text(config)
    return folder / "layer_3.safetensors"


class Layout(NamedTuple):
    """How a format's file is written below a folder, and the firings of its formula for x [n_tokens, d_in]."""

    write: Callable[[Path, Weights], Path]
    firings: Callable[[Weights, Tensor], Tensor]


LAYOUTS = {
    "saelens": Layout(_saelens, lambda w, x: above(pre_activations(w, x, subtract=True), w.threshold)),
    "llama_scope": Layout(_llama_scope, lambda w, x: above(llama_activations(w, x), 0.4 * LLAMA_SCALE)),
    "llama_scope_r1": Layout(_llama_scope_r1, lambda w, x: above(llama_activations(w, x), w.threshold)),
    "lm_saes": Layout(_lm_saes, lambda w, x: above(llama_activations(w, x), w.threshold)),
    "circuit_tracer": Layout(
        _circuit_tracer, lambda w, x: above(pre_activations(w, x, subtract=False), w.threshold)
    ),
    "dictionary_learning": Layout(
        _dictionary_learning, lambda w, x: largest(pre_activations(w, x, subtract=True), w.k)
    ),
    "openai": Layout(_openai, lambda w, x: largest(pre_activations(w, layer_normalised(x), subtract=True), w.k)),
    "qwen_scope": Layout(_qwen_scope, lambda w, x: largest(pre_activations(w, x, subtract=False), w.k)),
    "goodfire": Layout(_goodfire, lambda w, x: pre_activations(w, x, subtract=False).relu()),
    "attention_z": Layout(_attention_z, lambda w, x: pre_activations(w, x, subtract=True).relu()),
    "gemma_scope_2": Layout(
        _gemma_scope_2, lambda w, x: above(pre_activations(w, x, subtract=False), w.threshold)
    ),
    "gemma_scope": Layout(_gemma_scope, lambda w, x: above(pre_activations(w, x, subtract=False), w.threshold)),
    "sparsify": Layout(_sparsify, lambda w, x: largest(pre_activations(w, x, subtract=True), w.k)),
}
"""By the format's name: a new one needs its line here."""


def write_json(path: Path, content: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content), encoding="utf-8")
