"""What every SAE format has to do: known by its files, loaded in float32, refused in one sentence if damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from tiny import WIDTH, write_sparsify
from torch import Tensor

from pipeline.errors import SaeError
from pipeline.plugins import find_plugins
from pipeline.sae import load_sparse_coder, sae_files, sae_format

N_FEATURES, K = 48, 5


class Weights(NamedTuple):
    """Weights of an SAE: encoder and decoder [n, d_in], bias [n], b_dec [d_in]; k are kept a token."""

    encoder: Tensor
    bias: Tensor
    decoder: Tensor
    b_dec: Tensor
    k: int


class Layout(NamedTuple):
    """How a format's file is written in these tests, and what an SAE of it must make of x [n_tokens, d_in]."""

    write: Callable[[Path, Weights], object]
    firings: Callable[[Weights, Tensor], Tensor]


def largest_k(weights: Weights, x: Tensor) -> Tensor:
    """relu((x - b_dec) W^T + bias) in float64, the k largest of each row, else 0: [n_tokens, n]."""
    centred = x.double() - weights.b_dec.double()
    pre = (centred @ weights.encoder.double().T + weights.bias.double()).relu()
    kept = pre.topk(weights.k, dim=-1)
    return torch.zeros_like(pre).scatter(1, kept.indices, kept.values)


LAYOUTS = {"sparsify": Layout(lambda folder, weights: write_sparsify(folder, *weights), largest_k)}
"""By the format's name: a new one needs its line here."""


@pytest.fixture
def weights() -> Weights:
    generator = torch.Generator().manual_seed(5)
    encoder = torch.randn(N_FEATURES, WIDTH, generator=generator)
    return Weights(
        encoder,
        torch.randn(N_FEATURES, generator=generator) / 8,
        torch.nn.functional.normalize(encoder, dim=1),
        torch.randn(WIDTH, generator=generator) / 8,
        K,
    )


def test_every_format_says_here_how_its_file_is_written() -> None:
    assert LAYOUTS.keys() == find_plugins("formats").keys()


each_format = pytest.mark.parametrize("name", sorted(LAYOUTS))


@each_format
def test_a_folder_of_the_format_is_known_by_its_files_and_fires_as_its_formula(
    name: str, weights: Weights, tmp_path: Path
) -> None:
    folder = tmp_path / "layers.1"
    LAYOUTS[name].write(folder, weights)
    assert sae_format(str(folder)) == name
    files = sae_files(str(folder))
    assert files and all(file.is_file() and file.parent == folder for file in files)
    coder = load_sparse_coder(folder)
    assert (coder.n_features, coder.d_in) == (N_FEATURES, WIDTH)
    assert {coder.encoder.dtype, coder.encoder_bias.dtype, coder.decoder.dtype} == {torch.float32}
    assert torch.equal(coder.decoder, weights.decoder)
    x = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(1))
    encoding = coder.encode(x)
    fired = torch.zeros(40, N_FEATURES).scatter(1, encoding.indices, encoding.activations)
    assert encoding.activations.min() >= 0 and (fired > 0).sum() > 40
    torch.testing.assert_close(fired.double(), LAYOUTS[name].firings(weights, x), atol=1e-5, rtol=1e-5)


@each_format
def test_what_is_missing_or_damaged_is_refused_in_one_sentence(
    name: str, weights: Weights, tmp_path: Path
) -> None:
    written = tmp_path / "whole"
    LAYOUTS[name].write(written, weights)
    for number, file in enumerate(sae_files(str(written))):
        for kind in ("missing", "cut", "empty"):
            folder = tmp_path / f"{kind}{number}"
            LAYOUTS[name].write(folder, weights)
            damaged = folder / file.name
            if kind == "missing":
                damaged.unlink()
            else:
                damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2 if kind == "cut" else 0])
            refuses(folder, name)
    for place in ("encoder", "bias"):
        folder = tmp_path / f"nan {place}"
        numbers = getattr(weights, place).clone()
        numbers[3] = float("nan")
        LAYOUTS[name].write(folder, weights._replace(**{place: numbers}))
        refuses(folder, name)


def refuses(folder: Path, name: str) -> None:
    with pytest.raises(SaeError) as caught:
        load_sparse_coder(folder, name)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message
