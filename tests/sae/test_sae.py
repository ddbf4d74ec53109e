"""Sparse autoencoders: files to a coder, and a coder's firings against independent formulas."""

import io
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import (
    ALWAYS,
    COLOUR,
    N_FEATURES,
    NEVER,
    STOP,
    WIDTH,
    write_hand_set_sae,
    write_random_sae,
    write_sparsify,
)

from pipeline.errors import SaeError
from pipeline.sae import coder as coder_module
from pipeline.sae import fetch_sae, load_sparse_coder, sae_files


def inputs(n_tokens: int = 50, width: int = WIDTH) -> torch.Tensor:
    return torch.randn(n_tokens, width, generator=torch.Generator().manual_seed(1))


def dense(encoding, n_features: int) -> np.ndarray:
    """Firings as a matrix [n_tokens, n_features]."""
    matrix = torch.zeros(len(encoding.indices), n_features)
    return matrix.scatter(1, encoding.indices, encoding.activations).numpy()


def by_formula(x: torch.Tensor, folder, *, subtract: bool = True, group: bool = False) -> np.ndarray:
    """pre = relu((x - b_dec) W^T + b) in numpy and float64; the k largest, or one of each of k groups."""
    tensors = {
        name: tensor.double().numpy() for name, tensor in load_file(folder / "sae.safetensors").items()
    }
    k = json.loads((folder / "cfg.json").read_text())["k"]
    centred = x.double().numpy() - (tensors["b_dec"] if subtract else 0)
    pre = np.maximum(centred @ tensors["encoder.weight"].T + tensors["encoder.bias"], 0)
    kept = np.zeros_like(pre)
    for row, values in enumerate(pre):
        if group:
            size = len(values) // k
            best = [
                start + int(values[start : start + size].argmax()) for start in range(0, len(values), size)
            ]
        else:
            best = np.argsort(-values)[:k]
        kept[row, best] = values[best]
    return kept


def refusal(folder) -> str:
    with pytest.raises(SaeError) as caught:
        load_sparse_coder(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


def rewrite(folder, **tensors: torch.Tensor | None) -> None:
    """Put other tensors into a folder's file; None takes one out."""
    names = {"encoder": "encoder.weight", "bias": "encoder.bias", "decoder": "W_dec", "b_dec": "b_dec"}
    stored = load_file(folder / "sae.safetensors")
    for name, tensor in tensors.items():
        stored.pop(names[name])
        if tensor is not None:
            stored[names[name]] = tensor
    save_file(stored, folder / "sae.safetensors")


def recfg(folder, **values) -> None:
    path = folder / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# Loading ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_sparsify_folder_loads_in_float32_whatever_it_is_stored_in(tmp_path, dtype):
    folder = write_random_sae(tmp_path / "layers.1")
    stored = {name: tensor.to(dtype) for name, tensor in load_file(folder / "sae.safetensors").items()}
    save_file(stored, folder / "sae.safetensors")
    coder = load_sparse_coder(folder)
    assert (coder.n_features, coder.d_in, coder.k, coder.activation) == (64, WIDTH, 4, "topk")
    assert (coder.hookpoint, coder.reads) == ("layers.1", "output")
    for tensor, name in (
        (coder.encoder, "encoder.weight"),
        (coder.encoder_bias, "encoder.bias"),
        (coder.decoder, "W_dec"),
        (coder.input_bias, "b_dec"),
    ):
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, stored[name].float())


def test_the_files_of_an_sae_are_its_config_and_its_weights(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    assert sae_files(str(folder)) == [folder / "cfg.json", folder / "sae.safetensors"]


# Encoding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("k", [1, 4, 64])
def test_encode_is_the_formula(tmp_path, dtype, k):
    folder = write_random_sae(tmp_path / "sae", k=k)
    stored = load_file(folder / "sae.safetensors")
    save_file({name: tensor.to(dtype) for name, tensor in stored.items()}, folder / "sae.safetensors")
    x = inputs()
    found = dense(load_sparse_coder(folder).encode(x), 64)
    np.testing.assert_allclose(found, by_formula(x, folder), rtol=1e-5, atol=1e-5)


def test_an_input_in_half_precision_is_encoded_in_float32(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    x = inputs().to(torch.bfloat16)
    encoding = load_sparse_coder(folder).encode(x)
    assert encoding.activations.dtype == torch.float32
    np.testing.assert_allclose(dense(encoding, 64), by_formula(x, folder), rtol=1e-5, atol=1e-5)


def test_the_hand_set_features_fire_as_they_should(tmp_path):
    coder = load_sparse_coder(write_hand_set_sae(tmp_path / "sae"))
    x = torch.zeros(3, WIDTH)
    x[:, 0] = 1.0
    x[1, 1] = 4.0
    x[2, 2] = 3.0
    expected = np.zeros((3, N_FEATURES), np.float32)
    expected[:, ALWAYS] = 1
    expected[1, STOP] = 4
    expected[2, COLOUR] = 3
    np.testing.assert_array_equal(dense(coder.encode(x), N_FEATURES), expected)
    assert not expected[:, NEVER].any()


def test_what_is_kept_beyond_the_firings_is_zero(tmp_path):
    coder = load_sparse_coder(write_hand_set_sae(tmp_path / "sae", k=6))
    encoding = coder.encode(torch.zeros(2, WIDTH))  # below the bias everywhere
    assert encoding.indices.shape == encoding.activations.shape == (2, 6)
    assert encoding.activations.eq(0).all()
    assert all(len(set(row)) == 6 for row in encoding.indices.tolist())


def test_groupmax_keeps_one_of_each_group(tmp_path):
    folder = write_random_sae(tmp_path / "sae", k=8, activation="groupmax")
    x = inputs()
    encoding = load_sparse_coder(folder).encode(x)
    assert (encoding.indices // 8 == torch.arange(8)).all()
    np.testing.assert_allclose(dense(encoding, 64), by_formula(x, folder, group=True), rtol=1e-5, atol=1e-5)


def test_groups_that_do_not_divide_the_features_are_refused(tmp_path):
    assert "k" in refusal(write_random_sae(tmp_path / "sae", k=7, activation="groupmax"))


def test_a_transcoder_reads_the_input_and_subtracts_nothing(tmp_path):
    folder = write_random_sae(tmp_path / "layers.1.mlp", transcode=True)
    coder = load_sparse_coder(folder)
    assert (coder.reads, coder.input_bias) == ("input", None)
    x = inputs()
    np.testing.assert_allclose(
        dense(coder.encode(x), 64), by_formula(x, folder, subtract=False), rtol=1e-5, atol=1e-5
    )


def test_a_transcoder_may_write_to_another_width(tmp_path):
    folder = write_random_sae(tmp_path / "sae", transcode=True)
    rewrite(folder, decoder=torch.ones(64, 7), b_dec=torch.ones(7))
    assert load_sparse_coder(folder).decoder.shape == (64, 7)


def test_encoding_in_parts_is_encoding_at_once(tmp_path, monkeypatch):
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae"))
    x = inputs(101)
    whole = coder.encode(x)
    monkeypatch.setattr(coder_module, "_DENSE_BYTES", 4 * 64 * 10)  # ten tokens at a time
    parts = coder.encode(x)
    np.testing.assert_allclose(dense(parts, 64), dense(whole, 64), rtol=1e-6, atol=1e-6)
    monkeypatch.setattr(coder_module, "_DENSE_BYTES", 1)
    assert len(coder.encode(x).indices) == 101


def test_no_token_gives_no_firing(tmp_path):
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae"))
    assert coder.encode(inputs(0)).indices.shape == (0, 4)


@pytest.mark.parametrize("changes", [{}, {"activation": "groupmax", "k": 8}, {"transcode": True}])
def test_encode_is_that_of_sparsify_itself(tmp_path, changes):
    sparsify = pytest.importorskip("sparsify")
    folder = write_random_sae(tmp_path / "layers.1", **changes)
    x = inputs()
    theirs = sparsify.SparseCoder.load_from_disk(folder).encode(x)
    matrix = torch.zeros(len(x), 64).scatter(1, theirs.top_indices, theirs.top_acts).detach().numpy()
    np.testing.assert_allclose(dense(load_sparse_coder(folder).encode(x), 64), matrix, rtol=1e-5, atol=1e-5)


# What is refused --------------------------------------------------------------------------------------


def test_a_torn_file_is_refused(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    path = folder / "sae.safetensors"
    for size in (0, 5, 100, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:size])
        assert "damaged" in refusal(folder)
        write_random_sae(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["encoder", "bias", "decoder", "b_dec"])
def test_a_value_that_is_no_number_is_refused(tmp_path, name, value):
    folder = write_random_sae(tmp_path / "sae")
    shape = {"encoder": (64, WIDTH), "bias": (64,), "decoder": (64, WIDTH), "b_dec": (WIDTH,)}[name]
    tensor = torch.ones(shape)
    tensor.view(-1)[3] = value
    rewrite(folder, **{name: tensor})
    assert "no numbers" in refusal(folder)


@pytest.mark.parametrize(
    ("tensors", "place"),
    [
        ({"encoder": torch.ones(64 * WIDTH)}, "encoder.weight has shape [2048]"),
        ({"encoder": torch.ones(WIDTH, 64)}, "64 wide"),
        ({"bias": torch.ones(63)}, "encoder.bias has shape [63], not [64]"),
        ({"decoder": torch.ones(WIDTH, 64)}, "W_dec has shape [32, 64], not [64, 32]"),
        ({"b_dec": torch.ones(64)}, "b_dec has shape [64], not [32]"),
    ],
)
def test_tensors_that_do_not_fit_each_other_are_refused(tmp_path, tensors, place):
    folder = write_random_sae(tmp_path / "sae")
    rewrite(folder, **tensors)
    assert place in refusal(folder)


@pytest.mark.parametrize("name", ["encoder", "bias", "decoder", "b_dec"])
def test_a_tensor_that_is_not_there_is_named(tmp_path, name):
    folder = write_random_sae(tmp_path / "sae")
    rewrite(folder, **{name: None})
    assert "has no tensor" in refusal(folder)


@pytest.mark.parametrize("missing", [["cfg.json"], ["sae.safetensors"], ["cfg.json", "sae.safetensors"]])
def test_a_file_that_is_not_there_is_named(tmp_path, missing):
    folder = write_random_sae(tmp_path / "sae")
    for name in missing:
        (folder / name).unlink()
    assert f"lacks {' and '.join(missing)}" in refusal(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert "no folder" in refusal(tmp_path / "none")


@pytest.mark.parametrize("k", [0, -1, 65, 4.0, "4", None])
def test_a_k_out_of_range_is_refused(tmp_path, k):
    folder = write_random_sae(tmp_path / "sae")
    recfg(folder, k=k)
    assert f"cfg.json has k {k!r}, not a number from 1 to 64" in refusal(folder)


def test_a_width_that_differs_from_the_config_is_refused(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    recfg(folder, d_in=31)
    assert "is 32 wide, but its cfg.json says d_in 31" in refusal(folder)


def test_an_unknown_activation_is_refused(tmp_path):
    assert "'jumprelu'" in refusal(write_random_sae(tmp_path / "sae", activation="jumprelu"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{k: 4", "is not JSON"),
        (b"", "is not JSON"),
        (b"[4]", "no JSON object"),
        (b"\xff\xfe{}", "is not JSON"),
    ],
)
def test_a_config_that_is_no_json_object_is_refused(tmp_path, content, reason):
    folder = write_random_sae(tmp_path / "sae")
    (folder / "cfg.json").write_bytes(content)
    assert reason in refusal(folder)


class Trap:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_in_place_of_the_weights_is_never_run(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    sprung = tmp_path / "sprung"
    for dump in (pickle.dump, torch.save):
        content = io.BytesIO()
        dump(Trap(str(sprung)), content)
        (folder / "sae.safetensors").write_bytes(content.getvalue())
        assert "damaged or no safetensors file" in refusal(folder)
    assert not sprung.exists()


@pytest.mark.parametrize(
    "source", ["hf://owner", "hf://owner/name", "hf:///name/folder", "hf://owner//folder"]
)
def test_a_hub_source_without_a_folder_is_refused_before_any_request(source):
    with pytest.raises(SaeError, match="names no folder on the hub"):
        fetch_sae(source)


def test_the_factory_writes_what_sparsify_reads(tmp_path):
    folder = write_sparsify(
        tmp_path / "sae",
        torch.ones(2, 3),
        torch.zeros(2),
        torch.ones(2, 3),
        torch.zeros(3),
        k=1,
        num_latents=2,
    )
    assert load_sparse_coder(folder).encode(torch.ones(1, 3)).activations.tolist() == [[3.0]]
