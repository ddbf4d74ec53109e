"""Formats of PyTorch files and of one file a layer: what they say of themselves, and what is refused."""

import io
import json
import pickle

import pytest
import torch
from sae_layouts import (
    LAYOUTS,
    LLAMA_SCALE,
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
from pipeline.sae import RELU, load_sparse_coder

N, WIDTH, K = 40, 24, 5


@pytest.fixture
def weights():
    return random_weights(N, WIDTH, K)


def resave(path, drop=(), **changes):
    content = torch.load(path, weights_only=True)
    kept = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in content.items()}
    torch.save({**{key: value for key, value in kept.items() if key not in drop}, **changes}, path)


@pytest.mark.parametrize(
    ("name", "place", "reads"),
    [
        ("dictionary_learning", "blocks.3.hook_resid_post", "output"),
        ("openai", "blocks.6.hook_resid_post", "output"),
        ("qwen_scope", "blocks.3.hook_resid_post", "output"),
        ("goodfire", "blocks.19.hook_resid_post", "output"),
        ("llama_scope", "blocks.15.hook_resid_post", "output"),
        ("llama_scope_r1", "blocks.15.hook_resid_post", "output"),
        ("circuit_tracer", "blocks.3.mlp.hook_in", "input"),
    ],
)
def test_files_and_paths_say_the_place(tmp_path, weights, name, place, reads):
    coder = load_sparse_coder(LAYOUTS[name].write(tmp_path / "sae", weights))
    assert (coder.hookpoint, coder.reads) == (place, reads)


class Trap:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["dictionary_learning", "openai", "qwen_scope", "goodfire"])
def test_pickled_code_is_refused_and_never_run(tmp_path, weights, name):
    path = LAYOUTS[name].write(tmp_path / "sae", weights)
    file = path / "ae.pt" if path.is_dir() else path
    sprung = tmp_path / "sprung"
    for dump in (pickle.dump, torch.save):
        content = io.BytesIO()
        dump({"encoder.weight": Trap(str(sprung))}, content)
        file.write_bytes(content.getvalue())
        for format in (None, name):
            with pytest.raises(SaeError, match="holds pickled code, which is never run"):
                load_sparse_coder(path, format)
    assert not sprung.exists()


def test_a_file_in_torchs_old_serialisation_is_read(tmp_path, weights):
    path = LAYOUTS["qwen_scope"].write(tmp_path / "sae", weights)
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    assert torch.equal(load_sparse_coder(path).encoder, weights.encoder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_any_float_dtype_is_encoded_in_float32(tmp_path, weights, dtype):
    path = LAYOUTS["goodfire"].write(tmp_path / "sae", weights)
    stored = {key: value.to(dtype) for key, value in torch.load(path).items()}
    torch.save(stored, path)
    assert torch.equal(load_sparse_coder(path).encoder, weights.encoder.to(dtype).float())


# dictionary_learning ----------------------------------------------------------------------------------


def test_older_names_of_the_bias_are_known(tmp_path, weights):
    path = LAYOUTS["dictionary_learning"].write(tmp_path / "sae", weights)
    for name in ("bias", "decoder_bias"):
        resave(path / "ae.pt", drop=("b_dec", "bias"), **{name: weights.b_dec})
        assert torch.equal(load_sparse_coder(path).input_bias, weights.b_dec)


def test_thresholds_of_one_and_of_each_feature_fire_alike(tmp_path, weights):
    path = LAYOUTS["dictionary_learning"].write(tmp_path / "sae", weights)
    write_json(path / "config.json", {"trainer": {"dict_class": "BatchTopKSAE", "k": K}})
    x = random_inputs(30, WIDTH)
    expected = above(pre_activations(weights, x, subtract=True), 0.5)
    for threshold in (torch.tensor(0.5), torch.tensor([0.5]), torch.full((N,), 0.5)):
        resave(path / "ae.pt", threshold=threshold)
        coder = load_sparse_coder(path)
        same_firings(fired(coder, x), expected)
        assert (coder.architecture, coder.declared_l0) == ("BatchTopKSAE", K)


@pytest.mark.parametrize(
    ("trainer", "reason"),
    [
        ({"dict_class": "CrossCoder"}, "dict_class 'CrossCoder', which is none of AutoEncoder"),
        ({"dict_class": "AutoEncoderTopK", "k": K + 1}, "k is 5, but its config.json says 6"),
        ({"dict_class": "GatedAutoEncoder"}, "no tensor 'gate_bias'"),
        ({}, "its tensors are those of AutoEncoderTopK or BatchTopKSAE"),
    ],
)
def test_a_class_that_is_not_read_or_does_not_fit_is_refused(tmp_path, weights, trainer, reason):
    path = LAYOUTS["dictionary_learning"].write(tmp_path / "sae", weights)
    write_json(path / "config.json", {"trainer": trainer})
    with pytest.raises(SaeError, match=reason):
        load_sparse_coder(path)


def test_the_first_releases_have_no_config_and_their_folder_names_the_place(tmp_path, weights):
    written = LAYOUTS["dictionary_learning"].write(tmp_path / "sae", weights)
    resave(written / "ae.pt", drop=("b_dec", "k", "threshold"), bias=weights.b_dec)
    target = tmp_path / "pythia-70m-deduped" / "mlp_out_layer3" / "10_32768"
    target.mkdir(parents=True)
    (written / "ae.pt").rename(target / "ae.pt")
    coder, x = load_sparse_coder(target), random_inputs(30, WIDTH)
    assert (coder.architecture, coder.hookpoint) == ("AutoEncoder", "blocks.3.hook_mlp_out")
    same_firings(fired(coder, x), pre_activations(weights, x, subtract=True).relu())


# OpenAI, Qwen-Scope -----------------------------------------------------------------------------------


def test_a_relu_of_openais_is_not_normalised(tmp_path, weights):
    path = LAYOUTS["openai"].write(tmp_path / "sae", weights)
    resave(path, drop=("activation_state_dict",), activation="ReLU")
    coder, x = load_sparse_coder(path), random_inputs(30, WIDTH)
    assert (coder.normalisation, coder.activation) == ("none", RELU)
    same_firings(fired(coder, x), pre_activations(weights, x, subtract=True).relu())


def test_openais_reconstruction_is_brought_back_to_the_inputs_mean_and_deviation(tmp_path, weights):
    coder = load_sparse_coder(LAYOUTS["openai"].write(tmp_path / "sae", weights))
    x = 3 * random_inputs(30, WIDTH)
    firings = LAYOUTS["openai"].firings(weights, x)
    decoded = firings @ weights.decoder.double() + weights.b_dec.double()
    expected = decoded * x.double().std(1, keepdim=True) + x.double().mean(1, keepdim=True)
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"activation": "Identity"}, "activation 'Identity', not 'TopK' or 'ReLU'"),
        ({"activation_state_dict": {"k": 0}}, "k 0, not a number from 1 to 40"),
        ({"activation_state_dict": {"k": K, "postact_fn": "Identity"}}, "features fire below 0"),
        ({"latent_bias": torch.ones(N - 1)}, r"latent_bias has shape \[39\], not \[40\]"),
        ({"decoder.weight": torch.ones(N, WIDTH)}, r"decoder.weight has shape \[40, 24\], not \[24, 40\]"),
    ],
)
def test_what_does_not_fit_in_openais_file_is_refused(tmp_path, weights, changes, reason):
    path = LAYOUTS["openai"].write(tmp_path / "sae", weights)
    resave(path, **changes)
    with pytest.raises(SaeError, match=reason):
        load_sparse_coder(path)


def test_qwen_scopes_k_is_in_the_name_of_its_repository(tmp_path, weights):
    path = LAYOUTS["qwen_scope"].write(tmp_path / "sae", weights)
    assert load_sparse_coder(path).k == load_sparse_coder(path).declared_l0 == K
    alone = path.rename(tmp_path / path.name)
    with pytest.raises(SaeError, match="its k is in its repository's name"):
        load_sparse_coder(alone)


def test_of_a_folder_of_several_layers_one_has_to_be_named(tmp_path, weights):
    path = LAYOUTS["qwen_scope"].write(tmp_path / "sae", weights)
    (path.parent / "layer4.sae.pt").write_bytes(path.read_bytes())
    with pytest.raises(SaeError, match=r"holds 2 SAEs \(format qwen_scope\); name one, such as 'layer3.sae.pt'"):
        load_sparse_coder(path.parent)


# Llama Scope, circuit-tracer --------------------------------------------------------------------------


def test_llama_scopes_scale_is_folded_in_and_told(tmp_path, weights):
    coder = load_sparse_coder(LAYOUTS["llama_scope"].write(tmp_path / "sae", weights))
    assert coder.folded == "the factor of its inputs' norm, 1.5" and coder.declared_l0 == 50
    torch.testing.assert_close(coder.decoder_bias, weights.b_dec / LLAMA_SCALE)
    assert coder.threshold_range == pytest.approx((0.6, 0.6))


def test_a_transcoder_of_llama_scope_has_a_scale_for_each_side_and_may_write_to_another_width(tmp_path, weights):
    folder = LAYOUTS["llama_scope"].write(tmp_path / "sae", weights)
    config, path = json.loads((folder / "hyperparams.json").read_text()), folder / "checkpoints/final.safetensors"
    norms = {"in": WIDTH**0.5 / LLAMA_SCALE, "out": 7**0.5 / 0.25}
    config |= {"hook_point_out": "blocks.15.hook_mlp_out", "dataset_average_activation_norm": norms}
    write_json(folder / "hyperparams.json", config)
    w_dec, b_dec = torch.randn(7, N), torch.randn(7)
    save_file({**load_file(path), "decoder.weight": w_dec, "decoder.bias": b_dec}, path)
    coder, x = load_sparse_coder(folder), random_inputs(30, WIDTH)
    firings = LAYOUTS["llama_scope"].firings(weights, x)
    same_firings(fired(coder, x), firings)
    expected = (firings @ w_dec.double().T + b_dec.double()) / 0.25
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)).double(), expected, rtol=1e-4, atol=1e-4)
    assert coder.transcodes and coder.folded == "the factor of its inputs' norm, 1.5, and of its outputs', 0.25"
    assert coder.target == "blocks.15.hook_mlp_out"


@pytest.mark.parametrize("norm", [None, {}, {"in": 0}, {"in": "7"}])
def test_llama_scope_without_its_average_norm_is_refused(tmp_path, weights, norm):
    folder = LAYOUTS["llama_scope"].write(tmp_path / "sae", weights)
    write_json(folder / "hyperparams.json", {"jump_relu_threshold": 0.4, "dataset_average_activation_norm": norm})
    with pytest.raises(SaeError, match=r"dataset_average_activation_norm.in .*, not a number above 0"):
        load_sparse_coder(folder)


def test_the_distilled_llamas_without_their_factor_are_refused(tmp_path, weights):
    folder = LAYOUTS["llama_scope_r1"].write(tmp_path / "sae", weights)
    write_json(folder / "config.json", {"d_model": WIDTH, "hook_point_in": "blocks.15.hook_resid_post"})
    with pytest.raises(SaeError, match="scaled by a factor that its files do not hold"):
        load_sparse_coder(folder)


def test_a_transcoder_of_circuit_tracer_may_be_a_relu_skip_and_write_to_another_width(tmp_path, weights):
    path = LAYOUTS["circuit_tracer"].write(tmp_path / "sae", weights)
    w_dec, b_dec, skip = torch.randn(N, 7), torch.randn(7), torch.randn(7, WIDTH)
    stored = load_file(path)
    del stored["activation_function.threshold"]
    save_file({**stored, "W_dec": w_dec, "b_dec": b_dec, "W_skip": skip}, path)
    (path.parent / "config.yaml").unlink()
    coder, x = load_sparse_coder(path), random_inputs(30, WIDTH)
    firings = pre_activations(weights, x, subtract=False).relu()
    same_firings(fired(coder, x), firings)
    expected = firings @ w_dec.double() + b_dec.double() + x.double() @ skip.double().T
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)).double(), expected, rtol=1e-4, atol=1e-4)
    assert (coder.architecture, coder.transcodes, coder.hookpoint) == ("transcoder", True, "blocks.3.mlp.hook_in")
    assert coder.target == "blocks.3.hook_mlp_out"


def test_the_k_largest_are_not_what_a_threshold_gives(weights):
    """So that no test above could pass by the other formula."""
    pre = pre_activations(weights, random_inputs(30, WIDTH), subtract=True)
    assert not torch.equal(largest(pre, K), above(pre, 0.5))
    assert ((pre > 0) & (pre < 0.5)).any()
