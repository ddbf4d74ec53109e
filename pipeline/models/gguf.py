"""A GGUF file as the safetensors files that transformers reads at once: converted at first use, and kept.

transformers unpacks a GGUF file's blocks, and its vocabulary word by word, at every load. For the embedded model
(98 MB, Q4_1), read as subject and as local LLM, that took 16 s of processor time a process; from the folder
(542 MB) it takes 2 s, and the conversion 17 s once.

The tensors are kept in float32, in which blocks are unpacked. Cast to a model's dtype when it is loaded, they are
bit for bit what transformers makes of the GGUF file in that dtype; kept in bfloat16 they would lose bits.
"""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from pipeline.errors import SubjectError

SOURCE_FILE = "source.json"

_Source = dict[str, str | int]
"""A GGUF file's path, size and time, and its SHA-256."""


def safetensors_folder(file: Path, models: Path) -> Path:
    """The folder below `models`, named by the file's SHA-256, with its model, tokenizer and config.

    Processes that convert at once each write a folder of their own, and the first to rename it is right. Raises
    SubjectError if the file lacks weights, and what transformers raises if it cannot read it.
    """
    stat = file.stat()
    source: _Source = {"file": str(file.absolute()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    known = _find(source, models)
    if known is not None:
        return known
    with file.open("rb") as opened:
        source["sha256"] = hashlib.file_digest(opened, "sha256").hexdigest()
    folder = models / str(source["sha256"])[:16]
    if not folder.exists():
        _write(file, source, folder)
    return folder


def _find(source: _Source, models: Path) -> Path | None:
    """The folder that was made from this file, which is not read again while its size and time stay."""
    for path in models.glob(f"*/{SOURCE_FILE}"):
        recorded = json.loads(path.read_text(encoding="utf-8"))
        if source.items() <= recorded.items():
            return path.parent
    return None


def _write(file: Path, source: _Source, folder: Path) -> None:
    temporary = folder.parent / ".tmp" / f"{folder.name}.{os.getpid()}.{time.monotonic_ns()}"
    temporary.mkdir(parents=True)
    try:
        _convert(file, temporary)
        (temporary / SOURCE_FILE).write_text(json.dumps(source, indent=1) + "\n", encoding="utf-8")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _convert(file: Path, folder: Path) -> None:
    """Write a GGUF file's causal language model and its tokenizer, as `from_pretrained` reads them."""
    model, report = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        output_loading_info=True,
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise SubjectError(f"GGUF file '{file}' lacks {len(missing)} weights, such as '{missing[0]}'")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
