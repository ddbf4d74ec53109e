"""A lake is held to its subject model, as to its SAEs and its corpus."""

import json
import os
import shutil
from pathlib import Path

import pytest
import transformers.utils.hub

from pipeline.errors import SubjectError
from pipeline.sources import SOURCES_FILE, fix_sources

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def model(tiny_subject: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, which a test may change."""
    return Path(shutil.copytree(tiny_subject, tmp_path / "model"))


@pytest.fixture
def experiment(make_experiment, model):
    return make_experiment(subject={"model": str(model)})


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_subject_model_that_is_another_now_stops_the_run_and_overwrites_nothing(experiment, model, name):
    fix_sources(experiment)
    before = (experiment.lake_folder / SOURCES_FILE).read_bytes()
    (model / name).write_bytes((model / name).read_bytes() + b" ")
    with pytest.raises(SubjectError, match=r"model '.*model' is not the one .* put the old files back, or"):
        fix_sources(experiment)
    assert (experiment.lake_folder / SOURCES_FILE).read_bytes() == before


def test_a_model_that_was_only_touched_is_the_same_and_a_note_beside_it_is_none_of_it(experiment, model):
    fix_sources(experiment)
    for path in model.iterdir():
        os.utime(path, ns=(1, 1))
    (model / "notes.md").write_text("mine", encoding="utf-8")
    fix_sources(experiment)


def test_a_lake_of_before_takes_its_model_as_it_is(experiment):
    fix_sources(experiment)
    path = experiment.lake_folder / SOURCES_FILE
    known = json.loads(path.read_text(encoding="utf-8"))
    assert known.pop("subjects")
    path.write_text(json.dumps(known), encoding="utf-8")
    fix_sources(experiment)
    assert json.loads(path.read_text(encoding="utf-8"))["subjects"]


def test_a_model_of_the_hub_is_held_to_its_commit(make_experiment, tmp_path, monkeypatch):
    commits = [OLD, OLD, NEW]

    def cached_file(name: str, file: str, revision: str | None) -> str:
        assert (name, file, revision) == ("someone/model", "config.json", None)
        return str(tmp_path / "models--someone--model" / "snapshots" / commits.pop(0) / file)

    monkeypatch.setattr(transformers.utils.hub, "cached_file", cached_file)
    config = make_experiment(subject={"model": "someone/model"})
    fix_sources(config)
    fix_sources(config)
    with pytest.raises(SubjectError, match=rf"set subject\.revision to the old commit, {OLD}"):
        fix_sources(config)


def test_a_model_that_is_not_there_is_named(make_experiment, tmp_path):
    with pytest.raises(SubjectError, match="no folder"):
        fix_sources(make_experiment(subject={"model": str(tmp_path / "nowhere")}))
