"""A whole benchmark of every scorer, on few plants in a tiny corpus: who can judge what, and how it is shown."""

from pathlib import Path

import pytest
from rich.console import Console
from tiny import write_corpus, write_experiment

from assets.run.scorers_benchmark import judge_plants
from benchmarks.pages.scorers import result_lines
from benchmarks.scorers import content_of
from pipeline.config import load_config
from pipeline.planting import experiment
from pipeline.planting.experiment import JudgedPlants
from pipeline.planting.report import benchmark_page, planted_shares, why_not
from pipeline.plugins import find_plugins

pytestmark = pytest.mark.whole

EFFECT = {"intervention", "intervention_surprisal"}
STEERING = {"n_held_out": 8, "prompt_tokens": 8, "new_tokens": 6, "n_trials": 2, "set_size": 1, "pool": 4}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, tiny_subject: Path) -> JudgedPlants:
    folder = tmp_path_factory.mktemp("planted")
    write_corpus(folder / "corpus", n_documents=120)
    truthful = {"false_positive_rate": 0.0, "false_negative_rate": 0.0}
    scoring = {
        **{"provider": "oracle", "oracle": truthful, "intervention": STEERING, "generation": {"n_texts": 3}},
        **{"intervention_surprisal": {"model": "subject"}},
    }
    path = write_experiment(folder, subject={"model": str(tiny_subject)}, scoring=scoring)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder / "dagster"))
        patch.setattr(experiment, "_DEMO", path)
        made = judge_plants(load_config(path), 4, 6, None, Console(quiet=True))
    assert made is not None
    return made


def test_every_scorer_but_one_judges_and_each_only_what_it_can(judged: JudgedPlants) -> None:
    assert judged.left_out.keys() == {"intruder"}, "it needs no explanation"
    shares = planted_shares(judged)
    silent = {name: why_not(judged.lake, name) for name in find_plugins("scorers")}
    assert {*shares["scorer"]} == {*find_plugins("scorers")} - {"intruder"}, silent
    assert "position" not in {*shares["kind"]} | {*judged.explanations["kind"].to_pylist()}
    for scorer in {*shares["scorer"]}:
        faults = {*shares.filter(scorer=scorer)["fault"]}
        assert ("none" in faults, "promoted" in faults) == (scorer in EFFECT, scorer not in EFFECT), scorer
    best = {row["scorer"]: row["share"] for row in shares.filter(kind="all", fault="all").iter_rows(named=True)}
    for scorer in ("detection", "neighbours", "graded", "simulation", "intervention"):
        assert best[scorer] > 0.5, f"{scorer} is told the truth"


def test_its_pages_say_who_is_not_applicable_and_what_each_asked(judged: JudgedPlants) -> None:
    page = benchmark_page(judged)
    assert "| `position` | not applicable |" in page and "**intruder**: not applicable: " in page
    assert "**surprisal**, by auroc; asks no model" in page and "**detection**, by balanced accuracy; asks" in page
    lines = result_lines(content_of(judged, 4))
    assert "| scorer | all | firing | too broad | too narrow | wrong | of another | echo |" in lines
    assert any(line.startswith("| `surprisal` | auroc | none |") for line in lines)
    assert any(line.startswith("- `intruder`: ") for line in lines)
