"""Gemma Scope 1 and 2, in the true layouts, against x W_enc + b_enc where it is above the threshold."""

import numpy as np
import pytest
import torch
from sae_layouts import (
    LAYOUTS,
    above,
    fired,
    pre_activations,
    random_inputs,
    random_weights,
    same_firings,
    write_json,
)
from safetensors.torch import load_file, save_file
from transformers import Gemma2Config, Gemma2Model

from pipeline.config import SubjectConfig
from pipeline.errors import SaeError
from pipeline.sae import load_sparse_coder
from pipeline.subject.forward import load_subject
from pipeline.subject.hookpoints import resolve_hookpoint

N, WIDTH = 40, 24


@pytest.fixture
def weights():
    return random_weights(N, WIDTH, k=4)


def rewrite(path, drop=(), **tensors):
    """Put other tensors into a folder of Gemma Scope 2."""
    stored = load_file(path / "params.safetensors")
    kept = {name: tensor for name, tensor in stored.items() if name not in drop}
    save_file(kept | tensors, path / "params.safetensors")


def moved(path, name):
    """The same SAE in another folder beside its own."""
    target = path.parents[1] / name
    target.parent.mkdir(exist_ok=True)
    return path.rename(target)


def test_gemma_scope_2_says_its_place_and_what_it_is(tmp_path, weights):
    coder = load_sparse_coder(LAYOUTS["gemma_scope_2"].write(tmp_path, weights))
    assert (coder.hookpoint, coder.reads, coder.transcodes) == ("model.layers.12.output", "output", False)
    assert (coder.architecture, coder.input_bias, coder.folded) == ("jump_relu", None, None)
    assert coder.threshold_range == (float(weights.threshold.min()), float(weights.threshold.max()))


@pytest.mark.parametrize(
    ("folder", "place"),
    [
        ("resid_post_all/layer_3_width_16k_l0_small", "model.layers.3.output"),
        ("attn_out/layer_3_width_16k_l0_small", "model.layers.3.self_attn.o_proj.input"),
        ("mlp_out/layer_3_width_65k_l0_big", "model.layers.3.post_feedforward_layernorm.output"),
        ("transcoder_all/layer_3_width_1m_l0_big", "model.layers.3.pre_feedforward_layernorm.output"),
        ("elsewhere/layer_3", None),
    ],
)
def test_without_a_config_the_path_says_the_place(tmp_path, weights, folder, place):
    path = moved(LAYOUTS["gemma_scope_2"].write(tmp_path, weights), folder)
    (path / "config.json").unlink()
    coder = load_sparse_coder(path)
    assert (coder.hookpoint, coder.transcodes) == (place, "transcoder" in folder)


def test_an_affine_transcoder_adds_its_input_and_may_write_to_another_width(tmp_path, weights):
    path = moved(LAYOUTS["gemma_scope_2"].write(tmp_path, weights), "transcoder/layer_3_width_16k_l0_small_affine")
    w_dec, b_dec, skip = torch.randn(N, 7), torch.randn(7), torch.randn(WIDTH, 7)
    rewrite(path, w_dec=w_dec, b_dec=b_dec, affine_skip_connection=skip)
    config = {"architecture": "jump_relu", "affine_connection": True}
    config["hf_hook_point_out"] = "model.layers.3.post_feedforward_layernorm.output"
    write_json(path / "config.json", config)
    coder, x = load_sparse_coder(path), random_inputs(30, WIDTH)
    assert coder.target == config["hf_hook_point_out"]
    features = above(pre_activations(weights, x, subtract=False), weights.threshold)
    same_firings(fired(coder, x), features)
    expected = features @ w_dec.double() + b_dec.double() + x.double() @ skip.double()
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)).double(), expected, rtol=1e-4, atol=1e-4)
    rewrite(path, drop=("affine_skip_connection",))
    for _ in range(2):
        with pytest.raises(SaeError, match="no tensor 'affine_skip_connection'"):
            load_sparse_coder(path)
        (path / "config.json").unlink(missing_ok=True)  # the folder's name says it, too


@pytest.mark.parametrize("kind", ["crosscoder", "clt"])
def test_crosscoders_and_clts_are_refused_by_name(tmp_path, weights, kind):
    path = moved(LAYOUTS["gemma_scope_2"].write(tmp_path, weights), f"{kind}/layer_3_width_16k_l0_small")
    with pytest.raises(SaeError, match=f"it is a {kind}"):
        load_sparse_coder(path)


@pytest.mark.parametrize("kind", ["crosscoder", "clt", "transcoder", "sae"])
def test_the_config_says_what_it_is_in_a_folder_of_any_name(tmp_path, weights, kind):
    path = moved(LAYOUTS["gemma_scope_2"].write(tmp_path, weights), "mine/it")
    write_json(path / "config.json", {"type": kind})
    if kind in ("transcoder", "sae"):
        assert load_sparse_coder(path).transcodes == (kind == "transcoder")
        return
    with pytest.raises(SaeError, match=f"it is a {kind}, which reads or writes several layers"):
        load_sparse_coder(path)


@pytest.mark.parametrize(
    ("drop", "tensors", "reason"),
    [
        (("threshold",), {}, "has no tensor 'threshold'"),
        ((), {"threshold": torch.ones(N + 1)}, r"threshold has shape \[41\], not \[40\]"),
        ((), {"w_dec": torch.ones(WIDTH, N)}, r"w_dec has shape \[24, 40\], not \[40, 24\]"),
        ((), {"w_enc": torch.ones(2, WIDTH, N)}, r"w_enc has shape \[2, 24, 40\]"),
        ((), {"b_dec": torch.full((WIDTH,), torch.nan)}, "'b_dec' holds NaN or infinite values"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_found_and_expected(tmp_path, weights, drop, tensors, reason):
    path = LAYOUTS["gemma_scope_2"].write(tmp_path, weights)
    rewrite(path, drop, **tensors)
    with pytest.raises(SaeError, match=reason):
        load_sparse_coder(path)


def test_another_architecture_in_its_config_is_refused(tmp_path, weights):
    path = LAYOUTS["gemma_scope_2"].write(tmp_path, weights)
    write_json(path / "config.json", {"architecture": "topk"})
    with pytest.raises(SaeError, match="architecture 'topk', not 'jump_relu'"):
        load_sparse_coder(path)


def test_gemma_scope_1_says_place_and_l0_by_its_path(tmp_path, weights):
    coder = load_sparse_coder(LAYOUTS["gemma_scope"].write(tmp_path, weights))
    assert (coder.hookpoint, coder.reads, coder.declared_l0) == ("blocks.9.hook_resid_post", "output", 88)
    assert (coder.architecture, coder.input_bias) == ("jumprelu", None)


@pytest.mark.parametrize(
    ("repository", "place"),
    [
        ("gemma-scope-9b-it-res", "blocks.9.hook_resid_post"),
        ("gemma-scope-2b-pt-att", "blocks.9.attn.hook_z"),
        ("gemma-scope-2b-pt-mlp", "blocks.9.hook_mlp_out"),
        ("gemma-scope-2b-pt-transcoders", "blocks.9.ln2.hook_normalized"),
        ("my-folder", None),
    ],
)
def test_the_repository_says_what_is_read(tmp_path, weights, repository, place):
    written = LAYOUTS["gemma_scope"].write(tmp_path, weights)
    root = written.parents[2].rename(tmp_path / f"models--google--{repository}")
    coder = load_sparse_coder(root / "layer_9" / "width_16k" / "average_l0_88")
    assert (coder.hookpoint, coder.transcodes) == (place, "transcoders" in repository)


def test_an_embedding_sae_was_trained_on_stored_embeddings_and_reads_what_gemma_2_makes_of_them(tmp_path, weights):
    path = LAYOUTS["gemma_scope"].write(tmp_path, weights)
    target = path.parents[2] / "embedding" / "width_4k"
    target.mkdir(parents=True)
    coder = load_sparse_coder(path.rename(target / "average_l0_6"))
    config = Gemma2Config(
        vocab_size=50,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    model, embeddings = Gemma2Model(config), random_inputs(50, WIDTH)
    model.embed_tokens.weight.data.copy_(embeddings)
    model.save_pretrained(tmp_path / "gemma")
    subject = SubjectConfig(model=str(tmp_path / "gemma"), dtype="float32")
    place = resolve_hookpoint(subject, str(coder.hookpoint))
    x = load_subject(subject, "cpu").read(torch.arange(50)[None], [place])[place][0]
    features = above(pre_activations(weights, embeddings, subtract=False), weights.threshold)
    same_firings(fired(coder, x), features, atol=1e-4)
    # What it reconstructs is what is read.
    expected = WIDTH**0.5 * (features @ weights.decoder.double() + weights.b_dec.double())
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)).double(), expected, rtol=1e-4, atol=1e-3)
    assert (coder.hookpoint, coder.declared_l0) == ("hook_embed", 6) and coder.folded


def test_names_of_older_files_float64_and_float16_are_read(tmp_path, weights):
    path = LAYOUTS["gemma_scope"].write(tmp_path, weights)
    names = {"W_enc": "w_enc", "W_dec": "w_dec"}
    with np.load(path / "params.npz") as arrays:
        stored = {names.get(name, name): arrays[name].astype(np.float64) for name in arrays.files}
    np.savez(path / "params.npz", **stored)
    assert torch.equal(load_sparse_coder(path).encoder, weights.encoder)
    np.savez(path / "params.npz", **{name: array.astype(np.float16) for name, array in stored.items()})
    assert torch.equal(load_sparse_coder(path).encoder, weights.encoder.half().float())


def test_arrays_that_need_pickle_are_refused(tmp_path, weights):
    path = LAYOUTS["gemma_scope"].write(tmp_path, weights)
    with np.load(path / "params.npz") as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    np.savez(path / "params.npz", **{**stored, "threshold": np.array([object()])})
    with pytest.raises(SaeError, match="pickle"):
        load_sparse_coder(path)
