"""Baselines: which inputs fire, what is like the SAE, and sources that say nothing."""

from pathlib import Path

import pytest
import torch
from tiny import write_hand_set_sae

from pipeline.errors import SaeError
from pipeline.sae import TopK, load_sparse_coder, sae_files


def test_neurons_fire_above_0_and_dimensions_below_it_too() -> None:
    x = torch.tensor([[0.5, -3.0, 2.0, 0.0], [-1.0, -1.0, -4.0, -2.0]])
    neurons = load_sparse_coder("baseline://neurons?width=4&k=2")
    found = neurons.encode(x)
    assert sorted(zip(*(column.tolist() for column in found), strict=True)) == [(0, 0, 0.5), (0, 2, 2.0)]
    dimensions = load_sparse_coder("baseline://dimensions?width=4&k=2")
    found = dimensions.encode(x)
    assert sorted(zip(*(column.tolist() for column in found), strict=True)) == [
        (0, 2, 2.0), (0, 5, 3.0), (1, 6, 4.0), (1, 7, 2.0),
    ]  # fmt: skip
    assert (neurons.n_features, dimensions.n_features, neurons.format) == (4, 8, "baseline")
    whole = load_sparse_coder("baseline://dimensions?width=4&k=4")
    torch.testing.assert_close(whole.reconstruct(x, whole.encode(x)), x)


def test_a_random_baseline_has_an_saes_shape_and_sparsity_and_none_of_its_directions(tmp_path: Path) -> None:
    source = str(write_hand_set_sae(tmp_path))
    like = load_sparse_coder(source)
    one, again, other = (
        load_sparse_coder(f"baseline://random?like={source}{rest}") for rest in ("", "&seed=0", "&seed=1")
    )
    assert one.encoder.shape == like.encoder.shape and one.activation == TopK(like.k or 0)
    assert one.input_bias is not None and like.input_bias is not None and one.input_bias.equal(like.input_bias)
    assert one.encoder.equal(again.encoder) and not one.encoder.equal(other.encoder)
    torch.testing.assert_close(one.encoder.norm(dim=1), torch.ones(one.n_features))
    assert (one.hookpoint, one.reads) == (like.hookpoint, like.reads)
    x = torch.randn((50, like.d_in), generator=torch.Generator().manual_seed(0))
    assert len(one.encode(x).tokens) <= 50 * (like.k or 0)
    assert load_sparse_coder(f"baseline://random?like={source}&k=1").activation == TopK(1)


def test_what_a_baseline_is_made_from_is_in_its_hash(tmp_path: Path) -> None:
    source = str(write_hand_set_sae(tmp_path))
    files = sae_files(f"baseline://random?like={source}&seed=3")
    assert files.paths == sae_files(source).paths and "seed=3" in files.overrides["baseline"]
    neurons = sae_files("baseline://neurons?width=4&k=2")
    assert not neurons.paths and neurons.overrides["baseline"] == "neurons?width=4&k=2"


@pytest.mark.parametrize(
    "source, says",
    [
        ("baseline://neurones?width=4&k=2", "'neurones' is not one of neurons, dimensions, random"),
        ("baseline://neurons?k=2", "it lacks width"),
        ("baseline://neurons?width=4&k=many", "k is 'many', not a whole number of 1 or more"),
        ("baseline://neurons?width=4&k=5", "k is 5, but there are only 4 features"),
        ("baseline://neurons?widht=4&k=5", "'widht' is not one of its values; nearest: 'width'"),
        ("baseline://random?k=5", r"the SAE whose shape it takes; write \?like=SOURCE"),
        ("baseline://random?like=/no/such/folder", "no folder or file"),
    ],
)
def test_a_source_that_says_no_baseline_is_refused(source: str, says: str) -> None:
    with pytest.raises(SaeError, match=says) as caught:
        load_sparse_coder(source)
    assert "\n" not in str(caught.value)
