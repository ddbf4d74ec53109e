"""docs/your-sae.md: its table of configs is what comes out for files in these layouts, under these names."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants
from sae_layouts import (
    LAYOUTS,
    fired,
    largest,
    pre_activations,
    random_inputs,
    random_weights,
    same_firings,
    write_json,
)

from pipeline.commands.config import write_config
from pipeline.sae import load_sparse_coder

PAGE = (Path(__file__).parents[2] / "docs" / "your-sae.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|").split("|")]
    for line in PAGE.partition("## What `make config` writes")[2].partition("**What is tested")[0].splitlines()
    if line.startswith("|") and "`" in line and "FROM=" not in line
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORIES = {"gpt2-small-res-jb": "jbloom/GPT2-Small-SAEs-Reformatted"}


def write_published(format: str, target: Path) -> None:
    """Files of a format at a path, with what its owner's config says."""
    path = LAYOUTS[format].write(target.parent / "written", random_weights(20, 8, 3))
    match format:
        case "gemma_scope_2":
            (path / "config.json").unlink()
        case "dictionary_learning":
            trainer = {"dict_class": "AutoEncoderTopK", "k": 3, "lm_name": "EleutherAI/pythia-70m-deduped"}
            write_json(path / "config.json", {"trainer": trainer, "buffer": {"ctx_len": 128}})
        case "llama_scope":
            config = (path / "hyperparams.json").read_text(encoding="utf-8")
            assert "blocks.15.hook_resid_post" in config
        case "saelens":
            keys = {
                "architecture": "jumprelu",
                "model_name": "gpt2-small",
                "hook_point": "blocks.8.hook_resid_pre",
                "context_size": 128,
            }
            write_json(path / "cfg.json", keys)
        case "sparsify":
            write_json(target.parent / "config.json", {"model": "HuggingFaceTB/SmolLM2-135M", "ctx_len": 2048})
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)


FORMATS = {
    "GPT-2, OpenAI's SAEs": "openai",
    "Gemma Scope 2, 270m": "gemma_scope_2",
    "Gemma Scope": "gemma_scope",
    "Pythia-70m, dictionary_learning": "dictionary_learning",
    "Llama Scope": "llama_scope",
    "a SAELens release": "saelens",
    "your own sparsify run": "sparsify",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's client without a connection, whose cache is this folder, and SAELens' list of one release."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    sae = {"id": "blocks.8.hook_resid_pre", "path": "blocks.8.hook_resid_pre", "l0": 60}
    release = {"repo_id": REPOSITORIES["gpt2-small-res-jb"], "model": "gpt2-small", "saes": [sae]}
    package = tmp_path / "site" / "sae_lens"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "pretrained_saes.yaml").write_text(yaml.safe_dump({"gpt2-small-res-jb": release}))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snapshot(folder: Path, repository: str) -> Path:
    """The folder of a repository's main branch in the cache."""
    own = folder / f"models--{repository.replace('/', '--')}"
    (own / "refs").mkdir(parents=True, exist_ok=True)
    (own / "refs" / "main").write_text(COMMIT)
    return own / "snapshots" / COMMIT


def place_of(folder: Path, source: str) -> Path:
    if found := re.match(r"hf://([^/]+/[^/]+)/(.+)", source):
        return snapshot(folder, found[1]) / found[2]
    if found := re.match(r"saelens://([^/]+)/(.+)", source):
        return snapshot(folder, REPOSITORIES[found[1]]) / found[2]
    return folder / source


def test_the_page_has_a_row_for_each_of_them():
    assert [row[0] for row in ROWS] == list(FORMATS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_is_what_comes_out(hub, row):
    what, source, *values = row
    write_published(FORMATS[what], place_of(hub, source))
    text = write_config([source], "mine").read_text(encoding="utf-8")
    for key, value in zip(("model", "hookpoint", "context_length", "prepend_bos"), values, strict=True):
        said = re.search(rf"(?m)^ +{key}: (\S+)  # (guessed)?", text)
        assert said is not None, key
        assert f"{said[1]}{' (guessed)' if said[2] else ''}" == value


[CODE] = re.findall(r"(?s)```python\n(.*?)```", PAGE)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_an_sae_of_ones_own_training_is_read_as_the_pages_code_writes_it(tmp_path, monkeypatch, scale):
    monkeypatch.chdir(tmp_path)
    weights, x = random_weights(64, 16, 32), random_inputs(60, 16)
    layers = {"encoder.weight": weights.encoder.half(), "encoder.bias": weights.bias.half()}
    layers |= {"decoder.weight": weights.decoder.T.half(), "decoder.bias": weights.b_dec.half()}
    torch.save(layers, "sae.pt")
    code = CODE
    if scale != 1:
        average = f'"normalize_activations": "expected_average_only_in", "norm_scaling_factor": {1 / scale}'
        code = code.replace('"normalize_activations": "none"', average)
        assert code != CODE
    exec(compile(code, "docs/your-sae.md", "exec"), {})
    coder = load_sparse_coder("my-sae")
    stored = weights._replace(
        **{key: getattr(weights, key).half().float() for key in ("encoder", "bias", "b_dec")}
    )
    same_firings(fired(coder, x), largest(pre_activations(stored, x / scale, subtract=True), weights.k))
    text = write_config(["my-sae"]).read_text(encoding="utf-8")
    for value in ("model: HuggingFaceTB/SmolLM2-135M", "hookpoint: layers.9", "context_length: 256"):
        assert f"{value}  # " in text
