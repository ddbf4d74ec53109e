"""Loss recovered: the model's loss with an SAE in place, beside one computed by hand, layer by layer."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import WIDTH, open_lake, rows_of, write_random_sae
from torch import Tensor
from torch.nn.functional import log_softmax

from pipeline.config import Config, SubjectConfig
from pipeline.corpus.documents import write_documents
from pipeline.fit.hookpoints_tried import Hookpoints
from pipeline.fit.loss import measure_loss, unmeasurable
from pipeline.fit.verdict import fit_sentence
from pipeline.fit.write import write_sae_fit
from pipeline.models.causal import load_causal
from pipeline.sae import SparseCoder, load_sparse_coder
from pipeline.sae.write import write_saes
from pipeline.subject.forward import Hookpoint, load_subject

CONTEXTS = [[5, 90, 31, 200, 7, 61], [12, 44, 3]]


@pytest.fixture
def subject(tiny_subject: Path) -> SubjectConfig:
    return SubjectConfig(model=str(tiny_subject), dtype="float32")


def reconstructed(coder: SparseCoder, x: Tensor) -> Tensor:
    """[n, d_out], of the formula of a TopK SAE."""
    taken_off = x if coder.input_bias is None else x - coder.input_bias
    pre = (taken_off @ coder.encoder.T + coder.encoder_bias).relu()
    values, features = pre.topk(coder.k or 0)
    found = torch.einsum("nk,nkd->nd", values, coder.decoder[features])
    assert coder.decoder_bias is not None
    return found + coder.decoder_bias


@torch.inference_mode()
def loss_by_hand(
    model: Any, at: Callable[[str, Tensor, Tensor | None], Tensor], contexts: list[list[int]], n_kept: int
) -> float:
    """The mean loss behind the tokens from n_kept on; `at` changes the states of a place, those edited alone.

    The layers are run one by one, and within a layer its parts: nothing is hooked.
    """
    losses = []
    for token_ids in contexts:
        ids = torch.tensor([token_ids])

        def edited(name: str, value: Tensor, given: Tensor | None = None) -> Tensor:
            new = at(name, value[0, n_kept:], None if given is None else given[0, n_kept:])
            return torch.cat([value[:, :n_kept], new[None]], dim=1)

        x = model.model.embed_tokens(ids)
        positions = torch.arange(ids.shape[1])[None]
        rotary = model.model.rotary_emb(x, positions)
        mask = torch.full((ids.shape[1], ids.shape[1]), -torch.inf).triu(1)[None, None]
        for number, layer in enumerate(model.model.layers):
            attended, _ = layer.self_attn(layer.input_layernorm(x), rotary, attention_mask=mask)
            x = x + attended
            normed = layer.post_attention_layernorm(x)
            x = x + edited(f"mlp.{number}", layer.mlp(normed), normed)
            x = edited(f"layer.{number}", x)
        said = log_softmax(model.lm_head(model.model.norm(x))[0], dim=-1)
        losses += [-said[p, token_ids[p + 1]] for p in range(n_kept, len(token_ids) - 1)]
    return float(torch.stack(losses).mean()) if losses else math.nan


@pytest.mark.parametrize("n_kept", [1, 2])  # without and with a BOS
@pytest.mark.parametrize("is_centred", [False, True])
def test_the_losses_are_those_of_the_layers_run_by_hand(
    subject: SubjectConfig, tmp_path: Path, n_kept: int, is_centred: bool
) -> None:
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae", n_features=64, k=4))
    model = load_causal(subject, "cpu")
    hookpoint = Hookpoint("layers.1", centred=is_centred)
    found = measure_loss(model, coder, Hookpoints("layers.1", hookpoint, hookpoint), CONTEXTS, n_kept)

    def spliced(name: str, x: Tensor, _given: Tensor | None) -> Tensor:
        mean = x.mean(dim=1, keepdim=True) if is_centred else 0.0
        return reconstructed(coder, x - mean) + mean if name == "layer.1" else x

    def ablated(name: str, x: Tensor, _given: Tensor | None) -> Tensor:
        return torch.zeros_like(x) if name == "layer.1" else x

    expected = [
        loss_by_hand(model, change, CONTEXTS, n_kept) for change in (lambda _n, x, _g: x, spliced, ablated)
    ]
    assert [found.loss, found.loss_spliced, found.loss_ablated] == pytest.approx(expected, rel=1e-4)
    clean, spliced_loss, ablated_loss = expected
    assert found.loss_recovered is None or found.loss_recovered == pytest.approx(
        (ablated_loss - spliced_loss) / (ablated_loss - clean), rel=1e-3
    )
    assert (found.loss_recovered is None) == (ablated_loss <= clean) == (found.loss_reason is not None)
    assert found.n_loss_tokens == sum(max(0, len(each) - n_kept - 1) for each in CONTEXTS)


def test_a_transcoder_stands_for_what_its_module_returns(subject: SubjectConfig, tmp_path: Path) -> None:
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae", transcode=True))
    model = load_causal(subject, "cpu")
    place = Hookpoints("layers.1.mlp", Hookpoint("layers.1.mlp", "input"), Hookpoint("layers.1.mlp"))
    found = measure_loss(model, coder, place, CONTEXTS, 1)

    def spliced(name: str, y: Tensor, given: Tensor | None) -> Tensor:
        if name != "mlp.1":
            return y
        assert given is not None
        return reconstructed(coder, given)

    assert found.loss_spliced == pytest.approx(loss_by_hand(model, spliced, CONTEXTS, 1), rel=1e-4)


def test_the_whole_sae_recovers_all_and_one_that_says_zero_nothing(subject: SubjectConfig, tmp_path: Path) -> None:
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae"))
    both = torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)])
    no_bias = torch.zeros(WIDTH)
    perfect = replace(
        coder, encoder=both, decoder=both, encoder_bias=torch.zeros(2 * WIDTH), activation=replace(
            coder.activation, k=2 * WIDTH
        ), input_bias=no_bias, decoder_bias=no_bias,
    )  # fmt: skip
    model = load_causal(subject, "cpu")
    place = Hookpoints("layers.0", Hookpoint("layers.0"), Hookpoint("layers.0"))
    whole = measure_loss(model, perfect, place, CONTEXTS, 1)
    nothing = measure_loss(model, replace(perfect, decoder=0 * both), place, CONTEXTS, 1)
    assert whole.loss_spliced == pytest.approx(whole.loss, rel=1e-5)
    assert nothing.loss_spliced == pytest.approx(nothing.loss_ablated, rel=1e-5)


def test_texts_of_a_token_tell_nothing_and_say_so(subject: SubjectConfig, tmp_path: Path) -> None:
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae"))
    place = Hookpoints("layers.0", Hookpoint("layers.0"), Hookpoint("layers.0"))
    found = measure_loss(load_causal(subject, "cpu"), coder, place, [[5], [6, 7]], 1)
    assert found.loss_recovered is None and found.loss is None and found.n_loss_tokens == 0
    assert found.loss_reason == "the corpus has too few tokens"


def test_what_the_residual_goes_past_is_not_replaced(subject: SubjectConfig) -> None:
    model = load_subject(subject, "cpu").model
    past = Hookpoint("layers.1.post_attention_layernorm", "input")
    for name in ("resid_mid.1", "layers.1.post_attention_layernorm.input"):
        reason = unmeasurable(model, Hookpoints(name, past, past))
        assert reason is not None and "bypasses 'layers.1.post_attention_layernorm'" in reason
    inputs = (Hookpoint(module, "input") for module in ("layers.1", "layers.1.self_attn.o_proj"))
    for place in (Hookpoint("layers.1"), *inputs):
        assert unmeasurable(model, Hookpoints(place.module, place, place)) is None


def test_the_subject_is_in_memory_once(subject: SubjectConfig) -> None:
    read = load_subject(subject, "cpu").model
    assert load_causal(subject, "cpu").base_model is read


def test_the_table_has_it_for_the_configs_own_hookpoint(make_experiment: Callable[..., Config]) -> None:
    lake = open_lake(make_experiment())
    write_saes(lake)
    write_documents(lake)
    write_sae_fit(lake)
    [own, *others] = rows_of(lake, "select * from sae_fit order by is_configured desc")
    assert own["loss"] > 0 and own["loss_spliced"] > 0 and own["n_loss_tokens"] > 0
    if own["loss_recovered"] is None:
        assert own["loss_reason"] in fit_sentence(lake, own["sae"])
    else:
        assert f", {own['loss_recovered']:.0%} of the loss recovered" in fit_sentence(lake, own["sae"])
    assert others and {row["loss"] for row in others} == {None}
