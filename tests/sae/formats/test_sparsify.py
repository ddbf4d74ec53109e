"""EleutherAI's sparsify: files to a coder, its firings against independent formulas, and what is refused."""

import io
import json
import pickle

import numpy as np
import pytest
import torch
from sae_layouts import fired
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
from pipeline.sae import GroupMax, TopK, load_sparse_coder, sae_files


def inputs(n_tokens: int = 50, width: int = WIDTH) -> torch.Tensor:
    return torch.randn(n_tokens, width, generator=torch.Generator().manual_seed(1))


def by_formula(x: torch.Tensor, folder, *, subtract: bool = True, group: bool = False) -> np.ndarray:
    """pre = relu((x - b_dec) W^T + b) in numpy and float64; the k largest, or one of each of k groups."""
    tensors = {name: tensor.double().numpy() for name, tensor in load_file(folder / "sae.safetensors").items()}
    k = json.loads((folder / "cfg.json").read_text())["k"]
    centred = x.double().numpy() - (tensors["b_dec"] if subtract else 0)
    pre = np.maximum(centred @ tensors["encoder.weight"].T + tensors["encoder.bias"], 0)
    kept = np.zeros_like(pre)
    for row, values in enumerate(pre):
        if group:
            size = len(values) // k
            best = [start + int(values[start : start + size].argmax()) for start in range(0, len(values), size)]
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
    assert (coder.n_features, coder.d_in, coder.activation) == (64, WIDTH, TopK(4))
    assert (coder.hookpoint, coder.reads, coder.format) == ("layers.1", "output", "sparsify")
    assert (coder.architecture, coder.declared_l0, coder.folded) == ("topk", 4, None)
    for tensor, name in (
        (coder.encoder, "encoder.weight"),
        (coder.encoder_bias, "encoder.bias"),
        (coder.decoder, "W_dec"),
        (coder.input_bias, "b_dec"),
        (coder.decoder_bias, "b_dec"),
    ):
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, stored[name].float())


def test_the_files_of_an_sae_are_its_config_and_its_weights(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    assert list(sae_files(str(folder)).paths.values()) == [folder / "cfg.json", folder / "sae.safetensors"]


# Encoding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("k", [1, 4, 64])
def test_encode_is_the_formula(tmp_path, dtype, k):
    folder = write_random_sae(tmp_path / "sae", k=k)
    stored = load_file(folder / "sae.safetensors")
    save_file({name: tensor.to(dtype) for name, tensor in stored.items()}, folder / "sae.safetensors")
    x = inputs()
    found = fired(load_sparse_coder(folder), x)
    np.testing.assert_allclose(found, by_formula(x, folder), rtol=1e-5, atol=1e-5)


def test_an_input_in_half_precision_is_encoded_in_float32(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    x = inputs().to(torch.bfloat16)
    encoding = load_sparse_coder(folder).encode(x)
    assert encoding.activations.dtype == torch.float32
    np.testing.assert_allclose(fired(load_sparse_coder(folder), x), by_formula(x, folder), rtol=1e-5, atol=1e-5)


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
    np.testing.assert_array_equal(fired(coder, x), expected)
    assert not expected[:, NEVER].any()


def test_what_is_kept_and_not_above_zero_is_no_firing(tmp_path):
    coder = load_sparse_coder(write_hand_set_sae(tmp_path / "sae", k=6))
    encoding = coder.encode(torch.zeros(2, WIDTH))  # below the bias everywhere
    assert [len(column) for column in encoding] == [0, 0, 0]


def test_groupmax_keeps_one_of_each_group(tmp_path):
    folder = write_random_sae(tmp_path / "sae", k=8, activation="groupmax")
    x = inputs()
    coder = load_sparse_coder(folder)
    assert coder.activation == GroupMax(8)
    np.testing.assert_allclose(fired(coder, x), by_formula(x, folder, group=True), rtol=1e-5, atol=1e-5)


def test_groups_that_do_not_divide_the_features_are_refused(tmp_path):
    assert "k" in refusal(write_random_sae(tmp_path / "sae", k=7, activation="groupmax"))


def test_a_transcoder_reads_the_input_and_subtracts_nothing(tmp_path):
    folder = write_random_sae(tmp_path / "layers.1.mlp", transcode=True)
    coder = load_sparse_coder(folder)
    assert (coder.reads, coder.input_bias) == ("input", None)
    x = inputs()
    np.testing.assert_allclose(fired(coder, x), by_formula(x, folder, subtract=False), rtol=1e-5, atol=1e-5)


def test_a_transcoder_may_write_to_another_width(tmp_path):
    folder = write_random_sae(tmp_path / "sae", transcode=True)
    decoder, b_dec, skip = (torch.randn(*shape) for shape in ((64, 7), (7,), (7, WIDTH)))
    rewrite(folder, decoder=decoder, b_dec=b_dec)
    stored = load_file(folder / "sae.safetensors")
    save_file({**stored, "W_skip": skip}, folder / "sae.safetensors")
    coder = load_sparse_coder(folder)
    x = inputs()
    expected = torch.from_numpy(by_formula(x, folder, subtract=False)) @ decoder.double() + b_dec
    expected += x.double() @ skip.double().T
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)).double(), expected, rtol=1e-5, atol=1e-5)
    assert "W_skip" in refusal(write_random_sae(folder, transcode=True, skip_connection=True))


@pytest.mark.parametrize("says", ["the run's config", "the skip"])
def test_a_transcoder_of_before_cfg_json_said_so_subtracts_b_dec(tmp_path, says):
    """As sparsify did until February 2025, and reads it still."""
    folder = write_random_sae(tmp_path / "run" / "layers.1.mlp")
    path = folder / "cfg.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "transcode"}))
    assert not load_sparse_coder(folder).transcodes
    if says == "the skip":
        stored = load_file(folder / "sae.safetensors")
        save_file({**stored, "W_skip": torch.randn(WIDTH, WIDTH)}, folder / "sae.safetensors")
    else:
        (tmp_path / "run" / "config.json").write_text(json.dumps({"transcode": True, "model": "gpt2"}))
    coder, x = load_sparse_coder(folder), inputs()
    assert (coder.transcodes, coder.reads, coder.hookpoint) == (True, "input", "layers.1.mlp")
    np.testing.assert_allclose(fired(coder, x), by_formula(x, folder), rtol=1e-5, atol=1e-5)


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
    assert "holds NaN or infinite values" in refusal(folder)


@pytest.mark.parametrize(
    ("tensors", "place"),
    [
        ({"encoder": torch.ones(64 * WIDTH)}, "encoder.weight has shape [2048]"),
        ({"encoder": torch.ones(WIDTH, 64)}, "its width is 64"),
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
    with pytest.raises(SaeError, match=r"; it contains (cfg.json|sae.safetensors|nothing)"):
        load_sparse_coder(folder)
    with pytest.raises(SaeError, match=f"lacks {' and '.join(missing)}"):
        load_sparse_coder(folder, "sparsify")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert "no folder or file" in refusal(tmp_path / "none")


@pytest.mark.parametrize("k", [0, -1, 65, 4.5, True, "4", None])
def test_a_k_out_of_range_is_refused(tmp_path, k):
    folder = write_random_sae(tmp_path / "sae")
    recfg(folder, k=k)
    assert f"cfg.json has k {k!r}, not a number from 1 to 64" in refusal(folder)


def test_a_k_that_is_written_as_a_float_is_the_number(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    recfg(folder, k=4.0)
    assert load_sparse_coder(folder).activation == TopK(4)


def test_features_that_fire_below_zero_are_refused(tmp_path):
    assert "signed" in refusal(write_random_sae(tmp_path / "sae", signed=True))
    assert "matching_pursuit" in refusal(write_random_sae(tmp_path / "mp", matching_pursuit=True))


@pytest.mark.parametrize("key", ["gram_lookup", "embed_skip"])
def test_what_is_read_beside_the_hookpoint_is_refused(tmp_path, key):
    assert f"cfg.json has {key} true" in refusal(write_random_sae(tmp_path / "sae", **{key: True}))


def test_a_tensor_that_would_be_left_out_is_refused(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    stored = load_file(folder / "sae.safetensors")
    save_file({**stored, "gate": torch.ones(3)}, folder / "sae.safetensors")
    assert "this format has no gate, which the file holds" in refusal(folder)


def test_the_folder_in_which_one_stands_has_its_name(tmp_path, monkeypatch):
    folder = write_random_sae(tmp_path / "layers.1")
    (folder / "more").mkdir()
    for working, source in ((folder, "."), (folder / "more", "..")):
        monkeypatch.chdir(working)
        assert load_sparse_coder(source).hookpoint == "layers.1"


def test_a_width_that_differs_from_the_config_is_refused(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    recfg(folder, d_in=31)
    assert "its width is 32, but its cfg.json says d_in 31" in refusal(folder)


def test_an_unknown_activation_is_refused(tmp_path):
    assert "'jumprelu'" in refusal(write_random_sae(tmp_path / "sae", activation="jumprelu"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{k: 4", "is not JSON"),
        (b"", "is not JSON"),
        (b"[4]", "does not hold a JSON object"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 3000, "is not JSON"),
        (b'{"k": Infinity}', "has k inf, not a number from 1 to 64"),
        (b'{"activation": ["topk"], "k": 4}', "has activation '['topk']', not 'topk' or 'groupmax'"),
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


def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    (folder / "cfg.json").write_bytes(b"\xef\xbb\xbf" + (folder / "cfg.json").read_bytes())
    assert load_sparse_coder(folder).n_features == 64


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path, dtype):
    folder = write_random_sae(tmp_path / "sae")
    rewrite(folder, encoder=torch.ones(64, WIDTH).to(dtype))
    assert f"encoder.weight has dtype {str(dtype)[6:]}" in refusal(folder)


def test_a_pointer_of_git_lfs_says_how_to_fetch_the_weights(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    (folder / "sae.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 123\n")
    assert "git lfs pull" in refusal(folder)


def test_a_pickle_in_place_of_the_weights_is_never_run(tmp_path):
    folder = write_random_sae(tmp_path / "sae")
    sprung = tmp_path / "sprung"
    for dump in (pickle.dump, torch.save):
        content = io.BytesIO()
        dump(Trap(str(sprung)), content)
        (folder / "sae.safetensors").write_bytes(content.getvalue())
        assert "damaged or not a safetensors file" in refusal(folder)
    assert not sprung.exists()


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
    assert load_sparse_coder(folder).encode(torch.ones(1, 3)).activations.tolist() == [3.0]
