"""docs/performance.md shows every result, with targets that are still those of the code."""

import json
from pathlib import Path

import pytest

from benchmarks import report


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
