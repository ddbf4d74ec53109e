"""`latentlake benchmark-scorers`: a plain mistake is one sentence, and found before anything is planted."""

from pathlib import Path
from typing import Any

import pytest
from tiny import write_experiment

from assets.command import commands, run_command
from pipeline.planting import experiment
from pipeline.planting.experiment import plant_experiment
from pipeline.planting.plants import Plant

PLANT = Plant("token", {20: 1.0}, (), range(0), (7,), {})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scorers", "detecton"], "'scorers': no scorer is named 'detecton'; nearest: 'detection',"),
        (["--scorers", "detection@mini"], "scorer 'detection@mini' names the model 'mini', which is not in"),
        (["--scorers", "detection,detection"], "'scorers': the list of scorers has a name twice"),
        (["--n-questions", "3"], "3 is not in the range 4<=x<=200"),
        (["--n-questions", "201"], "201 is not in the range 4<=x<=200"),
        (["--per-kind", "0"], "0 is not in the range x>=1"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_anything_is_planted(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    tiny_subject: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("planted")

    monkeypatch.setattr(experiment, "_plant", never)
    path = write_experiment(tmp_path, subject={"model": str(tiny_subject)})
    assert run_command(["benchmark-scorers", str(path), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_where_no_scorer_can_judge_plants_it_says_why(
    tmp_path: Path, make_experiment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "_plant", lambda *_: (tmp_path / "planted", [PLANT]))
    config = make_experiment()
    with pytest.raises(
        experiment.ConfigError, match=r"no scorer can judge planted features; intruder: .*controls is 0"
    ):
        plant_experiment(config, 1, 4, ["intruder"])
    planted = plant_experiment(config, 1, 4, ["intruder", "detection"])
    assert (planted.config.scoring.scorers, planted.left_out.keys()) == (("detection",), {"intruder"})


def test_names_may_have_spaces_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr("assets.run.scorers_benchmark.benchmark_scorers", lambda *each: given.append(each) or 0)
    command = commands.commands["benchmark-scorers"]
    with command.make_context("it", ["mine.yaml", "--scorers", "detection, fuzzing"]) as context:
        command.invoke(context)
    assert given == [("mine.yaml", 30, 10, ["detection", "fuzzing"])]
