"""What every SAE format has to do: known by its files, loaded in float32, refused in one sentence if damaged."""

import json
import shutil
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sae_layouts import LAYOUTS, Weights, fired, random_inputs, random_weights, same_firings
from safetensors.torch import save_file

from pipeline.errors import SaeError
from pipeline.plugins import find_plugin, find_plugins
from pipeline.sae import load_sparse_coder, sae_files
from pipeline.sae.load import load_with_training

N_FEATURES, WIDTH, K = 48, 32, 5

ANY_TENSOR = {"attention_z", "goodfire", "llama_scope", "llama_scope_r1", "lm_saes", "qwen_scope"}
"""Formats whose owner's code does not say what else their files may hold."""


@pytest.fixture
def weights() -> Weights:
    return random_weights(N_FEATURES, WIDTH, K)


def test_every_format_says_how_its_file_is_written() -> None:
    assert LAYOUTS.keys() == find_plugins("formats").keys()


each_format = pytest.mark.parametrize("name", sorted(LAYOUTS))


@each_format
def test_the_format_is_told_from_the_files_and_fires_as_its_formula(
    name: str, weights: Weights, tmp_path: Path
) -> None:
    path = LAYOUTS[name].write(tmp_path / "layers.1", weights)
    files = sae_files(str(path)).paths.values()
    assert files and all(file.is_file() and file.is_relative_to(tmp_path / "layers.1") for file in files)
    coder = load_sparse_coder(path)
    assert (coder.format, coder.n_features, coder.d_in) == (name, N_FEATURES, WIDTH)
    assert coder.architecture and coder.reads in {"output", "input"}
    assert {coder.encoder.dtype, coder.encoder_bias.dtype, coder.decoder.dtype} == {torch.float32}
    # A scale may be folded in; the direction stays.
    cosines = torch.nn.functional.cosine_similarity(coder.decoder, weights.decoder)
    torch.testing.assert_close(cosines, torch.ones(N_FEATURES))
    x = random_inputs(40, WIDTH)
    same_firings(fired(coder, x), LAYOUTS[name].firings(weights, x))


@each_format
def test_a_file_of_the_sae_names_it_too(name: str, weights: Weights, tmp_path: Path) -> None:
    path = LAYOUTS[name].write(tmp_path / "layers.1", weights)
    for file in sae_files(str(path)).paths.values():
        if file.name not in optional_files(name):
            assert sae_files(str(file)).paths == sae_files(str(path)).paths
            assert load_sparse_coder(file).format == name


@each_format
def test_what_was_asked_for_as_another_format_is_named_as_what_it_is(
    name: str, weights: Weights, tmp_path: Path
) -> None:
    path = LAYOUTS[name].write(tmp_path / "layers.1", weights)
    for other in LAYOUTS.keys() - {name}:
        with pytest.raises(SaeError, match=f"is of format {name}, not {other}"):
            load_sparse_coder(path, other)


@each_format
def test_what_is_missing_or_damaged_is_refused_in_one_sentence(
    name: str, weights: Weights, tmp_path: Path
) -> None:
    whole = LAYOUTS[name].write(tmp_path / "whole", weights)
    for number, file in enumerate(sae_files(str(whole)).paths.values()):
        for kind in ("missing", "cut", "empty"):
            if kind == "missing" and file.name in optional_files(name):
                continue
            copied = tmp_path / f"{kind}{number}"
            shutil.copytree(tmp_path / "whole", copied)
            damaged = copied / file.relative_to(tmp_path / "whole")
            if kind == "missing":
                damaged.unlink()
            else:
                damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2 if kind == "cut" else 0])
            refuses(copied / whole.relative_to(tmp_path / "whole"), name)
    for place in ("encoder", "bias"):
        numbers = getattr(weights, place).clone()
        numbers[3] = float("nan")
        refuses(LAYOUTS[name].write(tmp_path / f"nan {place}", weights._replace(**{place: numbers})), name)


@pytest.mark.parametrize("name", sorted(LAYOUTS.keys() - ANY_TENSOR))
def test_a_tensor_that_does_not_belong_to_the_format_is_refused(
    name: str, weights: Weights, tmp_path: Path
) -> None:
    path = LAYOUTS[name].write(tmp_path / "layers.1", weights)
    files = sae_files(str(path))
    file = files.paths[files.weights_name]
    content = {**files.tensors(files.weights_name).content, "gate": torch.ones(N_FEATURES)}
    match file.suffix:
        case ".safetensors":
            save_file({key: tensor.clone() for key, tensor in content.items()}, file)
        case ".npz":
            np.savez(file, **content)
        case _:
            whole = tmp_path / "whole"  # the file itself is still mapped into memory
            torch.save(content, whole)
            whole.replace(file)
    with pytest.raises(SaeError, match="has no gate, which the file holds"):
        load_sparse_coder(path)


@each_format
def test_a_config_with_a_value_of_another_kind_is_read_or_refused(
    name: str, weights: Weights, tmp_path: Path
) -> None:
    path = LAYOUTS[name].write(tmp_path / "layers.1", weights)
    for file in sae_files(str(path)).paths.values():
        if file.suffix in {".json", ".yaml"}:
            said = yaml.safe_load(file.read_text(encoding="utf-8"))
            for key, odd in product(said, (True, ["x"], {"x": 1}, "x", float("inf"))):
                file.write_text(json.dumps({**said, key: odd}), encoding="utf-8")  # YAML is JSON, too
                with suppress(SaeError):
                    coder, _ = load_with_training(str(path))
                    assert coder.hookpoint is None or isinstance(coder.hookpoint, str), (key, odd)
                    assert coder.declared_l0 is None or coder.declared_l0 > 0, (key, odd)


def optional_files(name: str) -> tuple[str, ...]:
    found: tuple[str, ...] = getattr(find_plugin("formats", name).load(), "OPTIONAL_FILES", ())
    return found


def refuses(path: Path, name: str) -> None:
    with pytest.raises(SaeError) as caught:
        load_sparse_coder(path, name)
    message = str(caught.value)
    assert str(path if path.is_dir() else path.parent) in message and "\n" not in message
