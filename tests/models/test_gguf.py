"""A GGUF file is converted once, and what is loaded from the conversion is what transformers makes of the file."""

import json
import os
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.config import Config, SubjectConfig
from pipeline.errors import SubjectError
from pipeline.lake import Lake
from pipeline.llm.local.model import load_local_model
from pipeline.models import converted
from pipeline.models import gguf as conversion
from pipeline.models.load import load_tokenizer
from pipeline.subject.forward import Hookpoint, load_subject
from pipeline.subject.hookpoints import hookpoint_widths, skeleton
from pipeline.subject.unembedding import load_unembedding, path_to_logits
from pipeline.tables.versions import SourceHashes

WIDTH, HEADS, LAYERS = 64, 2, 2


@pytest.fixture(scope="module")
def file(tiny_subject: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers, its matrices in blocks of 4 bits, as the embedded one."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_subject)


def write_gguf(path: Path, tokenizer_folder: Path, n_left_out: int = 0) -> Path:
    spelled = json.loads((tokenizer_folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = spelled["model"]["vocab"]
    special = {each["content"] for each in spelled["added_tokens"]}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in spelled["model"]["merges"]])
    writer.add_bos_token_id(vocabulary["<bos>"])
    writer.add_eos_token_id(vocabulary["<eos>"])
    draw = np.random.default_rng(0)
    shapes = {"token_embd": (len(vocabulary), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.{name}": (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        shapes |= {f"blk.{layer}.{name}": (2 * WIDTH, WIDTH) for name in ("ffn_gate", "ffn_up")}
        shapes[f"blk.{layer}.ffn_down"] = (WIDTH, 2 * WIDTH)
        shapes |= {f"blk.{layer}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    for name, shape in list(shapes.items())[: len(shapes) - n_left_out]:
        values = draw.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            blocks = gguf.quantize(values, gguf.GGMLQuantizationType.Q4_1)
            writer.add_tensor(f"{name}.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def subject_of(file: Path, dtype: str = "float32") -> SubjectConfig:
    return SubjectConfig(model=str(file.parent), gguf_file=file.name, dtype=dtype)


@pytest.fixture
def lakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all lakes."""
    monkeypatch.setenv("LATENTLAKE_LAKE", str(tmp_path / "lakes"))
    return tmp_path / "lakes"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_both_models_are_bit_for_bit_what_transformers_makes_of_the_file(file, lakes, dtype):
    direct = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=getattr(torch, dtype))
    token_ids = torch.arange(5, 45).view(2, 20)
    with torch.inference_mode():
        expected = direct(token_ids, output_hidden_states=True)
        found = load_local_model(subject_of(file, dtype), "cpu")._model(token_ids)
    assert expected.logits.abs().max() > 1
    assert torch.equal(found.logits, expected.logits)
    first = Hookpoint("layers.0")
    states = load_subject(subject_of(file, dtype), "cpu").read(token_ids, [first])
    assert torch.equal(states[first], expected.hidden_states[1])


def test_the_tokenizer_is_that_of_the_file_and_a_log_has_one_line_of_the_conversion(file, lakes, capsys):
    direct = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    found = load_tokenizer(subject_of(file))
    assert capsys.readouterr().err == "Converting tiny.gguf once; the converted model is kept.\n"
    assert found.backend_tokenizer.to_str() == direct.backend_tokenizer.to_str()
    assert found.special_tokens_map == direct.special_tokens_map


@pytest.mark.parametrize(
    "first_use",
    [
        lambda subject: hookpoint_widths(subject, [Hookpoint("layers.0")]),
        lambda subject: path_to_logits(subject, Hookpoint("layers.0"), WIDTH),
        lambda subject: load_unembedding(subject, "cpu"),
    ],
    ids=["hookpoint widths", "path to logits", "unembedding"],
)
def test_whatever_needs_a_model_first_converts_its_file(file, lakes, first_use):
    skeleton.cache_clear()
    first_use(subject_of(file))
    assert len([path for path in (lakes / "models").iterdir() if path.name != ".tmp"]) == 1


def test_a_file_is_converted_once_and_known_by_its_content(file, tmp_path, monkeypatch):
    models = tmp_path / "models"
    folder = conversion.safetensors_folder(file, models)
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", converted.SOURCE_FILE} <= names
    source = json.loads((folder / converted.SOURCE_FILE).read_text(encoding="utf-8"))
    assert source["sha256"].startswith(folder.name)

    monkeypatch.setattr(conversion, "_convert", lambda *_: pytest.fail("converted again"))
    copy = shutil.copy(file, tmp_path / "copy.gguf")
    assert conversion.safetensors_folder(copy, models) == folder
    monkeypatch.setattr(converted.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert conversion.safetensors_folder(file, models) == folder


def test_a_conversion_that_ends_halfway_leaves_nothing(file, tmp_path, monkeypatch):
    def half(_file: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(conversion, "_convert", half)
        with pytest.raises(OSError, match="no space"):
            conversion.safetensors_folder(file, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.name != ".tmp"] == []
    assert (conversion.safetensors_folder(file, tmp_path) / "model.safetensors").exists()


def test_the_second_to_rename_takes_what_the_first_made(file, tmp_path, monkeypatch):
    def another_is_first(_file: Path, folder: Path) -> None:
        (folder / "ours").touch()
        target = folder.parents[1] / folder.name.partition(".")[0]
        target.mkdir()
        (target / "theirs").touch()

    monkeypatch.setattr(conversion, "_convert", another_is_first)
    folder = conversion.safetensors_folder(file, tmp_path)
    assert [path.name for path in folder.iterdir()] == ["theirs"]


def test_conversions_lie_beside_the_lakes(make_experiment, file, tmp_path, monkeypatch):
    config: Config = make_experiment(subject={"model": str(file.parent), "gguf_file": file.name})
    assert config.subject.converted_folder == config.lake_folder.parent / "models"
    assert config.in_process(config.scoring).converted_folder == config.subject.converted_folder
    load_tokenizer(config.subject)
    [folder] = [path for path in config.subject.converted_folder.iterdir() if path.name != ".tmp"]

    left = config.subject.converted_folder / ".tmp" / "killed"
    left.mkdir()
    os.utime(left, (0, 0))
    assert left in Lake(config, SourceHashes()).clean()
    assert not left.exists() and folder.exists()
    monkeypatch.setenv("LATENTLAKE_LAKE", str(tmp_path / "elsewhere"))
    assert config.subject.converted_folder == tmp_path / "elsewhere" / "models"


def test_a_file_that_lacks_weights_is_refused(lakes, tmp_path, tiny_subject):
    # transformers fills what is missing with random numbers.
    lacking = write_gguf(tmp_path / "lacking.gguf", tiny_subject, n_left_out=3)
    with pytest.raises(SubjectError, match="lacks 3 weights"):
        load_tokenizer(subject_of(lacking))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5, 0.99])
def test_a_torn_file_is_explained(file, lakes, tmp_path, share):
    content = file.read_bytes()
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SubjectError, match="cannot be loaded"):
        load_tokenizer(subject_of(torn))
    assert not [path for path in (lakes / "models").iterdir() if path.name != ".tmp"]
