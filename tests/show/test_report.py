"""The report: one file that needs nothing beside it, with every figure or what it lacks; and the run card."""

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.graph.build import build_definitions
from assets.run.experiment import make_report
from pipeline.config import LAKE_VARIABLE, Config, load_config
from pipeline.errors import LakeError
from pipeline.lake import Lake
from pipeline.show.figures import FIGURES, draw, inline
from pipeline.show.report import REPORT_FILE, _page, explainer_labels, write_report
from pipeline.show.run_card import card_markdown, run_card
from pipeline.sources import recorded_lake

pytestmark = pytest.mark.whole


class Page(HTMLParser):
    """What a page is made of: its tags with their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, attribute: str) -> list[str]:
        return [found for _, attributes in self.tags if (found := attributes.get(attribute)) is not None]


@pytest.fixture(scope="module")
def config(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The finished experiment, with a lake of its own that a report may be written into."""
    config = load_config(finished)
    folder = tmp_path_factory.mktemp("reported")
    shutil.copytree(config.lake_folder, folder / config.name)
    return config.model_copy(update={"machine": config.machine.model_copy(update={"lake": str(folder)})})


@pytest.fixture(scope="module")
def lake(config: Config) -> Lake:
    return recorded_lake(config)


@pytest.fixture(scope="module")
def made(config: Config) -> Any:
    """What Dagster knows of the report, which it has made."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = build_definitions(config).resolve_job_def("report").execute_in_process(instance=instance)
        assert result.success
        [event] = result.get_asset_materialization_events()
        return event.step_materialization_data.materialization.metadata


@pytest.fixture(scope="module")
def text(made: Any) -> str:
    return Path(made["path"].value).read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script(text: str) -> None:
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "img"} & {tag for tag, _ in page.tags}
    addresses = [*page.all("src"), *page.all("href"), *page.all("xlink:href")]
    assert addresses and all(each.startswith("#") for each in addresses)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "default-src 'none'" in text and "@import" not in text


def test_names_in_the_page_are_one_and_links_lead_somewhere(text: str) -> None:
    page = Page(text)
    names = page.all("id")
    assert len(names) == len(set(names))
    assert {each[1:] for each in [*page.all("href"), *page.all("xlink:href")]} <= set(names)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(names)


def test_every_figure_is_there_with_its_files_or_says_what_is_missing(text: str, made: Any, lake: Lake) -> None:
    folder = Path(made["path"].value).parent
    there = {path.stem for path in folder.glob("*.svg")}
    assert there == {path.stem for path in folder.glob("*.png")}
    assert {"report_routes", "report_explainers", "report_strata", "report_scorer_pairs"} <= there
    for figure in FIGURES:
        section = text[text.index(f'<section id="{figure.name}">') :].partition("</section>")[0]
        assert ("<svg" in section) == (figure.name in there) == (figure.title in made)
        assert (f"No data: {figure.missing}" in section) != (figure.name in there)
    assert "an oracle" in text  # what its scores are worth is said


def test_a_lake_without_an_explanation_still_has_its_report(
    config: Config, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(config.lake_folder, tmp_path / config.name)
    for table in ("explanations", "predictions", "scores", "score_details", "summary"):
        for path in (tmp_path / config.name / table).rglob("*.parquet"):
            if path.name != "schema.parquet":
                path.unlink()
    shutil.rmtree(tmp_path / config.name / "ledger")
    bare = config.model_copy(update={"machine": config.machine.model_copy(update={"lake": str(tmp_path)})})
    report = write_report(recorded_lake(bare))
    page = (report.folder / REPORT_FILE).read_text(encoding="utf-8")
    assert "Where the features went" in report.pictures and page.count("No data: ") >= 5
    monkeypatch.setenv(LAKE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    assert make_report(str(finished)) == 0


def test_hostile_text_is_shown_and_not_run(lake: Lake) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    row = {"feature": 1, "is_best": True, "explainer": hostile, "explanation": hostile, "value": 0.5, "low": None,
           "high": None, "pieces": [(hostile, "0.50")]}  # fmt: skip
    page = _page(card=run_card(lake), figures=[], small=[hostile], ranked=[{"sae": hostile, "rows": [row]}])
    assert not {"script", "img"} & {tag for tag, _ in Page(page).tags}
    assert page.count("&lt;script&gt;") == 5


ROWS = {
    "report_neighbours": [
        {"sae": sae, "explainer": who, "is_control": who == "empty", "rank": rank, "mean": 0.5, "ci_low": 0.2,
         "ci_high": 0.8}
        for sae in ("one", "two") for who in ("default", "empty") for rank in (1, 2, 3)
    ],
    "method_costs": [
        {"purpose": "explain", "model": "$m_1", "prompt_tokens": 10.0, "prompt_tokens_a_feature": 10.0,
         "completion_tokens_a_feature": 2.0},
    ],
    "report_independence": [
        {"sae": f"layers.{layer}", "threshold": threshold, "share_of_candidates": 0.5, "ci_low": 0.4,
         "ci_high": 0.7}
        for layer in range(4) for threshold in (0.3, 0.9)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ROWS))
def test_figures_of_what_a_small_lake_has_none_of_can_be_drawn(name: str) -> None:
    [figure] = [each for each in FIGURES if each.name == name]
    picture = draw(figure, pl.DataFrame(ROWS[name]), {"default": "default (10 top)"})
    assert picture.png.startswith(b"\x89PNG") and "</svg>" in picture.svg
    assert draw(figure, pl.DataFrame(ROWS[name]), {"default": "default (10 top)"}) == picture
    shown = inline(figure, picture)
    assert shown.startswith("<svg role=") and "currentColor" in shown and "#ffffff" not in shown


def test_an_explainer_is_called_by_what_it_is_shown(make_experiment: Callable[..., Config]) -> None:
    config = make_experiment(explaining={"explainers": ["rule", "default"], "n_examples": 7, "sampling": "top"})
    assert explainer_labels(config) == {"rule": "rule", "default": "default (7 top)"}


def test_the_run_card_says_what_made_the_numbers_and_no_path_of_this_machine(lake: Lake) -> None:
    card = run_card(lake)
    assert json.loads(json.dumps(card)) == card
    assert card["corpus"]["sha256"] == lake.hashes.corpus
    assert [sae["weights_hash"] for sae in card["saes"]] == [lake.hashes.saes["hand-set"]]
    assert card["tables"]["summary"] == lake.folder("summary").name
    assert card["prompts"]["explainers"].keys() == {"rule", "default"}
    assert {row["purpose"] for row in card["asked"]} == {"explain", "detection", "fuzzing"}
    words = card_markdown(card)
    assert card["spent"]["requests"] >= sum(row["n_requests"] for row in card["asked"]) > 0
    assert f"In the lake's lifetime {card['spent']['requests']} requests were answered, for 0.0000 USD" in words
    assert card["config_sha256"] in words and card["cite"] in words and "an oracle" in words
    assert str(lake.root.parent) not in json.dumps(card) + words
    assert "machine" not in card["config"]


def test_results_of_another_config_are_not_reported_as_none(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.yaml"
    config = load_config(finished)
    path.write_text(
        finished.read_text(encoding="utf-8").replace("n_examples: 10", "n_examples: 7"), encoding="utf-8"
    )
    assert load_config(path).explaining.n_examples != config.explaining.n_examples
    with pytest.raises(LakeError, match=r"'explanations' in '.*' were made by another config .* run again"):
        make_report(str(path))
    assert not (config.lake_folder / "report").exists()
