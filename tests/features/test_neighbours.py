"""Nearest decoder directions: as brute force in float64 finds them, whatever the first products are rounded to."""

import pytest
import torch

from pipeline.features import neighbours
from pipeline.features.neighbours import LEAST_COSINE, Neighbours, nearest
from pipeline.models.precision import faster_dtype

DTYPES = (torch.float32, torch.bfloat16)


def brute_force(directions: torch.Tensor, n_neighbours: int = 10) -> Neighbours:
    """By every cosine in float64; ties to the smaller index."""
    present = directions.any(dim=1).nonzero().flatten()
    own = directions[present].double()
    cosines = own @ own.T / (own.norm(dim=1)[:, None] * own.norm(dim=1))
    cosines.fill_diagonal_(-9)
    values, order = cosines.sort(dim=1, descending=True, stable=True)
    n_neighbours = min(n_neighbours, max(len(present) - 1, 0))
    values, order = values[:, :n_neighbours], order[:, :n_neighbours]
    features = present[:, None].expand(-1, n_neighbours)
    ranks = torch.arange(1, n_neighbours + 1).expand(len(present), -1)
    near = values >= LEAST_COSINE
    return Neighbours(features[near], present[order][near], ranks[near], values[near])


def random(n, width=48, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def assert_exact(directions, dtype, n_neighbours=10):
    found = nearest(directions, n_neighbours, dtype)
    expected = brute_force(directions, n_neighbours)
    assert torch.equal(found.feature, expected.feature)
    assert torch.equal(found.rank, expected.rank)
    torch.testing.assert_close(found.cosine, expected.cosine, rtol=0, atol=1e-12)
    # Cosines that differ by less than the rounding of float64 may stand in either order.
    differs = found.neighbour != expected.neighbour
    own, pairs = directions.double(), (found.feature[differs], found.neighbour[differs])
    cosines = (own[pairs[0]] * own[pairs[1]]).sum(dim=1) / (own[pairs[0]].norm(dim=1) * own[pairs[1]].norm(dim=1))
    torch.testing.assert_close(cosines, expected.cosine[differs], rtol=0, atol=1e-12)
    assert len(set(zip(found.feature.tolist(), found.neighbour.tolist(), strict=True))) == len(found.feature)
    return found, differs


@pytest.fixture(params=[128, 4096], ids=["several panels", "one panel"], autouse=True)
def panel(request, monkeypatch):
    monkeypatch.setattr(neighbours, "_PANEL", request.param)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [700, 640, 641])
def test_the_nearest_are_those_of_brute_force(n, dtype):
    _, differs = assert_exact(random(n) * torch.rand(n, 1), dtype)
    assert not differs.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("turned", [False, True], ids=["neurons", "another basis"])
def test_of_orthogonal_directions_none_is_near_and_none_is_computed_again(dtype, turned):
    directions = torch.linalg.qr(random(512, 512)).Q if turned else torch.eye(512)
    search = neighbours._Search(directions, 10, dtype)
    for first in range(0, 512, neighbours._PANEL):
        for second in range(first, 512, neighbours._PANEL):
            search.look_at(first, second)
    assert search._n_pending == 0
    assert len(search.result().feature) == 0
    pair = torch.cat([directions, directions[:1]])
    assert nearest(pair, 10, dtype).neighbour.tolist() == [512, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_near_ties_below_the_rounding_of_bfloat16_are_decided_right(dtype):
    # Cosines of a row with its cluster differ by some 1e-5, a hundredth of what bfloat16 tells apart.
    centres = random(4, seed=1).repeat_interleave(100, dim=0)
    _, differs = assert_exact(centres + 0.003 * random(400), dtype)
    assert not differs.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_come_first_and_in_the_order_of_their_indices(dtype):
    directions = random(500)
    directions[[7, 130, 499]] = directions[300].clone()
    found, _ = assert_exact(directions, dtype)
    of_300 = found.neighbour[(found.feature == 300) & (found.rank <= 3)]
    assert of_300.tolist() == [7, 130, 499]


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_copies_than_neighbours_are_all_alike(dtype):
    directions = random(1, seed=2).repeat(300, 1)
    found = nearest(directions, 10, dtype)
    assert found.neighbour[found.feature == 0].tolist() == list(range(1, 11))
    assert found.neighbour[found.feature == 299].tolist() == list(range(10))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_of_zeros_has_no_neighbours_and_is_nobodys(dtype):
    directions = random(300)
    directions[[0, 131, 299]] = 0
    found, _ = assert_exact(directions, dtype)
    gone = torch.tensor([0, 131, 299])
    assert not torch.isin(torch.cat([found.feature, found.neighbour]), gone).any()


@pytest.mark.parametrize("n", [0, 1, 2, 5, 11])
def test_few_features_have_as_many_neighbours_as_there_are_others(n):
    found, _ = assert_exact(random(n).abs(), torch.bfloat16)
    assert len(found.feature) == n * min(10, max(n - 1, 0))


def test_opposite_directions_are_no_neighbours():
    found, _ = assert_exact(torch.cat([random(6).abs(), -random(6).abs()]), torch.bfloat16, n_neighbours=11)
    assert ((found.feature < 6) == (found.neighbour < 6)).all() and len(found.feature) == 12 * 5


def test_settling_early_changes_nothing(monkeypatch):
    expected = nearest(random(700), 10, torch.bfloat16)
    monkeypatch.setattr(neighbours, "_MAX_PENDING", 100)
    found = nearest(random(700), 10, torch.bfloat16)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [16, 768])
def test_every_rounding_error_is_within_its_bound(dtype, width):
    """The proof's inequality on real products, those of float64 beside them."""
    directions = random(256, width)
    search = neighbours._Search(directions, 10, dtype)
    products = torch.nn.functional.linear(search._rounded, search._rounded).double()
    unit = directions.double() / directions.double().norm(dim=1, keepdim=True)
    bound = search._error[:, None] + search._store_error * products.abs()
    assert ((products - unit @ unit.T).abs() <= bound).all()


def test_the_faster_dtype_is_one_of_the_two():
    assert faster_dtype(64) in DTYPES
