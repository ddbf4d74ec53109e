"""What an SAE's files do not hold, and decides its firings all the same: it is recorded, and held to."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sae_layouts import LAYOUTS, random_weights, write_json
from tiny import WIDTH

from pipeline.config import Config
from pipeline.errors import SaeError
from pipeline.sae.sources import Source
from pipeline.sources import SOURCES_FILE, fix_sources


@pytest.fixture
def held(make_experiment: Callable[..., Config], tmp_path: Path) -> Callable[[Path | str], Config]:
    """A function that holds the lake's one SAE, wherever it lies now, to what is recorded of it."""

    def hold(source: Path | str) -> Config:
        sae = {"name": "mine", "source": str(source), "hookpoint": "layers.1", "n_features": 20}
        config = make_experiment(saes=[sae])
        fix_sources(config)
        return config

    return hold


def written(format: str, folder: Path) -> Path:
    return LAYOUTS[format].write(folder, random_weights(20, WIDTH, 3))


def moved(path: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True)
    return Path(shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target))


def recorded(config: Config) -> dict:
    return json.loads((config.lake_folder / SOURCES_FILE).read_text())["saes"]["mine"]


@pytest.mark.parametrize(
    ("format", "target", "says"),
    [
        ("qwen_scope", "SAE-Res-Qwen3-1.7B-Base-W32K-L0_7/layer3.sae.pt", "says k 7, and said k 3"),
        ("qwen_scope", "mine/layer3.sae.pt", "says k None, and said k 3"),
        (
            *("gemma_scope", "gemma-scope-2b-pt-transcoders/layer_9/width_16k/average_l0_88"),
            "says transcodes True, and said transcodes False",
        ),
        (
            *("gemma_scope", "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_88"),
            "says is_embedding True, and said is_embedding False",
        ),
        ("gemma_scope_2", "gemma-scope-2-270m-pt/transcoder/layer_12_width_16k_l0_medium", "says transcodes True"),
    ],
)
def test_the_same_files_where_the_path_says_something_else_are_another_sae(tmp_path, held, format, target, says):
    path = written(format, tmp_path / "sae")
    before = recorded(held(path))
    with pytest.raises(SaeError, match=f"SAE 'mine' at '.*' has the files that .* above them, {says}.*; put them"):
        held(moved(path, tmp_path / "elsewhere" / target))
    assert recorded(held(path)) == before


@pytest.mark.parametrize(
    ("format", "target"),
    [
        ("qwen_scope", "mine-L0_3/layer3.sae.pt"),
        ("gemma_scope", "mine/layer_9"),
        ("gemma_scope", "embedding/gemma-scope-2b-pt-res/layer_9/width_16k/average_l0_88"),
        ("gemma_scope_2", "mine/layer_12"),
        ("dictionary_learning", "mine"),
        ("sparsify", "layers.1"),
    ],
)
def test_the_same_files_elsewhere_are_the_same_where_the_path_says_nothing_else(tmp_path, held, format, target):
    path = written(format, tmp_path / "sae")
    before = recorded(held(path))
    after = recorded(held(moved(path, tmp_path / "elsewhere" / target)))
    assert after["digest"] == before["digest"] and after.get("outside") == before.get("outside")
    assert after["files"].keys() != before["files"].keys()


def test_a_config_above_an_sae_of_sparsify_that_makes_it_a_transcoder_makes_it_another(tmp_path, held):
    path = written("sparsify", tmp_path / "run" / "layers.1")
    said = json.loads((path / "cfg.json").read_text())
    write_json(path / "cfg.json", {key: said[key] for key in said if key != "transcode"})  # as in January 2025
    write_json(tmp_path / "run" / "config.json", {"model": "mine", "transcode": False})
    held(path)
    write_json(tmp_path / "run" / "config.json", {"model": "another, which no firing depends on"})
    held(path)
    write_json(tmp_path / "run" / "config.json", {"transcode": True})
    with pytest.raises(SaeError, match="says transcodes True, and said transcodes False"):
        held(path)


def test_a_lake_of_before_goes_on_and_knows_it_from_then_on(tmp_path, held):
    path = written("qwen_scope", tmp_path / "sae")
    config = held(path)
    file = config.lake_folder / SOURCES_FILE
    known = json.loads(file.read_text())
    del known["saes"]["mine"]["outside"]
    file.write_text(json.dumps(known))
    held(path)
    assert recorded(config)["outside"] == {"k": 3}


def test_after_a_push_to_the_hub_the_old_commit_is_named(tmp_path, held, monkeypatch):
    commits = ["0" * 40, "1" * 40]
    for number, commit in enumerate(commits):
        path = tmp_path / "models--me--mine" / "snapshots" / commit / "layers.1"
        LAYOUTS["sparsify"].write(path, random_weights(20, WIDTH, 3, seed=number))
        source = Source(path, commit)
        monkeypatch.setattr("pipeline.sae.finding.fetch", lambda *_, source=source: source)
        if commit == commits[0]:
            held("hf://me/mine/layers.1")
    with pytest.raises(SaeError, match=f"or set saes.source to the old commit, hf://OWNER/REPO@{commits[0]}/"):
        held("hf://me/mine/layers.1")
