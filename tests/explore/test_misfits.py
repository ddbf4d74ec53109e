"""An SAE that does not fit its hookpoint and was accepted: whatever shows it says so, and only then."""

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from explored import TOKEN, client
from rich.console import Console
from tiny import STOP
from waiting import loaded

import pipeline
from pipeline.commands import export
from pipeline.commands.fires import print_fires
from pipeline.commands.rule import print_rule
from pipeline.config import Config, load_config
from pipeline.explore.site import write_site
from pipeline.exports import exported_sae
from pipeline.fit.verdict import misfit_sentence, misfit_sentences
from pipeline.plugins import find_plugins
from pipeline.show.closing import print_closing_table
from pipeline.show.report import REPORT_FILE, write_report
from pipeline.show.run_card import card_markdown, run_card
from pipeline.show.terminal import printable
from pipeline.sources import recorded_lake
from pipeline.tables import TABLES

SAE = "hand-set"
PLACE = "embed<b>tokens\x1b[31m"
"""Its hookpoint as the table has it; what a table says is not trusted."""
SENTENCE = printable(
    f"SAE '{SAE}' at '{PLACE}' does not fit: FVU 1.31 on this corpus; nothing that was tried fits; "
    "accepted in the config (saes.fit: accept)"
)
WORDS = re.compile("does not fit|Misfit")

PAGES = {
    "/features": ["/features", "/features?words=stop", f"/features?sae={SAE}&sort=score"],
    "/features/{sae}/{feature:number}": [f"/features/{SAE}/{STOP}", f"/features/{SAE}/2?windows=all"],
    "/features/{sae}/{feature:number}/requests": [f"/features/{SAE}/{STOP}/requests"],
    "/run": ["/run"],
    "/sql": ["/sql", "/sql?q=from+saes"],
    "/text": ["/text", "/text?text=the+red+stop"],
    "/readers": ["/readers"],
    "/readers/next": ["/readers/next?rater=Ada"],
}
SHOW_NONE = {"/", "/style.css", "/icon.svg"}


@pytest.fixture(params=[True, False], ids=["misfit", "fits"])
def is_misfit(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def path(finished: Path, tmp_path: Path, is_misfit: bool) -> Path:
    """The config of a copy of the finished experiment, with its SAE measured to fit or not to."""
    values = yaml.safe_load(finished.read_text(encoding="utf-8"))
    shutil.copytree(load_config(finished).lake_folder, tmp_path / "lake" / values["name"])
    values["machine"]["lake"] = str(tmp_path / "lake")
    values["saes"][0]["aliases"] = ["tiny/2-stops"]  # as Neuronpedia wants; no explanation is made anew for it
    path = tmp_path / finished.name
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    lake = recorded_lake(load_config(path))
    [row] = lake.query("sae_fits", sae=SAE).filter("is_configured").to_dicts()
    row |= {"hookpoint": PLACE, "fvu": 1.31, "fits": False} if is_misfit else {"fvu": 0.2, "fits": True}
    row |= {"declared_l0": None}
    schema = TABLES["sae_fit"].schema
    lake.write("sae_fit", pl.DataFrame([row], infer_schema_length=None).to_arrow().cast(schema), sae=SAE)
    return path


@pytest.fixture
def config(path: Path) -> Config:
    return load_config(path)


def check(text: str, is_misfit: bool, where: object) -> None:
    """It says so, or it says nothing."""
    assert "\x1b[31m" not in text, where
    if is_misfit:
        assert SENTENCE in " ".join(unescape(text).split()), where
    else:
        assert not WORDS.search(text), where


@pytest.mark.whole
def test_every_page_of_the_explorer_says_so(config: Config, is_misfit: bool, tmp_path: Path) -> None:
    browser = client(config)
    assert {route.path for route in browser.app.routes} - SHOW_NONE == PAGES.keys()  # type: ignore[attr-defined]
    browser.get("/readers", params={"token": TOKEN})
    for address in (address for some in PAGES.values() for address in some):
        page = loaded(browser, address)
        check(page, is_misfit, address)
        assert "<b>" not in page, address
        assert page.count('<p class="misfit" role="note">') == is_misfit, address
    assert "Rated" not in loaded(browser, "/readers/next?rater=Ada")
    assert not WORDS.search(browser.get(f"/features/{SAE}/999").text)  # it shows no SAE
    assert not WORDS.search(browser.get("/features?words=nowhere").text)
    site = write_site(config, tmp_path / "site")
    files = sorted(site.folder.rglob("*.html"))
    assert len(files) > 3
    for file in files:
        page = file.read_text(encoding="utf-8")
        check(page, is_misfit, file)
        assert "<b>" not in page, file


@pytest.mark.whole
def test_report_and_run_card_say_so(config: Config, is_misfit: bool) -> None:
    lake = recorded_lake(config)
    folder = write_report(lake).folder
    page = (folder / REPORT_FILE).read_text(encoding="utf-8")
    check(page, is_misfit, REPORT_FILE)
    assert "<b>" not in page
    card = run_card(lake)
    assert (card["saes"][0]["misfit"] is None) != is_misfit
    assert (SENTENCE in card_markdown(card)) == is_misfit
    assert bool(WORDS.search(card_markdown(card))) == is_misfit


@pytest.mark.whole
def test_every_export_says_so(
    path: Path, is_misfit: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "exported_sae", lambda *given: exported_sae(*given)._replace(layer=2))
    for name in find_plugins("exports"):
        folder = export.write_export(str(path), name)
        check(capsys.readouterr().out, is_misfit, name)
        assert (SENTENCE in (folder / "run_card.md").read_text(encoding="utf-8")) == is_misfit
        if name == "neuronpedia":
            [source] = folder.glob("v1/*/*/source.jsonl")
            check(json.loads(source.read_text())["notes"], is_misfit, source)


@pytest.mark.whole
def test_what_is_printed_says_so(path: Path, is_misfit: bool, capsys: pytest.CaptureFixture[str]) -> None:
    print_fires(str(path), " the red stop")
    check(capsys.readouterr().out, is_misfit, "fires")
    print_rule(str(path), SAE, str(STOP), "token is ' stop'")
    check(capsys.readouterr().out, is_misfit, "rule")
    config = load_config(path)
    card = pipeline.open_lake(config.lake_folder).feature(SAE, STOP)
    assert bool(card.misfit) == bool(WORDS.search(repr(card))) == is_misfit
    console = Console(record=True, width=500, file=StringIO())
    print_closing_table(recorded_lake(config), console)
    said = console.export_text()
    assert "\x1b[31m" not in said and bool(WORDS.search(said)) == is_misfit
    assert ("accepted in the config (saes.fit: accept)" in said) == is_misfit


def row(sae: str, **changes: Any) -> dict[str, Any]:
    own = {"sae": sae, "hookpoint": "layers.9", "is_centred": False, "normalisation": "own", "weights": "own",
           "prepend_bos": False, "fvu": 0.6, "l0": 32.0, "declared_l0": 32.0, "fits": False}  # fmt: skip
    return own | changes


def test_the_sentence_names_what_fits_and_whether_the_config_accepts_it(
    make_experiment: Callable[..., Config],
) -> None:
    says = "SAE 'a' at 'layers.9' does not fit: FVU 0.60 on this corpus"
    better = row("a", hookpoint="layers.8", fvu=0.3, fits=True)
    assert misfit_sentence([row("a"), better]) == f"{says}; layers.8 0.30 fits"
    far = f"{says}, 400.0 firings per token, but its files declare 32; nothing that was tried fits"
    assert misfit_sentence([row("a", l0=400.0)]) == far
    refused = "the config does not accept it (saes.fit: check)"
    assert misfit_sentence([row("a")], "check").endswith(f"; {refused}")
    for fits in (True, None):
        assert misfit_sentence([row("a", fits=fits, fvu=None)]) == ""
    assert misfit_sentence([]) == ""
    own = make_experiment().saes[0]
    saes = [own.model_copy(update={"name": name}) for name in ("b", "a", "c")]
    rows = [row("a"), better, row("b", fits=True), row("gone")]
    assert [*misfit_sentences(rows, saes)] == ["a"]
