"""Formats of PyTorch files and of one file a layer: what they say of themselves, and what is refused."""

import io
import json
import pickle

import pytest
import torch
import yaml
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
    ("name", "place"),
    [
        ("dictionary_learning", "blocks.3.hook_resid_post"),
        ("openai", "blocks.6.hook_resid_post"),
        ("qwen_scope", "blocks.3.hook_resid_post"),
        ("goodfire", "blocks.19.hook_resid_post"),
        ("llama_scope", "blocks.15.hook_resid_post"),
        ("llama_scope_r1", "blocks.15.hook_resid_post"),
        ("lm_saes", "blocks.15.hook_resid_post"),
        ("attention_z", "blocks.5.attn.hook_z"),
        ("circuit_tracer", "blocks.3.mlp.hook_in"),
    ],
)
def test_files_and_paths_say_the_place(tmp_path, weights, name, place):
    assert load_sparse_coder(LAYOUTS[name].write(tmp_path / "sae", weights)).hookpoint == place


class Trap:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["dictionary_learning", "openai", "qwen_scope", "goodfire", "attention_z"])
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


def test_tensors_without_values_are_refused(tmp_path):
    tensors = {"encoder.weight": torch.ones(3, 2), "encoder.bias": torch.ones(3), "bias": torch.ones(2)}
    torch.save({name: tensor.to("meta") for name, tensor in tensors.items()}, tmp_path / "ae.pt")
    with pytest.raises(SaeError, match=r"encoder\.weight has no values, because it was saved from torch's device"):
        load_sparse_coder(tmp_path)


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


def test_two_linear_layers_alone_are_read_as_goodfires_where_the_files_name_says_so(tmp_path, weights):
    path = tmp_path / "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
    state = {
        "encoder.weight": weights.encoder,
        "encoder.bias": weights.bias,
        "decoder.weight": weights.decoder.T.contiguous(),
        "decoder.bias": weights.b_dec,
    }
    torch.save(state, path)
    coder, x = load_sparse_coder(path), random_inputs(30, WIDTH)
    assert (coder.format, coder.hookpoint) == ("goodfire", "blocks.19.hook_resid_post")
    same_firings(fired(coder, x), pre_activations(weights, x, subtract=False).relu())
    torch.save({**state, "log_threshold": weights.threshold}, path)  # it is another function then
    torch.save(state, tmp_path / "mine.pt")  # which may as well keep the k largest
    for other in (path, tmp_path / "mine.pt"):
        with pytest.raises(SaeError, match=r"other tensors: decoder\.bias, decoder\.weight, encoder\.bias"):
            load_sparse_coder(other)


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
        ({"dict_class": "CrossCoder"}, "dict_class 'CrossCoder', which is not one of AutoEncoder"),
        ({"dict_class": "AutoEncoderTopK", "k": K + 1}, "k is 5, but its config.json says 6"),
        ({"dict_class": "GatedAutoEncoder"}, "no tensor 'gate_bias'"),
        ({}, "the tensors are those of AutoEncoderTopK or BatchTopKSAE"),
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


@pytest.mark.parametrize(
    ("named", "place"),
    [
        ("resid_post_layer_3", "blocks.3.hook_resid_post"),
        ("resid_out_layer3", "blocks.3.hook_resid_post"),
        ("attn_out_layer3", "blocks.3.hook_attn_out"),
        ("mlp_out_layer_3", "blocks.3.hook_mlp_out"),
        ("resid_pre_layer_3", "resid_pre_layer_3"),
        ("resid_mid_layer_3", "resid_mid_layer_3"),
        ("mlp_in_layer_3", "mlp_in_layer_3"),
        ("attn_z_layer_3", "attn_z_layer_3"),
    ],
)
def test_a_place_that_dictionary_learning_does_not_name_itself_stays_as_it_is_written(
    tmp_path, weights, named, place
):
    path = LAYOUTS["dictionary_learning"].write(tmp_path / "sae", weights)
    trainer = json.loads((path / "config.json").read_text())["trainer"]
    write_json(path / "config.json", {"trainer": {**trainer, "submodule_name": named}})
    assert load_sparse_coder(path).hookpoint == place


@pytest.mark.parametrize("odd", [True, "many", ["x"], float("nan"), None])
def test_a_number_of_firings_that_is_none_is_not_declared(tmp_path, weights, odd):
    path = LAYOUTS["dictionary_learning"].write(tmp_path / "sae", weights)
    trainer = {"dict_class": "BatchTopKSAE", "k": odd, "target_l0": 40}
    write_json(path / "config.json", {"trainer": trainer})
    assert load_sparse_coder(path).declared_l0 == 40
    write_json(path / "config.json", {"trainer": {**trainer, "target_l0": odd}})
    assert load_sparse_coder(path).declared_l0 is None


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
    with pytest.raises(SaeError, match="its k is given by its repository's name"):
        load_sparse_coder(alone)


def test_of_a_folder_of_several_layers_one_has_to_be_named(tmp_path, weights):
    path = LAYOUTS["qwen_scope"].write(tmp_path / "sae", weights)
    (path.parent / "layer4.sae.pt").write_bytes(path.read_bytes())
    with pytest.raises(SaeError, match=r"holds 2 SAEs \(format qwen_scope\); name one, such as 'layer3.sae.pt'"):
        load_sparse_coder(path.parent)


# Llama Scope, circuit-tracer --------------------------------------------------------------------------


def test_llama_scopes_scale_and_norms_are_folded_in_and_told(tmp_path, weights):
    coder = load_sparse_coder(LAYOUTS["llama_scope"].write(tmp_path / "sae", weights))
    assert coder.folded == "the factor of its inputs' norm, 1.5; the norms of the decoder"
    assert coder.declared_l0 == 50
    torch.testing.assert_close(coder.decoder_bias, weights.b_dec / LLAMA_SCALE)
    torch.testing.assert_close(coder.decoder.norm(dim=1), torch.full((N,), 1 / LLAMA_SCALE))
    assert coder.threshold_range == pytest.approx((0.6, 0.6))


@pytest.mark.parametrize("scale_out", [0.25, LLAMA_SCALE])
@pytest.mark.parametrize("by_norm", [True, False])
def test_a_llama_scope_fires_as_lm_saes_does_with_its_weights_as_it_folds_them(
    tmp_path, weights, scale_out, by_norm
):
    """lm_saes leaves inputs and thresholds as they are, and folds scales and norms into all else."""
    folder = configured(LAYOUTS["llama_scope"].write(tmp_path / "sae", weights), scale_out, by_norm)
    bias = weights.bias.double() / LLAMA_SCALE
    decoder = weights.decoder.double() * LLAMA_SCALE / scale_out
    norms = decoder.norm(dim=1) if by_norm else torch.ones(N)
    coder, x = load_sparse_coder(folder), random_inputs(30, WIDTH)
    activations = above(norms * (x.double() @ weights.encoder.double().T + bias), 0.4)
    # Those of latentlake are of outputs (of inputs, without the norms) that are scaled.
    same_firings(fired(coder, x), activations * (scale_out if by_norm else LLAMA_SCALE))
    expected = activations @ (decoder / norms[:, None]) + weights.b_dec.double() / scale_out
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)).double(), expected, rtol=1e-4, atol=1e-4)


def configured(folder, scale_out, by_norm):
    """A Llama Scope that reconstructs another place, if its outputs have another scale."""
    config = json.loads((folder / "hyperparams.json").read_text())
    if scale_out != LLAMA_SCALE:
        config["hook_point_out"] = "blocks.15.hook_mlp_out"
        config["dataset_average_activation_norm"]["out"] = WIDTH**0.5 / scale_out
    write_json(folder / "hyperparams.json", {**config, "sparsity_include_decoder_norm": by_norm})
    return folder


def test_a_transcoder_of_llama_scope_has_a_scale_for_each_side_and_may_write_to_another_width(tmp_path, weights):
    folder = configured(LAYOUTS["llama_scope"].write(tmp_path / "sae", weights), 0.25, by_norm=False)
    config, path = json.loads((folder / "hyperparams.json").read_text()), folder / "checkpoints/final.safetensors"
    config["dataset_average_activation_norm"]["out"] = 7**0.5 / 0.25
    write_json(folder / "hyperparams.json", config)
    w_dec, b_dec = torch.randn(7, N), torch.randn(7)
    save_file({**load_file(path), "decoder.weight": w_dec, "decoder.bias": b_dec}, path)
    coder, x = load_sparse_coder(folder), random_inputs(30, WIDTH)
    firings = above(pre_activations(weights, LLAMA_SCALE * x, subtract=False), 0.4 * LLAMA_SCALE)
    same_firings(fired(coder, x), firings)
    expected = (firings @ w_dec.double().T + b_dec.double()) / 0.25
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)).double(), expected, rtol=1e-4, atol=1e-4)
    assert coder.transcodes and coder.folded == "the factor of its inputs' norm, 1.5, and of its outputs', 0.25"
    assert coder.target == "blocks.15.hook_mlp_out"


@pytest.mark.parametrize(
    ("format", "name"), [("llama_scope", "hyperparams"), ("llama_scope_r1", "config"), ("lm_saes", "config")]
)
@pytest.mark.parametrize("key", ["apply_decoder_bias_to_pre_encoder", "use_glu_encoder"])
def test_an_sae_of_lm_saes_that_is_another_function_is_refused(tmp_path, weights, format, name, key):
    path = LAYOUTS[format].write(tmp_path / "sae", weights) / f"{name}.json"
    write_json(path, {**json.loads(path.read_text()), key: True})
    with pytest.raises(SaeError, match=f"{name}.json has {key} true"):
        load_sparse_coder(path.parent)


@pytest.mark.parametrize(
    ("format", "name"), [("llama_scope", "hyperparams"), ("llama_scope_r1", "config"), ("lm_saes", "config")]
)
def test_a_norm_of_each_batch_is_refused(tmp_path, weights, format, name):
    path = LAYOUTS[format].write(tmp_path / "sae", weights) / f"{name}.json"
    write_json(path, {**json.loads(path.read_text()), "norm_activation": "batch-wise"})
    with pytest.raises(SaeError, match=f"{name}.json has norm_activation 'batch-wise'"):
        load_sparse_coder(path.parent)


@pytest.mark.parametrize("format", ["llama_scope_r1", "lm_saes"])
def test_a_factor_that_is_in_the_weights_is_not_taken_again_from_the_tensor_that_stays(tmp_path, weights, format):
    folder = LAYOUTS[format].write(tmp_path / "sae", weights)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "norm_activation": "inference"})
    coder, x = load_sparse_coder(folder), random_inputs(30, WIDTH)
    norms = weights.decoder.double().norm(dim=1)
    same_firings(fired(coder, x), above(norms * pre_activations(weights, x, subtract=False), weights.threshold))
    assert coder.folded == "the norms of the decoder"


def of_lm_saes(folder, weights, drop=(), tensors=None, **config):
    """An SAE of lm_saes whose config says more, and whose tensors are others."""
    path = LAYOUTS["lm_saes"].write(folder, weights)
    write_json(path / "config.json", {**json.loads((path / "config.json").read_text()), **config})
    stored = load_file(path / "sae_weights.safetensors")
    kept = {name: tensor for name, tensor in stored.items() if name not in drop}
    save_file({**kept, **(tensors or {})}, path / "sae_weights.safetensors")
    return path


def test_an_sae_of_lm_saes_says_what_it_is_and_reconstructs_what_it_reads(tmp_path, weights):
    coder, x = load_sparse_coder(LAYOUTS["lm_saes"].write(tmp_path / "sae", weights)), random_inputs(30, WIDTH)
    assert (coder.format, coder.architecture) == ("lm_saes", "jumprelu")
    assert coder.folded == "the norms of the decoder; the factor of its inputs' norm, 1.5" and not coder.transcodes
    firings = above(LAYOUTS["lm_saes"].firings(weights, x), 0) / weights.decoder.double().norm(dim=1)
    expected = (firings @ weights.decoder.double() + weights.b_dec.double()) / LLAMA_SCALE
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)).double(), expected, rtol=1e-4, atol=1e-4)


def test_a_transcoder_of_lm_saes_has_a_factor_for_each_side_and_may_have_no_bias(tmp_path, weights):
    w_dec, out = torch.randn(N, 7), "blocks.15.hook_mlp_out"
    tensors = {"W_D": w_dec, f"dataset_average_activation_norm.{out}": torch.tensor(7**0.5 / 0.25)}
    more = {"hook_point_out": out, "use_decoder_bias": False, "act_fn": "relu"}
    folder = of_lm_saes(tmp_path / "sae", weights, ("b_D",), tensors, sparsity_include_decoder_norm=False, **more)
    coder, x = load_sparse_coder(folder), random_inputs(30, WIDTH)
    firings = pre_activations(weights, LLAMA_SCALE * x, subtract=False).relu()
    same_firings(fired(coder, x), firings)
    torch.testing.assert_close(
        coder.reconstruct(x, coder.encode(x)).double(), firings @ w_dec.double() / 0.25, rtol=1e-4, atol=1e-4
    )
    assert (coder.transcodes, coder.target, coder.reads) == (True, out, "input")


def test_a_topk_of_lm_saes_may_scale_each_token(tmp_path, weights):
    folder = of_lm_saes(tmp_path / "sae", weights, act_fn="topk", top_k=K, norm_activation="token-wise")
    coder, x = load_sparse_coder(folder), random_inputs(30, WIDTH)
    each = x.double() * WIDTH**0.5 / x.double().norm(dim=1, keepdim=True)
    pre = pre_activations(weights, each, subtract=False) * weights.decoder.double().norm(dim=1)
    same_firings(fired(coder, x), largest(pre, K))
    assert (coder.k, coder.declared_l0, coder.normalisation) == (K, K, "constant_norm_rescale")


@pytest.mark.parametrize(
    ("drop", "config", "reason"),
    [
        ((), {"sae_type": "clt"}, "sae_type 'clt', not 'sae'"),
        ((), {"act_fn": "batchtopk"}, "act_fn 'batchtopk': firings depend on the batch; convert it to a jumprelu"),
        ((), {"act_fn": "tanh"}, "act_fn 'tanh', which is not one of relu, jumprelu, topk"),
        ((), {"act_fn": "topk", "top_k": N + 1}, "top_k 41, not a number from 1 to 40"),
        ((), {"hook_point_out": "blocks.15.hook_mlp_out"}, "no tensor 'dataset_average_activation_norm.blocks.15"),
        (("b_D",), {}, "no tensor 'b_D'"),
        (("activation_function.log_jumprelu_threshold",), {}, "no tensor 'activation_function.log_jumprelu_thr"),
    ],
)
def test_what_of_lm_saes_cannot_be_read_is_refused(tmp_path, weights, drop, config, reason):
    with pytest.raises(SaeError, match=reason):
        load_sparse_coder(of_lm_saes(tmp_path / "sae", weights, drop, **config))


@pytest.mark.parametrize("norm", [None, {}, {"in": 0}, {"in": "7"}])
def test_llama_scope_without_its_average_norm_is_refused(tmp_path, weights, norm):
    folder = LAYOUTS["llama_scope"].write(tmp_path / "sae", weights)
    write_json(folder / "hyperparams.json", {"jump_relu_threshold": 0.4, "dataset_average_activation_norm": norm})
    with pytest.raises(SaeError, match=r"dataset_average_activation_norm.in .*, not a number above 0"):
        load_sparse_coder(folder)


def test_the_factor_of_a_distilled_llama_is_in_its_weights_or_named_else_it_is_refused(tmp_path, weights):
    folder = LAYOUTS["llama_scope_r1"].write(tmp_path / "sae", weights)
    x, path, place = random_inputs(30, WIDTH), folder / "sae_weights.safetensors", "blocks.15.hook_resid_post"
    assert load_sparse_coder(folder).folded == "the factor of its inputs' norm, 1.5; the norms of the decoder"
    stored = load_file(path)
    stored[f"dataset_average_activation_norm.{place}"] = torch.tensor(0.0)
    save_file(stored, path)
    with pytest.raises(SaeError, match=f"activation_norm.{place} is 0, not a number above 0"):
        load_sparse_coder(folder)
    del stored[f"dataset_average_activation_norm.{place}"]
    save_file(stored, path)
    with pytest.raises(SaeError, match="scaled by a factor that its files lack"):
        load_sparse_coder(folder)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "norm_scaling_factor": LLAMA_SCALE})
    same_firings(fired(load_sparse_coder(folder), x), LAYOUTS["llama_scope_r1"].firings(weights, x))


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


def of_circuit_tracer(folder, weights, **config):
    """A transcoder without a threshold, whose config.yaml says more."""
    path = LAYOUTS["circuit_tracer"].write(folder, weights)
    stored = load_file(path)
    del stored["activation_function.threshold"]
    save_file(stored, path)
    with (path.parent / "config.yaml").open("a") as file:
        file.write(yaml.safe_dump(config) if config else "")
    return path


def test_a_topk_in_circuit_tracers_layout_keeps_the_k_largest(tmp_path, weights):
    coder = load_sparse_coder(of_circuit_tracer(tmp_path / "sae", weights, activation="topk", k=K))
    x = random_inputs(30, WIDTH)
    same_firings(fired(coder, x), largest(pre_activations(weights, x, subtract=False), K))
    assert (coder.architecture, coder.k, coder.declared_l0) == ("topk_transcoder", K, K)


@pytest.mark.parametrize("config", [{}, {"activation": "topk"}, {"activation": "topk", "k": N}])
def test_a_topk_that_circuit_tracer_saved_has_its_k_beside_the_weights(tmp_path, weights, config):
    path, x = of_circuit_tracer(tmp_path / "sae", weights, **config), random_inputs(30, WIDTH)
    save_file({**load_file(path), "k": torch.tensor(K)}, path)
    coder = load_sparse_coder(path)
    same_firings(fired(coder, x), largest(pre_activations(weights, x, subtract=False), K))
    with (path.parent / "config.yaml").open("a") as file:
        file.write("activation: relu\n")
    with pytest.raises(SaeError, match="activation 'relu', but the weights are those of 'topk'"):
        load_sparse_coder(path)


def test_the_one_set_of_topk_transcoders_that_says_no_k_has_the_one_of_circuit_tracers_code(tmp_path):
    weights = random_weights(200, WIDTH, 128)
    name = "models--facebook--crv-8b-instruct-transcoders/snapshots"
    coder = load_sparse_coder(of_circuit_tracer(tmp_path / name, weights, activation="topk"))
    assert (coder.k, coder.declared_l0) == (128, 128)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"activation": "topk"}, "config.yaml has k None, not a number from 1 to 40"),
        ({"activation": "topk", "k": N + 1}, "config.yaml has k 41"),
        ({"activation": "batchtopk", "k": K}, "activation 'batchtopk', but the weights are those of 'relu' or "),
        ({"activation": "jumprelu"}, "no tensor 'activation_function.threshold'"),
    ],
)
def test_an_activation_that_is_unknown_or_incomplete_in_circuit_tracers_layout_is_refused(
    tmp_path, weights, config, reason
):
    with pytest.raises(SaeError, match=reason):
        load_sparse_coder(of_circuit_tracer(tmp_path / "sae", weights, **config))


def test_a_threshold_of_what_is_said_to_be_a_topk_is_refused(tmp_path, weights):
    path = LAYOUTS["circuit_tracer"].write(tmp_path / "sae", weights)
    with (path.parent / "config.yaml").open("a") as file:
        file.write(f"activation: topk\nk: {K}\n")
    with pytest.raises(SaeError, match="activation 'topk', but the weights are those of 'jumprelu'"):
        load_sparse_coder(path)


def test_the_k_largest_are_not_what_a_threshold_gives(weights):
    """So that no test above could pass by the other formula."""
    pre = pre_activations(weights, random_inputs(30, WIDTH), subtract=True)
    assert not torch.equal(largest(pre, K), above(pre, 0.5))
    assert ((pre > 0) & (pre < 0.5)).any()
