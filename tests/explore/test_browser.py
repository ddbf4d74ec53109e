"""The pages in a real browser: nothing of a hostile corpus runs, nothing is cut off, axe finds no serious fault.

`LATENTLAKE_CHROMIUM` names a Chromium. axe-core (MPL 2.0) is that of the package axe-playwright-python, of which
nothing else is used: `pip install --no-deps axe-playwright-python`.
"""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
from explored import TOKEN

from benchmarks.chromium import Page
from benchmarks.explorer_lake import SAE
from benchmarks.pictures import serving
from pipeline import open_lake
from pipeline.config import Config, load_config
from pipeline.explore.readers import keep_rating
from pipeline.explore.site import write_site

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not os.environ.get("LATENTLAKE_CHROMIUM"), reason="LATENTLAKE_CHROMIUM names no Chromium"),
]

PAGES = (
    "/features",
    "/features?words=nowhere",
    f"/features/{SAE}/8?windows=all",
    f"/features/{SAE}/3",
    f"/features/{SAE}/8/requests",
    f"/features/{SAE}/999",
    "/run",
    "/sql?q=select+1+as+one,+%27two%27+as+two",
    "/text",
    "/readers",
    "/readers/next?rater=Ada",
)


@pytest.fixture(scope="module")
def axe() -> str:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("axe is not there: pip install --no-deps axe-playwright-python")
    return (Path(str(found.origin)).parent / "axe.min.js").read_text(encoding="utf-8")


def serious_faults(page: Page, axe: str) -> list[dict[str, Any]]:
    page.evaluate(axe + ";0")
    found = page.evaluate("axe.run().then(found => JSON.stringify(found.violations))")
    return [
        {"rule": fault["id"], "where": [node["html"][:200] for node in fault["nodes"][:3]]}
        for fault in json.loads(found)
        if fault["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_sound(served: str, chromium: Page, address: str) -> None:
    chromium.look_like(1400, 1000)
    chromium.open(f"{served}/readers?token={TOKEN}".replace(" ", "%20"))  # the cookie that lets rate
    chromium.complaints.clear()
    chromium.open(served + address)
    assert chromium.evaluate("document.scripts.length") == 0
    assert chromium.evaluate("document.querySelectorAll('[onmouseover]').length") == 0
    assert chromium.evaluate("document.querySelector('main').innerText.trim().length") > 20
    assert not [each for each in chromium.complaints if "404" not in each]  # of refused content, say
    chromium.look_like(400, 900)
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 400


def test_many_scorers_leave_explanations_and_windows_their_width(served: str, chromium: Page) -> None:
    chromium.look_like(1400, 1000)
    chromium.open(f"{served}/features/{SAE}/8")
    for cell in (".explanations td", ".windows td:nth-child(2)"):
        assert chromium.evaluate(f"document.querySelector('{cell}').clientWidth") > 600
    named = "getComputedStyle(document.querySelectorAll('.explanations td')[2], '::before').content"
    assert "fuzzing" in chromium.evaluate(named)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("address", PAGES)
def test_axe_finds_no_serious_fault(served: str, chromium: Page, axe: str, address: str, is_dark: bool) -> None:
    chromium.look_like(1400, 1000, is_dark=is_dark)
    chromium.open(f"{served}/readers?token={TOKEN}".replace(" ", "%20"))
    chromium.open(served + address)
    assert serious_faults(chromium, axe) == []


def test_what_readers_said_fits_a_narrow_window(config: Config, chromium: Page) -> None:
    lake = open_lake(config.lake_folder)
    asked = lake.sql("select explanation_id, sha256(explanation) from explanations limit 12")
    for rater in ("Ada", "Grace"):
        for shown in asked.iter_rows():
            keep_rating(config.lake_folder, *shown, rater, "fits")
    with serving(config, TOKEN) as address:
        chromium.look_like(390, 900)
        chromium.open(f"{address}/readers")
        assert "Ada and Grace" in chromium.evaluate("document.querySelector('main').innerText")
        assert chromium.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_site_is_sound_without_a_server(made: Path, chromium: Page, tmp_path: Path) -> None:
    site = write_site(load_config(made / "synthetic.yaml"), tmp_path / "site", "feature in (3, 8)")
    chromium.complaints.clear()
    for file in ("index.html", "run.html", f"features/{SAE}/8.html"):
        chromium.look_like(1400, 1000)
        chromium.open((site.folder / file).as_uri())
        assert chromium.evaluate("getComputedStyle(document.body).margin") == "0px"  # the sheet was read
        chromium.look_like(400, 900)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= 400
    assert chromium.complaints == []
