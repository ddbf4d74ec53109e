"""SAELens: configs of today and of before 6.0, what is folded, what is refused; `test_owners.py` has the rest."""

import json

import pytest
import torch
from sae_layouts import (
    LAYOUTS,
    above,
    fired,
    largest,
    pre_activations,
    random_inputs,
    random_weights,
    same_firings,
    write_json,
)
from safetensors.torch import load_file, save_file

from pipeline.errors import SaeError
from pipeline.sae import TopK, load_sparse_coder, sae_files

N, WIDTH, K = 40, 24, 5
OLD = {"d_in": WIDTH, "d_sae": N, "hook_point": "blocks.6.hook_resid_pre", "dtype": "float32"}
"""A config as SAELens wrote it before 6.0."""


@pytest.fixture
def weights():
    return random_weights(N, WIDTH, K)


@pytest.fixture
def folder(tmp_path, weights):
    return LAYOUTS["saelens"].write(tmp_path / "sae", weights)


@pytest.fixture
def plain(folder):
    """The same without thresholds, as a ReLU or TopK has none."""
    rewrite(folder, ["threshold"])
    return folder


def configure(folder, **changes):
    path = folder / "cfg.json"
    config = {**json.loads(path.read_text()), **changes}
    write_json(path, {key: value for key, value in config.items() if value is not None})


def rewrite(folder, drop=(), **tensors):
    path = folder / "sae_weights.safetensors"
    kept = {name: tensor for name, tensor in load_file(path).items() if name not in drop}
    save_file({**kept, **tensors}, path)


def test_a_folder_says_its_place_and_what_it_is(folder):
    coder = load_sparse_coder(folder)
    assert (coder.format, coder.architecture, coder.normalisation) == ("saelens", "jumprelu", "none")
    assert (coder.hookpoint, coder.reads, coder.folded) == ("blocks.9.hook_resid_post", "output", None)


def test_a_transcoders_config_says_what_it_reconstructs(folder):
    metadata = {"sae_lens_version": "6.54.12", "hook_name": "blocks.9.hook_mlp_in"}
    metadata["hook_name_out"] = "blocks.9.hook_mlp_out"
    configure(folder, metadata=metadata)
    assert load_sparse_coder(folder).target is None  # an SAE reconstructs what it reads
    configure(folder, architecture="jumprelu_transcoder", d_out=WIDTH)
    coder = load_sparse_coder(folder)
    assert (coder.hookpoint, coder.target) == ("blocks.9.hook_mlp_in", "blocks.9.hook_mlp_out")
    assert coder.reads == "input"


def test_an_old_config_is_a_topk_where_its_activation_is_whatever_its_architecture_says(plain, weights):
    write_json(
        plain / "cfg.json",
        {**OLD, "architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
    )
    coder, x = load_sparse_coder(plain), random_inputs(30, WIDTH)
    assert (coder.architecture, coder.activation, coder.declared_l0) == ("topk", TopK(K), K)
    assert (coder.hookpoint, coder.reads) == ("blocks.6.hook_resid_pre", "output")  # an address has its own side
    same_firings(fired(coder, x), largest(pre_activations(weights, x, subtract=True), K))


def test_an_old_config_subtracts_b_dec_by_default(plain, weights):
    write_json(plain / "cfg.json", OLD)
    coder, x = load_sparse_coder(plain), random_inputs(30, WIDTH)
    assert coder.architecture == "standard"
    same_firings(fired(coder, x), pre_activations(weights, x, subtract=True).relu())
    write_json(plain / "cfg.json", {**OLD, "apply_b_dec_to_input": False})
    same_firings(fired(load_sparse_coder(plain), x), pre_activations(weights, x, subtract=False).relu())


@pytest.mark.parametrize("how", [True, "expected_average_only_in", "covariance_whitening"])
def test_a_normalisation_whose_factor_is_in_no_file_is_refused(folder, how):
    write_json(folder / "cfg.json", {**OLD, "normalize_activations": how})
    with pytest.raises(SaeError, match="its files lack"):
        load_sparse_coder(folder)


def test_the_factor_of_the_inputs_norm_is_multiplied_in_where_it_is_known(folder, weights):
    configure(folder, normalize_activations="expected_average_only_in", norm_scaling_factor=2.5)
    coder, x = load_sparse_coder(folder), random_inputs(30, WIDTH)
    # W_enc s, W_dec / s, b_dec / s; threshold and b_enc as they are.
    folded = weights._replace(encoder=weights.encoder * 2.5, b_dec=weights.b_dec / 2.5)
    same_firings(fired(coder, x), above(pre_activations(folded, x, subtract=True), weights.threshold))
    torch.testing.assert_close(coder.decoder, weights.decoder / 2.5)
    assert coder.folded == "the factor of its inputs' norm, 2.5"


def test_a_checkpoint_has_the_factor_beside_it_and_what_training_ended_with_has_none(folder, weights):
    configure(folder, normalize_activations="expected_average_only_in")
    write_json(folder / "activation_scaler.json", {"scaling_factor": None, "has_whitening": False})
    with pytest.raises(SaeError, match=r"its files lack.*local copy \(1 if the weights already include it"):
        load_sparse_coder(folder)
    write_json(folder / "activation_scaler.json", {"scaling_factor": 2.5, "has_whitening": False})
    coder, x = load_sparse_coder(folder), random_inputs(30, WIDTH)
    folded = weights._replace(encoder=weights.encoder * 2.5, b_dec=weights.b_dec / 2.5)
    same_firings(fired(coder, x), above(pre_activations(folded, x, subtract=True), weights.threshold))
    assert sae_files(str(folder)).outside == {"norm_scaling_factor": 2.5}
    configure(folder, normalize_activations="none")
    coder = load_sparse_coder(folder)
    same_firings(fired(coder, x), above(pre_activations(weights, x, subtract=True), weights.threshold))


@pytest.mark.parametrize("factor", [0, -1, True, float("inf"), "2.5"])
def test_a_factor_that_cannot_be_is_refused(folder, factor):
    configure(folder, normalize_activations="expected_average_only_in", norm_scaling_factor=factor)
    with pytest.raises(SaeError, match="its files lack"):
        load_sparse_coder(folder)


@pytest.mark.parametrize("place", ["metadata", "registry's override"])
def test_a_model_with_centred_writing_weights_has_its_residual_centred(folder, weights, place):
    centred = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    metadata = {"hook_name": "blocks.9.hook_resid_pre", "sae_lens_version": "6.1.0"}
    if place == "metadata":
        configure(folder, metadata={**metadata, **centred})
    else:
        configure(folder, metadata=metadata, **centred)
    coder, x = load_sparse_coder(folder), random_inputs(30, WIDTH)
    assert coder.normalisation == "centred"
    expected = pre_activations(weights, x.double() - x.double().mean(1, keepdim=True), subtract=True)
    same_firings(fired(coder, x), above(expected, weights.threshold))
    configure(folder, metadata={**metadata, **centred, "hook_name": "blocks.9.attn.hook_z"})
    assert load_sparse_coder(folder).normalisation == "none"  # not written into the residual stream


@pytest.mark.parametrize("name", ["scaling_factor", "finetuning_scaling_factor"])
def test_a_scaling_factor_of_ones_is_nothing_and_another_scales_the_decoder(folder, weights, name):
    rewrite(folder, **{name: torch.ones(N)})
    assert load_sparse_coder(folder).folded is None
    rewrite(folder, **{name: torch.full((N,), 1.5)})
    coder = load_sparse_coder(folder)
    torch.testing.assert_close(coder.decoder, weights.decoder * 1.5)
    torch.testing.assert_close(coder.encoder, weights.encoder)
    assert "scaling_factor" in coder.folded


def test_a_scaling_factor_that_the_config_promises_has_to_be_there(folder):
    configure(folder, finetuning_scaling_factor=True)
    with pytest.raises(SaeError, match="no tensor 'finetuning_scaling_factor'"):
        load_sparse_coder(folder)


def test_a_topk_that_is_rescaled_by_the_decoders_norms_fires_by_these(plain, weights):
    configure(plain, architecture="topk", k=K, rescale_acts_by_decoder_norm=True)
    coder, x = load_sparse_coder(plain), random_inputs(30, WIDTH)
    norms = weights.decoder.double().norm(dim=1)
    pre = pre_activations(weights, x, subtract=True)
    same_firings(fired(coder, x), largest(pre * norms, K))
    assert not torch.equal(largest(pre * norms, K) > 0, largest(pre, K) > 0)
    torch.testing.assert_close(coder.decoder.norm(dim=1), torch.ones(N))
    assert coder.folded == "the norms of the decoder"
    weights.decoder[3] = 0  # a feature that died
    rewrite(plain, W_dec=weights.decoder)
    assert load_sparse_coder(plain).decoder.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "abstopk", "k": K}, "'abstopk' cannot be read: its features also fire below 0"),
        ({"architecture": "matching_pursuit"}, "'matching_pursuit' cannot be read"),
        ({"architecture": "temporal"}, "'temporal' cannot be read"),
        ({"architecture": "crosscoder"}, "architecture 'crosscoder', which is not one of standard, topk"),
        ({"architecture": "topk"}, "k None, not a number from 1 to 40"),
        ({"architecture": "topk", "k": N + 1}, "k 41, not a number from 1 to 40"),
        ({"architecture": "batchtopk"}, "no tensor 'topk_threshold'"),
        ({"architecture": "gated"}, "no tensor 'b_gate'"),
        ({"architecture": "jumprelu_skip_transcoder"}, "no tensor 'W_skip'"),
        ({"hook_head_index": 3}, "it reads only head 3"),
        ({"normalize_activations": "tanh"}, "normalize_activations is 'tanh'"),
        ({"d_in": WIDTH + 1}, "its cfg.json says d_in 25"),
        ({"d_sae": N - 1}, "its cfg.json says d_sae 39"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(folder, changes, reason):
    configure(folder, **changes)
    with pytest.raises(SaeError, match=reason):
        load_sparse_coder(folder)


def test_an_old_activation_that_is_no_relu_and_an_old_head_are_refused(folder):
    write_json(folder / "cfg.json", {**OLD, "activation_fn_str": "tanh-relu"})
    with pytest.raises(SaeError, match="standard with activation_fn tanh-relu"):
        load_sparse_coder(folder)
    write_json(folder / "cfg.json", {**OLD, "activation_fn_str": "topk", "activation_fn_kwargs": {}})  # without k
    with pytest.raises(SaeError, match="standard with activation_fn topk"):
        load_sparse_coder(folder)
    write_json(folder / "cfg.json", {**OLD, "hook_point_head_index": 7})
    with pytest.raises(SaeError, match="it reads only head 7"):
        load_sparse_coder(folder)


def test_what_is_negative_in_the_thresholds_is_a_relu(folder, weights):
    rewrite(folder, threshold=-weights.threshold)
    x = random_inputs(30, WIDTH)
    same_firings(fired(load_sparse_coder(folder), x), pre_activations(weights, x, subtract=True).relu())


@pytest.mark.parametrize(
    ("architecture", "own", "other"),
    [
        ("standard", ["b_enc"], "threshold"),
        ("topk", ["b_enc"], "W_skip"),
        ("jumprelu", ["b_enc", "threshold"], "topk_threshold"),
        ("gated", ["b_gate", "b_mag", "r_mag"], "b_enc"),
    ],
)
def test_a_tensor_that_its_architecture_does_not_have_is_refused_as_by_saelens(folder, architecture, own, other):
    configure(folder, architecture=architecture, k=K)
    vectors = {name: torch.ones(N) for name in own}
    rewrite(folder, ["b_enc", "threshold"], **vectors)
    load_sparse_coder(folder)
    rewrite(folder, **{other: torch.ones(N)})
    with pytest.raises(SaeError, match=f"architecture '{architecture}' has no {other}, which the file holds"):
        load_sparse_coder(folder)


def test_a_transposed_decoder_is_refused(folder, weights):
    rewrite(folder, W_dec=weights.decoder.T.contiguous())
    with pytest.raises(SaeError, match=r"W_dec has shape \[24, 40\], not \[40, 24\]"):
        load_sparse_coder(folder)
