"""The coder: firings and reconstructions of hand-set and random weights against formulas."""

import pytest
import torch
from sae_layouts import above, fired, largest, pre_activations, random_inputs, random_weights, same_firings

from pipeline.sae import RELU, GroupMax, JumpReLU, SparseCoder, TopK
from pipeline.sae import coder as coder_module

N, WIDTH = 30, 12


def coder_of(**changes) -> SparseCoder:
    weights = random_weights(N, WIDTH, k=4)
    values = {"encoder": weights.encoder, "encoder_bias": weights.bias, "decoder": weights.decoder}
    return SparseCoder(hookpoint=None, **{**values, "activation": RELU, **changes})


ACTIVATIONS = {
    "topk": (TopK(4), lambda pre, weights: largest(pre, 4)),
    "relu": (RELU, lambda pre, weights: pre.relu()),
    "one threshold": (JumpReLU(torch.tensor(0.4)), lambda pre, weights: above(pre, 0.4)),
    "thresholds": (
        JumpReLU(random_weights(N, WIDTH, 4).threshold),
        lambda pre, weights: above(pre, weights.threshold),
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_encode_is_the_formula_at_once_and_in_parts(name, monkeypatch):
    activation, formula = ACTIVATIONS[name]
    weights = random_weights(N, WIDTH, k=4)
    coder, x = coder_of(activation=activation, input_bias=weights.b_dec), random_inputs(101, WIDTH)
    expected = formula(pre_activations(weights, x, subtract=True), weights)
    same_firings(fired(coder, x), expected)
    monkeypatch.setattr(coder_module, "_DENSE_BYTES", 4 * N * 10)  # ten tokens at a time
    same_firings(fired(coder, x), expected)
    monkeypatch.setattr(coder_module, "_DENSE_BYTES", 1)
    same_firings(fired(coder, x), expected)


@pytest.mark.parametrize("activation", [TopK(4), GroupMax(5), RELU, JumpReLU(torch.tensor(0.4))])
@pytest.mark.parametrize("n", [N, 64])  # found by torch, and by what is compiled
def test_what_was_found_stays_when_the_next_tokens_are_encoded(activation, n):
    n -= n % 5 if isinstance(activation, GroupMax) else 0
    weights = random_weights(n, WIDTH, k=4)
    values = {"encoder": weights.encoder, "encoder_bias": weights.bias, "decoder": weights.decoder}
    coder = coder_of(activation=activation, **values)
    one, other = random_inputs(70, WIDTH), random_inputs(90, WIDTH, seed=2)
    found = coder.encode(one)
    kept = [column.clone() for column in found]
    coder.encode(other)
    assert all(torch.equal(column, before) for column, before in zip(found, kept, strict=True))
    pre = torch.nn.functional.linear(one, coder.encoder, coder.encoder_bias)
    assert torch.equal(pre[found.tokens, found.features], found.activations)


BLOCKS = 128


@pytest.mark.parametrize("k", [1, 7, 100])
def test_what_is_found_block_by_block_is_what_torch_finds(k):
    pre = torch.randn(300, BLOCKS).round(decimals=1)  # with ties and zeros
    found, (values, _) = TopK(k).fire(pre), pre.topk(k)
    for token in range(len(pre)):
        kept = values[token][values[token] > 0]
        of_token = found.activations[found.tokens == token]
        assert torch.equal(of_token.sort(descending=True).values, kept)
    assert torch.equal(pre[found.tokens, found.features], found.activations)
    assert len({*zip(found.tokens.tolist(), found.features.tolist(), strict=True)}) == len(found.tokens)
    assert bool((found.tokens.diff() >= 0).all())


@pytest.mark.parametrize("activation", [RELU, JumpReLU(torch.linspace(0, 2, BLOCKS)), JumpReLU(torch.tensor(9.0))])
def test_what_is_above_is_found_block_by_block(activation):
    pre = torch.randn(300, BLOCKS)
    tokens, features = (pre > activation.threshold).nonzero(as_tuple=True)
    expected = tokens, features, pre[tokens, features]
    assert all(torch.equal(*columns) for columns in zip(activation.fire(pre), expected, strict=True))


@pytest.mark.parametrize("activation", [TopK(4), RELU])
def test_one_value_that_is_no_number_is_seen_whatever_stands_beside_it(activation):
    pre = torch.rand(200, BLOCKS) + 1
    pre[7, 100] = torch.nan
    found = activation.fire(pre)
    assert set(found.tokens[~found.activations.isfinite()].tolist()) == {7}


def test_what_equals_the_threshold_is_no_firing():
    coder = SparseCoder(None, torch.eye(3), torch.zeros(3), torch.eye(3), JumpReLU(torch.tensor([0.5, 0.5, 0.0])))
    encoding = coder.encode(torch.tensor([[0.5, 0.75, 0.0], [0.25, -1.0, 0.125]]))
    assert [column.tolist() for column in encoding] == [[0, 1], [1, 2], [0.75, 0.125]]


@pytest.mark.parametrize("activation", [TopK(4), GroupMax(5), RELU, JumpReLU(torch.rand(N))])
def test_no_token_gives_no_firing_and_no_number_is_one(activation):
    coder = coder_of(activation=activation)
    assert [len(column) for column in coder.encode(torch.zeros(0, WIDTH))] == [0, 0, 0]
    # So that whoever reads a broken model sees it.
    assert not coder.encode(torch.full((2, WIDTH), torch.nan)).activations.isfinite().any()


def test_inputs_in_half_precision_and_double_are_encoded_in_float32():
    coder, x = coder_of(), random_inputs(20, WIDTH)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert coder.encode(x.to(dtype)).activations.dtype == torch.float32
        same_firings(fired(coder, x.to(dtype)), fired(coder, x.to(dtype).float()))


def normalised(x: torch.Tensor, how: str) -> torch.Tensor:
    x = x.double()
    mean = x.sum(dim=1, keepdim=True) / WIDTH
    variance = ((x - mean) ** 2).sum(dim=1, keepdim=True) / (WIDTH - 1)
    return {
        "none": x,
        "centred": x - mean,
        "layer_norm": (x - mean) / (variance.sqrt() + 1e-5),
        "constant_norm_rescale": x * WIDTH**0.5 / (x**2).sum(dim=1, keepdim=True).sqrt(),
    }[how]


@pytest.mark.parametrize("how", ["none", "centred", "layer_norm", "constant_norm_rescale"])
def test_the_input_is_normalised_before_its_bias_and_the_reconstruction_back(how):
    weights, x = random_weights(N, WIDTH, k=4), 3 * random_inputs(40, WIDTH)
    coder = coder_of(normalisation=how, input_bias=weights.b_dec, decoder_bias=weights.b_dec)
    expected = pre_activations(weights, normalised(x, how), subtract=True).relu()
    same_firings(fired(coder, x), expected)
    # What the decoder adds up is mapped back linearly, so that an exact answer in there is the input again.
    found = coder.reconstruct(x, coder.encode(x)).double()
    back = expected @ weights.decoder.double() + weights.b_dec.double()
    scale = (x.double() - x.double().mean(1, keepdim=True) * (how in {"centred", "layer_norm"})).norm(
        dim=1, keepdim=True
    ) / normalised(x, how).norm(dim=1, keepdim=True)
    shift = x.double().mean(1, keepdim=True) if how in {"centred", "layer_norm"} else 0
    torch.testing.assert_close(found, back * scale + shift, rtol=1e-4, atol=1e-4)


def test_a_token_without_a_firing_is_reconstructed_by_the_bias_alone():
    bias = torch.arange(WIDTH).float()
    coder = coder_of(encoder_bias=torch.full((N,), -1000.0), decoder_bias=bias)
    x = random_inputs(3, WIDTH)
    torch.testing.assert_close(coder.reconstruct(x, coder.encode(x)), bias.expand(3, -1))


def test_the_range_of_thresholds_and_k_are_told():
    assert (coder_of(activation=TopK(4)).k, coder_of(activation=TopK(4)).threshold_range) == (4, None)
    assert (coder_of().k, coder_of().threshold_range) == (None, (0.0, 0.0))
    assert coder_of(activation=JumpReLU(torch.tensor([0.5, 2.0]))).threshold_range == (0.5, 2.0)


def test_without_its_decoder_a_coder_encodes_alike_and_is_half_as_large():
    coder, x = coder_of(), random_inputs(20, WIDTH)
    alone = coder.without_decoder()
    for one, other in zip(alone.encode(x), coder.encode(x), strict=True):
        assert torch.equal(one, other)
    assert alone.decoder.numel() == 0 and alone.decoder.shape[1] == coder.decoder.shape[1]
