"""Converting a GGUF file at first use to safetensors files, which transformers loads faster.

transformers unpacks a GGUF file's blocks, and its vocabulary word by word, at every load. For the embedded model
(98 MB, Q4_1), read as subject and as local LLM, that took 16 s of processor time per process; from the folder
(542 MB) it takes 2 s, and the conversion takes 17 s once.

The tensors are stored in float32, the dtype to which blocks are unpacked. Cast to a model's dtype when it is
loaded, they are bit for bit what transformers makes of the GGUF file in that dtype; stored in bfloat16 they would
lose bits.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.modeling_gguf_pytorch_utils import (
    TENSOR_PROCESSORS,
    TensorProcessor,
    get_gguf_hf_weights_map,
    load_gguf_checkpoint,
)

from pipeline.errors import SubjectError
from pipeline.models.converted import converted_folder
from pipeline.progress import tell, without_bars_in_logs

_AT_ONCE = 2**24
"""Weights unpacked at a time: unpacking a whole embedding at once needs several times its size."""


def safetensors_folder(file: Path, models: Path) -> Path:
    """The folder below `models`, named by the file's SHA-256, with its model, tokenizer and config.

    Raises SubjectError if the file lacks weights, and what transformers raises if it cannot read it.
    """
    return converted_folder([file], models, lambda folder: _convert(file, folder))


def _convert(file: Path, folder: Path) -> None:
    """Write a GGUF file's causal language model and its tokenizer, as `from_pretrained` reads them."""
    tell(f"Converting {file.name} once; the converted model is kept.")
    with without_bars_in_logs():
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


class PackedTensor:
    """A tensor in a GGUF file, read and unpacked to float32 whenever it is indexed, and not kept."""

    def __init__(self, file: Path, tensor: Any, processor: Any) -> None:
        self._file, self._tensor, self._processor = file, tensor, processor

    def __getitem__(self, _: Any) -> Tensor:
        tensor = self._tensor
        # Read, not mapped: pages of the mapped file would count as memory of the process.
        packed = np.fromfile(self._file, tensor.data.dtype, tensor.data.size, offset=tensor.data_offset)
        packed = packed.reshape(tensor.data.shape)
        n_parts = 1 + tensor.n_elements // _AT_ONCE
        parts = [gguf.dequantize(part, tensor.tensor_type) for part in np.array_split(packed, n_parts)]
        weights = parts[0] if n_parts == 1 else np.concatenate(parts)
        processed = self._processor.process(weights=weights, name=tensor.name)
        return torch.from_numpy(np.array(processed.weights, dtype=np.float32))


def packed_tensors(file: Path) -> Iterator[tuple[str, PackedTensor]]:
    """The tensors in a GGUF file, not read yet, by their names in its transformers model."""
    reader = gguf.GGUFReader(file)
    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    architecture = reader.fields["general.architecture"].contents()
    kind = TENSOR_PROCESSORS.get(architecture, TensorProcessor)
    processor = kind(config=load_gguf_checkpoint(file)["config"])
    names = get_gguf_hf_weights_map(skeleton, processor)
    for tensor in reader.tensors:
        if tensor.name in names:
            yield names[tensor.name], PackedTensor(file, tensor, processor)
