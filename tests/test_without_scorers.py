"""`scoring.scorers: []`: explanations without scores, from the estimate to the report."""

import re
import shutil
from pathlib import Path

import pytest
from tiny import hand_set_entry, rows_of, write_experiment

from assets.command import run_command
from pipeline.asking.unfinished import unfinished_batches
from pipeline.config import load_config
from pipeline.explore.catalog import Catalog
from pipeline.sources import recorded_lake

pytestmark = pytest.mark.whole


@pytest.fixture
def path(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment without scorers, whose data half is made."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    shutil.copytree(prepared / "lake", tmp_path / "lake")
    return write_experiment(
        tmp_path,
        subject={"model": load_config(prepared / "tiny.yaml").subject.model},
        saes=[hand_set_entry(prepared / "sae")],
        corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
        explaining={"provider": "oracle"},
        scoring={"scorers": [], "pilot_features": 32, "threshold": "controls"},
    )


def test_explanations_without_scores_are_a_finished_experiment(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("estimate", "run", "report"):
        assert run_command([command, str(path)]) == 0
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "explanations that no scorer judged" in said and "the token is ' stop'" in said
    assert "intervals assume" not in said
    lake = recorded_lake(load_config(path))
    assert rows_of(lake, "select distinct purpose from llm_requests") == [{"purpose": "explain"}]
    assert rows_of(lake, "select distinct scorer from scores") == [{"scorer": "rule_exact"}]
    assert rows_of(lake, "from explanations where explainer = 'default' and status = 'ok'")
    assert not rows_of(lake, "from predictions") and not rows_of(lake, "from scorer_rhos")
    assert not unfinished_batches(lake)
    with Catalog(lake.config).reading() as reader:
        assert not reader.rows("unfinished_batches")
    assert "not judged by a scorer" in (lake.root / "report" / "report.html").read_text(encoding="utf-8")


def test_a_scorer_that_is_added_later_judges_what_is_explained(path: Path) -> None:
    assert run_command(["run", str(path)]) == 0
    explained = recorded_lake(load_config(path)).paths("explanations", sae="hand-set", batch=0)
    text = path.read_text(encoding="utf-8").replace("scorers: []", "scorers: [detection]")
    path.write_text(text.replace("  pilot_features: 32\n", "  provider: oracle\n  pilot_features: 0\n"))
    lake = recorded_lake(load_config(path))
    assert unfinished_batches(lake) == [("hand-set", 0)]
    assert lake.paths("explanations", sae="hand-set", batch=0) == explained
