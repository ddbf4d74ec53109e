"""docs/performance.md shows every result, with targets that are still those of the code."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import report

SAES = ("layers.9", "layers.9.mlp")
RULES = ("1_of_1", "with_token")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def write(folder: Path, name: str, target: float | None) -> None:
    figure = {"name": "neighbours_cpu_s", "value": 15.0, "unit": "CPU-s", "target": target, "better": "lower",
              "limit": None, "note": ""}  # fmt: skip
    content = {"figures": [figure], "machine": "2 cores", "date": "2026-11-27"}
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def test_the_page_is_that_of_the_results() -> None:
    assert report.PAGE.read_text(encoding="utf-8") == report.page()  # python -m benchmarks.report


def test_the_page_about_rules_says_what_the_results_say() -> None:
    demo, testbed = (
        {figure["name"]: figure for figure in json.loads((report.RESULTS / f"{name}.json").read_text())["figures"]}
        for name in ("rules", "rules_testbed")
    )
    n_tokens = testbed["layers.9_1_of_1_f1_0.7"]["note"].split("; ")[1]
    shares = [f"{testbed[f'{sae}_1_of_1_f1_{f1}']['value']:.1f}%" for sae in SAES for f1 in (0.7, 0.8)]
    shares += [f"{demo[f'layers.9_{which}_f1_{f1}']['value']:.0f}%" for which in RULES for f1 in (0.7, 0.8)]
    page = (report.PAGE.parent / "rules.md").read_text(encoding="utf-8")
    reached = page.partition("## What they reach")[2]
    assert f"on {n_tokens} of" in " ".join(reached.split())
    assert sorted(set(re.findall(r"[0-9.]+%", reached))) == sorted(set(shares))


def test_a_result_without_a_section_is_an_error(results: Path) -> None:
    write(results, "forgotten", None)
    with pytest.raises(ValueError, match=r"forgotten\.json has no section"):
        report.page()


def test_a_target_that_the_code_no_longer_has_is_an_error(results: Path) -> None:
    write(results, "neighbours", None)
    assert "15 CPU-s" in report.page()
    write(results, "neighbours", 7.25)
    with pytest.raises(ValueError, match=r"no longer has the target 7\.25 of neighbours_cpu_s"):
        report.page()
