"""Converting a model to int8 weights: once, tensor by tensor, into a folder that is kept beside the lakes."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils.hub import cached_file

from pipeline.errors import SubjectError
from pipeline.models.converted import converted_folder
from pipeline.models.gguf import packed_tensors
from pipeline.models.hub import tell_download
from pipeline.models.int8 import Int8Config


class SavedTensor:
    """A tensor in a safetensors file, read whenever it is indexed, and not kept."""

    def __init__(self, file: Path, name: str) -> None:
        self._file, self._name = file, name

    def __getitem__(self, _: Any) -> Tensor:
        # Opened each time: pages of a mapped file would count as memory of the process until it is closed.
        with safe_open(self._file, "pt") as opened:
            tensor: Tensor = opened.get_tensor(self._name)
            return tensor.float().clone()


def int8_folder(name: str, gguf_file: str | None, arguments: Mapping[str, Any], models: Path) -> Path:
    """The folder below `models` with the int8 conversion of a model, made at first use.

    Args:
        name: Folder or hub name, as for `from_pretrained`.
        gguf_file: The GGUF file in it, or None.
        arguments: Further arguments of `from_pretrained`.
        models: Where conversions are kept.

    Raises:
        SubjectError: Weights are missing.
        OSError: The model has no safetensors or GGUF file, or cannot be reached.
    """
    if gguf_file is not None:
        file = Path(cached_file(name, gguf_file, revision=arguments.get("revision")))
        files, named = [file], {"gguf_file": file.name}
        name = str(file.parent)
    else:
        files, named = _weight_files(name, arguments), dict(arguments)

    def convert(folder: Path) -> None:
        tensors = dict(packed_tensors(files[0]) if gguf_file is not None else _saved_tensors(files))
        _convert(name, named, tensors, folder)

    return converted_folder(files, models, convert, "int8")


def _weight_files(name: str, arguments: Mapping[str, Any]) -> list[Path]:
    """The safetensors files of a model, and its other files from which the conversion is made."""
    revision = arguments.get("revision")

    def found(file: str) -> list[Path]:
        path = cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
        return [Path(path)] if path else []

    names = ["model.safetensors"]
    for index in found("model.safetensors.index.json"):
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    tell_download(name, names, revision)
    weights = [Path(cached_file(name, file, revision=revision)) for file in names]
    others = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    return [*weights, *(path for file in others for path in found(file))]


def _saved_tensors(files: list[Path]) -> Iterator[tuple[str, SavedTensor]]:
    for file in files:
        if file.name.endswith(".safetensors"):
            with safe_open(file, "pt") as opened:
                names = list(opened.keys())
            for name in names:
                yield name, SavedTensor(file, name)


def _convert(name: str, named: Mapping[str, Any], tensors: dict[str, Any], folder: Path) -> None:
    """Write the int8 model and its tokenizer as `from_pretrained` reads them."""
    config = AutoConfig.from_pretrained(name, **named)
    with torch.device("meta"):
        kind = type(AutoModelForCausalLM.from_config(config))
    model, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        dtype=torch.float32,
        quantization_config=Int8Config(),
        output_loading_info=True,
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise SubjectError(f"model '{name}' lacks {len(missing)} weights, such as '{missing[0]}'")
    if "gguf_file" not in named:
        with suppress(OSError):  # it has none; then its config defines what ends a turn
            model.generation_config = GenerationConfig.from_pretrained(name, **named)
    model.save_pretrained(folder, max_shard_size="256MB")
    AutoTokenizer.from_pretrained(name, **named).save_pretrained(folder)
