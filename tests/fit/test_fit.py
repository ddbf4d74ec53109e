"""An SAE that is read at another place, or otherwise, than it was made for is stopped, with what would fit.

The SAEs of the tiny model are made of its own states: their principal directions, each with a feature for either
sign. What they leave unexplained is known, and small only where they were made.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import dagster as dg
import polars as pl
import pytest
import torch
from sae_layouts import LAYOUTS, random_weights, write_json
from safetensors.torch import load_file, save_file
from tiny import (
    CONTEXT_LENGTH,
    WIDTH,
    open_lake,
    rows_of,
    write_learned_positions,
    write_random_sae,
    write_sparsify,
)
from torch import Tensor
from transformers import AutoTokenizer

from assets.graph.build import build_definitions
from assets.run.printing import print_failures
from assets.run.steps import missing_steps
from pipeline.config import Config
from pipeline.corpus.contexts import write_contexts
from pipeline.corpus.documents import write_documents
from pipeline.corpus.tokens import write_tokens
from pipeline.errors import LakeError, SaeError, SubjectError
from pipeline.features import logits
from pipeline.firings.write import write_activation_shards
from pipeline.fit import write
from pipeline.fit.hookpoints_tried import Hookpoints, nearby_hookpoints
from pipeline.fit.measure import Figures, is_massive, measure, with_weights
from pipeline.fit.verdict import check_fit, fit_sentence, is_misfit, judge
from pipeline.lake import Lake
from pipeline.preflight import preflight
from pipeline.sae import load_sparse_coder
from pipeline.sae.write import write_saes
from pipeline.subject.forward import Hookpoint
from pipeline.subject.hookpoints import resolve_hookpoint
from pipeline.tables import TABLES

pytestmark = pytest.mark.whole

Experiment = Callable[..., Config]
N_DIRECTIONS = WIDTH // 2  # with a feature for either sign the decoder is square


@pytest.fixture
def make_sae(tmp_path: Path, make_experiment: Experiment) -> Callable[..., dict[str, Any]]:
    """A function that makes an SAE for a place of the tiny model, and gives its entry in the config."""

    def make(
        made_for: str,
        *,
        prepend_bos: bool = False,
        centred: bool = False,
        subject: dict[str, str] | None = None,
        **config: Any,
    ) -> dict[str, Any]:
        lake = open_lake(make_experiment(tmp_path / "states", subject=subject or {}))
        write_documents(lake)
        contexts = lake.query("fit_contexts", fit_tokens=129, fit_documents=1000)
        hookpoint = resolve_hookpoint(lake.config.subject, made_for, centred=centred)
        x = write._Sample(lake.config, contexts).read([hookpoint], prepend_bos)[hookpoint]
        folder = write_principal_directions(tmp_path / "made", x)
        own = {"name": "made", "source": str(folder), "n_features": 2 * N_DIRECTIONS, "fit": "check"}
        return {**own, "hookpoint": made_for, "centred": centred, **config}

    return make


def write_principal_directions(folder: Path, x: Tensor) -> Path:
    mean = x.mean(dim=0)
    directions = torch.linalg.svd(x - mean, full_matrices=False).Vh[:N_DIRECTIONS]
    both = torch.cat([directions, -directions])
    return write_sparsify(folder, both, torch.zeros(len(both)), both, mean, len(both))


def fitted(config: Config) -> Lake:
    """The experiment's lake, its SAEs measured."""
    lake = open_lake(config)
    write_saes(lake)
    write_documents(lake)
    write.write_sae_fit(lake)
    return lake


def rewritten(entry: dict[str, Any], change: Callable[[dict[str, Tensor]], None]) -> dict[str, Any]:
    """The entry of an SAE whose weights are changed in its file."""
    path = Path(entry["source"]) / "sae.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return entry


def transpose(tensors: dict[str, Tensor]) -> None:
    tensors["W_dec"] = tensors["W_dec"].T


# Figures --------------------------------------------------------------------------------------------------


def test_the_figures_are_what_their_definitions_say(tmp_path: Path) -> None:
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae", n_features=64, k=4))
    x = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1))
    dense = torch.zeros(50, 64, dtype=torch.float64)
    encoding = coder.encode(x)
    dense[encoding.tokens, encoding.features] = encoding.activations.double()
    found = dense @ coder.decoder.double()
    assert coder.decoder_bias is not None
    found += coder.decoder_bias.double()
    errors, spread = (found - x).square().sum(), (x.double() - x.double().mean(dim=0)).square().sum()
    figures = measure(coder, x, x)
    assert figures.fvu == pytest.approx(float(errors / spread), rel=1e-5)
    assert figures.l0 == pytest.approx(float((dense > 0).sum() / 50))
    assert figures.dead_share == pytest.approx(1 - float((dense > 0).any(dim=0).sum()) / 64)
    assert figures.norm_ratio == pytest.approx(float((found.norm(dim=1) / x.norm(dim=1)).mean()), rel=1e-5)
    assert figures.n_tokens == 50


def test_massive_activations_are_told_by_their_norm() -> None:
    x = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1))
    x[3] *= 1000
    x[40] *= 8 * x.norm(dim=1).median() / x[40].norm()
    assert is_massive(x).nonzero().flatten().tolist() == [3]
    assert is_massive(x[:0]).shape == (0,)


@pytest.mark.parametrize("n_tokens", [0, 1])
def test_too_few_tokens_tell_nothing(tmp_path: Path, n_tokens: int) -> None:
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae"))
    x = torch.zeros(n_tokens, WIDTH)
    assert measure(coder, x, x) == Figures(None, None, None, None, n_tokens)
    assert judge([measure(coder, x, x)], ["own"], 4) == [None]


def test_a_scaled_input_is_scaled_back(tmp_path: Path) -> None:
    # An SAE made on inputs of norm sqrt(d), given inputs of any.
    x = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(1)) + 3
    scaled = x * (WIDTH**0.5 / x.norm(dim=1, keepdim=True))
    coder = load_sparse_coder(write_principal_directions(tmp_path / "sae", scaled))
    right = measure(coder, scaled, scaled).fvu
    found = measure(coder, 40 * x, 40 * x, "token_norm").fvu
    plain = measure(coder, 40 * x, 40 * x).fvu
    assert right is not None and found is not None and plain is not None
    assert found == pytest.approx(right, rel=0.2) and plain > 2 * found


def test_a_normalisation_that_should_not_be_is_left_out(tmp_path: Path) -> None:
    x = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(1)) + 3
    coder = load_sparse_coder(write_principal_directions(tmp_path / "sae", x))
    normalising = replace(coder, normalisation="layer_norm")
    assert measure(normalising, x, x, "none") == measure(coder, x, x)
    assert measure(normalising, x, x).fvu == pytest.approx(measure(coder, x, x, "layer_norm").fvu, rel=1e-3)
    assert measure(normalising, x, x) != measure(coder, x, x)


def test_a_decoder_is_transposed_where_it_is_square_and_b_dec_subtracted_where_it_is_as_wide_as_the_input(
    tmp_path: Path,
) -> None:
    square = load_sparse_coder(write_random_sae(tmp_path / "square", n_features=WIDTH))
    other = with_weights(square, "transposed")
    assert other is not None and torch.equal(other.decoder, square.decoder.T)
    assert with_weights(load_sparse_coder(write_random_sae(tmp_path / "wide")), "transposed") is None
    transcoder = load_sparse_coder(write_random_sae(tmp_path / "t", transcode=True))
    other = with_weights(transcoder, "input_bias")  # as sparsify's did until February 2025
    assert other is not None and other.input_bias is transcoder.decoder_bias and transcoder.input_bias is None
    again = with_weights(other, "input_bias")
    assert again is not None and again.input_bias is None
    narrow = replace(transcoder, decoder=transcoder.decoder[:, :8], decoder_bias=torch.zeros(8))
    assert with_weights(narrow, "input_bias") is None


@pytest.mark.parametrize(
    ("fvus", "l0", "declared", "expected"),
    [
        ([0.30], 32.0, 32.0, [True]),
        ([0.30, 0.29], 32.0, None, [True, True]),
        ([0.30, 0.27], 32.0, 32.0, [False, True]),
        ([1.00], 32.0, 32.0, [False]),
        ([1.70, 1.20], 32.0, 32.0, [False, False]),
        ([0.30], 10.0, 32.0, [False]),
        ([0.30], 100.0, 32.0, [False]),
    ],
)
def test_it_fits_if_nothing_is_better_by_a_clear_margin_and_l0_is_as_declared(
    fvus: list[float], l0: float, declared: float | None, expected: list[bool]
) -> None:
    figures = [Figures(fvu, l0, 0.0, 1.0, 100) for fvu in fvus]
    assert judge(figures, ["own"] * len(figures), declared) == expected


def test_a_factor_on_the_input_only_gives_a_note() -> None:
    own, better = (Figures(fvu, 32.0, 0.1, 1.0, 100) for fvu in (0.3, 0.1))
    assert judge([own, better, better], ["own", "scaled_up", "scaled_down"], 32.0) == [True, False, False]


def test_a_coder_that_normalises_each_token_is_not_tried_with_a_factor(tmp_path: Path) -> None:
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae"))
    x = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1))
    for normalisation in ("constant_norm_rescale", "layer_norm"):
        normalising = replace(coder, normalisation=normalisation)
        assert measure(normalising, x, x, "scaled_up").fvu == pytest.approx(
            measure(normalising, x, x).fvu, rel=1e-3
        )
        assert write._same_as_own(normalising) == {"scaled_up", "scaled_down"}
    assert measure(coder, x, x, "scaled_up") != measure(coder, x, x)


@pytest.mark.parametrize(
    ("fvus", "l0s", "declared", "expected"),
    [
        # A JumpReLU and a ReLU that are right, at mean norms of 0.9, 0.7 and 0.8 of sqrt(d).
        ((0.392, 0.333), (8.0, 10.2), 8, [True, False]),
        ((0.392, 0.285), (8.0, 18.1), 8, [True, False]),
        ((0.479, 0.364), (16.0, 25.5), None, [True, False]),
        # The scale is wrong: much lower, or the own L0 is not as declared, or no more firings are needed.
        ((0.569, 0.263), (8.5, 16.0), None, [False, True]),
        ((1.088, 0.674), (3.6, 8.0), 8, [False, True]),
        ((0.480, 0.400), (2.0, 8.0), 8, [False, True]),
        ((0.480, 0.400), (32.0, 32.0), 32, [False, True]),
        ((0.480, 0.400), (16.0, 12.0), None, [False, True]),
    ],
)
def test_a_scaled_input_is_better_only_if_it_had_not_only_to_fire_more(
    fvus: tuple[float, float], l0s: tuple[float, float], declared: float | None, expected: list[bool]
) -> None:
    figures = [Figures(fvu, l0, 0.0, 1.0, 2048) for fvu, l0 in zip(fvus, l0s, strict=True)]
    assert judge(figures, ["own", "average_norm"], declared) == expected
    # Another hookpoint gives other vectors: what it takes to explain them is held against the config's own.
    assert judge(figures, ["own", "own"], None)[0] is False


def test_what_was_measured_on_some_of_the_tokens_is_not_held_against_what_was_measured_on_all() -> None:
    own, far = Figures(0.57, 32.0, 0.0, 1.0, 2048), Figures(0.38, 32.0, 0.0, 1.0, 512)
    assert judge([own, far], ["own"] * 2, 32) == [True, False]
    assert judge([own, far, own._replace(fvu=0.4)], ["own"] * 3, 32) == [False, False, True]


class States(NamedTuple):
    """Stands for a sample: what hookpoints give, and which tokens are drawn to screen."""

    states: dict[Hookpoint, Tensor]
    is_screened: Tensor
    subject: Any = None

    def read(self, hookpoints: Any, prepend_bos: bool) -> dict[Hookpoint, Tensor]:
        return {each: self.states[each] for each in hookpoints}


def trial_at(module: str) -> write._Trial:
    return write._Trial(Hookpoints(module, Hookpoint(module), Hookpoint(module)), prepend_bos=False)


def lossy(n_tokens: int, noise: float, is_hard: Tensor) -> Tensor:
    """States of which the first half of the dimensions is all but their noise, and nothing of hard tokens."""
    z = torch.randn(n_tokens, WIDTH, generator=torch.Generator().manual_seed(3))
    z[:, N_DIRECTIONS:] *= noise
    z[is_hard, :N_DIRECTIONS], z[is_hard, -1] = 0, 40.0
    return z


@pytest.mark.parametrize("drawn", ["none of them", "all of them"])
def test_a_place_is_held_against_the_configs_own_on_the_same_tokens(tmp_path: Path, drawn: str) -> None:
    """Few hard tokens carry most of what is unexplained: a sample of the tokens has another FVU."""
    is_hard, number = torch.zeros(2048, dtype=torch.bool), torch.arange(2048)
    is_hard[number % 97 == 1] = True
    axes = torch.eye(WIDTH)[:N_DIRECTIONS]
    both = torch.cat([axes, -axes])
    n = len(both)
    coder = load_sparse_coder(write_sparsify(tmp_path / "sae", both, torch.zeros(n), both, torch.zeros(WIDTH), n))
    own, other = trial_at("own"), trial_at("other")
    states = {own.at.reads: lossy(2048, 0.6, is_hard), other.at.reads: lossy(2048, 0.9, is_hard)}
    assert not is_massive(states[own.at.reads]).any()
    is_screened = (number % 4 == 0) | is_hard if drawn == "all of them" else (number % 4 == 0) & ~is_hard
    tried = write._try(States(states, is_screened), coder, [own, other])  # type: ignore[arg-type]
    right, worse = (measure(coder, state, state).fvu for state in states.values())
    assert right is not None and worse is not None and worse > right + 0.05
    assert (tried[own].fvu, tried[own].n_tokens) == (right, 2048)
    assert tried[other].n_tokens in {2048, int(is_screened.sum())}
    assert judge([*tried.values()], ["own"] * 2, None) == [right < 1, False]


def test_the_tokens_are_the_same_at_every_place(tmp_path: Path) -> None:
    """What is massive at one place is left out everywhere; a place whose values are no numbers has no figures."""
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae"))
    own, other, broken = trial_at("own"), trial_at("other"), trial_at("broken")
    x = torch.randn(400, WIDTH, generator=torch.Generator().manual_seed(1))
    massive, infinite = x.clone(), x.clone()
    massive[7] *= 1000
    infinite[9] = torch.inf
    states = {own.at.reads: x, other.at.reads: massive, broken.at.reads: infinite}
    sample = States(states, torch.arange(400) % 4 == 0)
    tried = write._try(sample, coder, [own, other, broken])  # type: ignore[arg-type]
    assert tried.keys() == {own, other}
    left = torch.arange(400) != 7
    assert tried[own] == tried[other] == measure(coder, x[left], x[left])
    with pytest.raises(SubjectError, match=r"'broken' of .* gave NaN or infinite values"):
        write._try(sample._replace(subject=SimpleNamespace(name="tiny")), coder, [broken, own])  # type: ignore[arg-type]


# What is caught -------------------------------------------------------------------------------------------


def test_an_sae_at_its_own_hookpoint_fits(make_sae: Any, make_experiment: Experiment) -> None:
    lake = fitted(make_experiment(saes=[make_sae("resid_post.1", hookpoint="layers.1")]))
    rows = lake.query("sae_fits", sae="made")
    own = rows.row(0, named=True)
    assert own["is_configured"] and own["fits"] and own["fvu"] < 0.4 and own["hookpoint"] == "layers.1"
    # The neighbouring places are measured, always.
    around = {"resid_post.0", "resid_post.2", "resid_mid.1", "mlp_out.1", "attn_out.1", "mlp_in.1"}
    assert around <= {*rows["hookpoint"]}
    scaled = {"scaled_up", "scaled_down"}
    assert {*rows["normalisation"]} == {"own", "average_norm", "token_norm", "layer_norm", *scaled}
    assert {*rows["weights"]} == {"own", "input_bias", "transposed"}
    assert rows.unique(TABLES["sae_fit"].key).height == rows.height
    assert not is_misfit(lake, "made")
    assert fit_sentence(lake, "made").startswith(f"SAE 'made' at 'layers.1' fits: FVU {own['fvu']:.2f}, ")
    check_fit(lake, lake.config.saes)


@pytest.mark.parametrize(
    ("made_for", "read_at", "says"),
    [
        ("layers.1", "layers.0", "resid_post.1"),
        ("layers.1", "layers.2", "resid_post.1"),
        ("layers.1", "layers.1.input", "resid_post.1"),
        ("layers.1", "layers.1.mlp", "resid_post.1"),
        ("mlp_out.1", "resid_post.1", "mlp_out.1"),
        ("mlp_in.1", "layers.1.mlp", "mlp_in.1"),
        ("attn_out.2", "mlp_out.2", "attn_out.2"),
        ("layers.2", "embed_tokens", "resid_post.2"),  # far away: every layer is tried
    ],
)
def test_another_place_is_caught_and_the_right_one_named(
    make_sae: Any, make_experiment: Experiment, made_for: str, read_at: str, says: str
) -> None:
    lake = fitted(make_experiment(saes=[make_sae(made_for, hookpoint=read_at)]))
    with pytest.raises(SaeError) as caught:
        check_fit(lake, lake.config.saes)
    message = str(caught.value)
    assert message.startswith(f"SAE 'made' at '{read_at}' does not fit: FVU ")
    assert f"; {says} 0." in message and f"set saes.hookpoint to {says};" in message
    assert "tried: " in message and "saes.fit: accept" in message and "\n" not in message


def test_the_cure_is_one_that_passes_where_the_files_name_another_place(
    make_sae: Any, make_experiment: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that is called layers.2 holds an SAE of layers.1."""
    made = make_sae("layers.1")
    source = shutil.move(made["source"], tmp_path / "layers.2")
    entry = {**made, "source": str(source), "hookpoint": "layers.2"}
    lake = fitted(make_experiment(saes=[entry]))
    cure = "set saes.hookpoint to resid_post.1 and saes.fit to accept, because its files or path name 'layers.2';"
    assert cure in fit_sentence(lake, "made")
    cured = {**entry, "hookpoint": "resid_post.1"}
    with pytest.raises(
        SaeError, match=r"names hookpoint 'layers\.2', but .* 'resid_post\.1'; .* saes\.fit: accept"
    ):
        preflight(make_experiment(saes=[cured]))
    with caplog.at_level(logging.WARNING):
        preflight(make_experiment(saes=[{**cured, "fit": "accept"}]))
    assert "names hookpoint 'layers.2', but the config says 'resid_post.1'; using the config's" in caplog.text
    assert not is_misfit(fitted(make_experiment(saes=[{**cured, "fit": "accept"}])), "made")


def test_of_a_cache_nobody_is_told_to_set_a_bos(
    make_sae: Any, make_experiment: Experiment, tiny_subject: Path, tmp_path: Path
) -> None:
    subject = {"model": str(attend_to_bos(tiny_subject, tmp_path / "subject"))}
    entry = make_sae("layers.1", prepend_bos=True, subject=subject)
    lake = fitted(make_experiment(saes=[entry], subject=subject))
    assert "set corpus.prepend_bos to true" in fit_sentence(lake, "made")
    row = {"kind": "delphi", "path": str(tmp_path / "latents")}
    config = make_experiment(saes=[entry], subject=subject, corpus={"sources": [row]})
    cached: Any = SimpleNamespace(config=config, query=lake.query)
    assert "make the cache again from rows that begin with a BOS; " in fit_sentence(cached, "made")


def test_a_text_is_no_longer_than_a_context(make_experiment: Experiment, tmp_path: Path) -> None:
    """A model with learned positions has none for more tokens, and with a BOS they are one more."""
    subject = write_learned_positions(tmp_path / "gpt2", n_positions=CONTEXT_LENGTH)
    folder = write_random_sae(tmp_path / "sae")
    entry = {"name": "s", "source": str(folder), "hookpoint": "h.1", "n_features": 64}
    lake = fitted(make_experiment(saes=[entry], subject={"model": str(subject), "dtype": "float32"}))
    drawn = lake.query("fit_contexts", fit_tokens=129, fit_documents=16)
    assert drawn["token_ids"].list.len().max() == CONTEXT_LENGTH - 1
    rows = lake.query("sae_fits", sae="s")
    assert {*rows["prepend_bos"]} == {True, False} and rows["n_tokens"].max() > 0


def test_a_transposed_decoder_is_caught(make_sae: Any, make_experiment: Experiment) -> None:
    lake = fitted(make_experiment(saes=[rewritten(make_sae("layers.1"), transpose)]))
    with pytest.raises(SaeError, match=r"; with its decoder transposed 0\.\d+ fits; .*its weights are not what"):
        check_fit(lake, lake.config.saes)


def test_what_was_made_on_centred_states_is_caught(make_sae: Any, make_experiment: Experiment) -> None:
    centred = make_sae("layers.1", centred=True)
    fitting = fitted(make_experiment(saes=[centred]))
    check_fit(fitting, fitting.config.saes)
    lake = fitted(make_experiment(saes=[{**centred, "centred": False}]))
    with pytest.raises(SaeError, match=r"; centred 0\.\d+ fits; .*set saes\.centred to true"):
        check_fit(lake, lake.config.saes)


def attend_to_bos(subject: Path, folder: Path) -> Path:
    """A copy of the tiny model whose first layer looks at the BOS, where there is one."""
    shutil.copytree(subject, folder)
    tensors = load_file(folder / "model.safetensors")
    embedding, first = tensors["model.embed_tokens.weight"], "model.layers.0.self_attn"
    embedding[:, -2:] = torch.tensor([4.0, 0.0])  # what queries read, and what keys do
    embedding[AutoTokenizer.from_pretrained(folder).bos_token_id, -1] = 16.0
    for name, place in (("q_proj", -2), ("k_proj", -1)):
        weight = tensors[f"{first}.{name}.weight"].zero_()
        weight[3::8, place] = 8.0  # of heads of 8, the pair of dimensions that turns slowest with the position
    tensors[f"{first}.v_proj.weight"] *= 4
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(("made_with", "says"), [(True, "with BOS"), (False, "without BOS")])
def test_a_bos_that_is_missing_or_too_much_is_caught(
    make_sae: Any, make_experiment: Experiment, tiny_subject: Path, tmp_path: Path, made_with: bool, says: str
) -> None:
    subject = {"model": str(attend_to_bos(tiny_subject, tmp_path / "sink"))}
    entry = make_sae("resid_mid.0", prepend_bos=made_with, subject=subject)
    fitting = fitted(make_experiment(saes=[entry], subject=subject, corpus={"prepend_bos": made_with}))
    check_fit(fitting, fitting.config.saes)
    lake = fitted(make_experiment(saes=[entry], subject=subject, corpus={"prepend_bos": not made_with}))
    cure = f"set corpus.prepend_bos to {str(made_with).lower()}"
    with pytest.raises(SaeError, match=rf"; {says} 0\.\d+ fits; .*{re.escape(cure)}"):
        check_fit(lake, lake.config.saes)


def test_a_transcoder_is_held_to_what_its_module_returns(tmp_path: Path, make_experiment: Experiment) -> None:
    folder = write_random_sae(tmp_path / "sae", transcode=True)
    entry = {"name": "t", "source": str(folder), "hookpoint": "layers.1.mlp", "n_features": 64}
    lake = fitted(make_experiment(saes=[entry]))
    rows = lake.query("sae_fits", sae="t")
    coder = load_sparse_coder(folder)
    contexts = lake.query("fit_contexts", fit_tokens=129, fit_documents=16)
    reads, target = Hookpoint("layers.1.mlp", "input"), Hookpoint("layers.1.mlp")
    states = write._Sample(lake.config, contexts).read([reads, target], prepend_bos=False)
    assert rows["fvu"][0] == measure(coder, states[reads], states[target]).fvu


@pytest.mark.parametrize("target", ["hook_mlp_out", "hook_resid_post", None])
def test_a_transcoder_is_held_to_the_place_that_its_files_say(
    tmp_path: Path, make_experiment: Experiment, target: str | None
) -> None:
    weights = random_weights(64, WIDTH, 4)
    folder = LAYOUTS["saelens"].write(tmp_path / "sae", weights)
    config = json.loads((folder / "cfg.json").read_text())
    places = {"hook_name": "blocks.1.hook_mlp_in"} | ({"hook_name_out": f"blocks.1.{target}"} if target else {})
    config |= {"architecture": "jumprelu_transcoder", "apply_b_dec_to_input": False}
    write_json(folder / "cfg.json", {**config, "metadata": {**config["metadata"], **places}})
    entry = {"name": "t", "source": str(folder), "hookpoint": "blocks.1.hook_mlp_in", "n_features": 64}
    lake = fitted(make_experiment(saes=[entry]))
    contexts = lake.query("fit_contexts", fit_tokens=129, fit_documents=16)
    subject = lake.config.subject
    reads = resolve_hookpoint(subject, "resid_mid.1")
    right = resolve_hookpoint(subject, "resid_post.1" if target == "hook_resid_post" else "mlp_out.1")
    states = write._Sample(lake.config, contexts).read([reads, right], prepend_bos=False)
    coder = load_sparse_coder(folder)
    assert lake.query("sae_fits", sae="t")["fvu"][0] == measure(coder, states[reads], states[right]).fvu
    write_tokens(lake)
    logits.write_feature_logits(lake, "t")
    paths = rows_of(lake, "select distinct path from feature_logits")
    assert paths == [{"path": "residual" if target == "hook_resid_post" else "direct"}]


@pytest.mark.parametrize(
    ("reads", "writes", "targets"),
    [
        ("mlp_in.0", "mlp_out.1", {"attn_in.0": "mlp_out.1", "resid_mid.0": "mlp_out.1", "mlp_in.1": "mlp_out.2"}),
        ("mlp_in.1", "mlp_out.1", {"attn_in.1": "mlp_out.1", "mlp_in.0": "mlp_out.0", "mlp_in.2": "mlp_out.2"}),
        ("resid_pre.1", "mlp_out.1", {"resid_mid.1": "mlp_out.1", "resid_post.1": "mlp_out.2"}),
        ("resid_pre.1", "mlp_out.2", {"resid_mid.1": "mlp_out.2", "resid_pre.0": "mlp_out.1"}),
    ],
)
def test_a_transcoder_that_writes_to_another_layer_is_tried_with_its_target_as_many_layers_on(
    tmp_path: Path, make_experiment: Experiment, reads: str, writes: str, targets: dict[str, str]
) -> None:
    coder = load_sparse_coder(write_random_sae(tmp_path / "sae", transcode=True))
    subject = make_experiment().subject
    own = Hookpoints(reads, resolve_hookpoint(subject, reads), resolve_hookpoint(subject, writes))
    tried = {each.name: each.target for each in nearby_hookpoints(subject, coder, own)}
    assert {name: tried[name] for name in targets} == {
        name: resolve_hookpoint(subject, target) for name, target in targets.items()
    }


# Where it stops -------------------------------------------------------------------------------------------


def test_nothing_is_cached_for_a_misfit_unless_the_config_accepts_it(
    make_sae: Any, make_experiment: Experiment
) -> None:
    entry = make_sae("layers.1", hookpoint="layers.2")
    lake = fitted(make_experiment(saes=[entry]))
    write_contexts(lake, 0)
    with pytest.raises(SaeError, match="does not fit"):
        write_activation_shards(lake, 0)
    assert not lake.has("activation_shards", sae="made", shard=0)
    accepting = open_lake(make_experiment(saes=[{**entry, "fit": "accept"}]))
    assert accepting.has("sae_fit", sae="made")  # accepting makes nothing anew
    write_activation_shards(accepting, 0)
    assert accepting.has("activation_shards", sae="made", shard=0)
    assert is_misfit(accepting, "made") and "does not fit" in fit_sentence(accepting, "made")
    assert "; accepted in the config (saes.fit: accept); tried: " in fit_sentence(accepting, "made")


def test_an_sae_that_was_not_measured_is_not_cached(make_sae: Any, make_experiment: Experiment) -> None:
    lake = open_lake(make_experiment(saes=[make_sae("layers.1")]))
    write_saes(lake)
    write_documents(lake)
    write_contexts(lake, 0)
    with pytest.raises(LakeError, match=r"'sae_fit' of SAE 'made' is not complete .* 'tiny/sae_fit' first"):
        write_activation_shards(lake, 0)


def test_the_graph_stops_at_a_misfit_and_says_why(
    make_sae: Any, make_experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = make_sae("layers.1", hookpoint="layers.2")
    for fit, is_stopped in (("check", True), ("accept", False)):
        config = make_experiment(saes=[{**entry, "fit": fit}])
        first = next(missing_steps(config))
        tables = ["saes", "sae_fit", "documents"]
        assert first.job == "corpus" and (fit == "accept" or {*tables} <= {*first.tables})
        with dg.DagsterInstance.ephemeral() as instance:
            result = (
                build_definitions(config)
                .resolve_job_def("corpus")
                .execute_in_process(
                    instance=instance,
                    asset_selection=[dg.AssetKey(["tiny", table]) for table in tables],
                    raise_on_error=False,
                )
            )
        [found] = [each for each in result.get_asset_check_evaluations() if each.check_name == "every_sae_fits"]
        assert found.passed != is_stopped and found.blocking
        assert "SAE 'made' at 'layers.2' does not fit" in (found.description or "")
        capsys.readouterr()  # Dagster's log
        assert print_failures(result.all_events) == is_stopped
        said = capsys.readouterr().err
        assert said.count("\n") == 2 * is_stopped  # which check, and a sentence: no stack trace of Dagster's


def test_another_sae_is_measured_without_the_first_again(
    make_sae: Any, make_experiment: Experiment, tmp_path: Path
) -> None:
    entry = make_sae("layers.1")
    lake = fitted(make_experiment(saes=[entry]))
    stamp = lake.path("sae_fit", sae="made").stat().st_mtime_ns
    second = {"name": "random", "source": str(write_random_sae(tmp_path / "random")), "hookpoint": "layers.1"}
    both = fitted(make_experiment(saes=[entry, {**second, "n_features": 64}]))
    assert both.path("sae_fit", sae="made").stat().st_mtime_ns == stamp
    assert both.is_complete("sae_fit") and is_misfit(both, "random")
    assert "nothing that was tried fits" in fit_sentence(both, "random")


def test_a_corpus_of_one_token_tells_nothing_and_stops_nothing(
    make_sae: Any, make_experiment: Experiment, tmp_path: Path
) -> None:
    entry = make_sae("layers.1")
    path = tmp_path / "short.jsonl"
    path.write_text(json.dumps({"text": " stop"}) + "\n")
    lake = fitted(make_experiment(saes=[entry], corpus={"sources": [{"kind": "jsonl", "path": str(path)}]}))
    [own] = rows_of(lake, "select fits, n_tokens from sae_fit where is_configured")
    assert own == {"fits": None, "n_tokens": 0}
    assert "too few tokens" in fit_sentence(lake, "made")
    check_fit(lake, lake.config.saes)


def test_the_documents_are_drawn_by_hash(make_experiment: Experiment) -> None:
    lake = open_lake(make_experiment())
    write_documents(lake)
    drawn = [lake.query("fit_contexts", fit_tokens=20, fit_documents=5) for _ in range(2)]
    assert drawn[0].equals(drawn[1])
    assert drawn[0]["token_ids"].list.len().to_list() == [20] * 5
    assert drawn[0]["is_screened"].list.len().to_list() == [20] * 5
    screened = drawn[0]["is_screened"].list.explode()
    assert 0.1 < screened.mean() < 0.45 and drawn[0]["is_screened"].n_unique() == 5  # not the same positions
    stored = pl.read_parquet(lake.path("documents"))["token_ids"].list.head(20).to_list()
    assert drawn[0]["token_ids"].to_list() != stored[:5]
