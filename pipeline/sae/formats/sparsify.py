"""EleutherAI's sparsify: `cfg.json` and `sae.safetensors` in a folder named for the hookpoint.

Tensors: encoder.weight [n, d_in], encoder.bias [n], W_dec [n, d_in], b_dec [d_in]. Read from eai-sparsify
1.3.3; compared with its own `encode` in the tests.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import SaeError, nearest
from pipeline.sae.coder import SparseCoder

FILES = ("cfg.json", "sae.safetensors")


def load(folder: Path, files: Sequence[Path]) -> SparseCoder:
    """The coder in a sparsify folder, float32. Raises SaeError if a file is damaged or does not fit."""
    config_path, weights_path = files
    config = _read_config(config_path)
    tensors = _read_tensors(weights_path)
    encoder = tensors["encoder.weight"]
    if encoder.ndim != 2:
        raise SaeError(f"SAE file '{weights_path}': encoder.weight has shape {list(encoder.shape)}, not [n, d_in]")
    n_features, d_in = encoder.shape
    expected = {"encoder.bias": (n_features,), "W_dec": (n_features, d_in), "b_dec": (d_in,)}
    if config.get("d_in", d_in) != d_in:
        raise SaeError(f"SAE file '{weights_path}' is {d_in} wide, but its cfg.json says d_in {config['d_in']}")
    for name, shape in expected.items():
        # A transcoder's decoder writes to another module, which may be of another width.
        free = config.get("transcode", False) and name in {"W_dec", "b_dec"}
        if not free and tuple(tensors[name].shape) != shape:
            found = list(tensors[name].shape)
            raise SaeError(f"SAE file '{weights_path}': {name} has shape {found}, not {list(shape)}")
    activation = config.get("activation", "topk")
    if activation not in {"topk", "groupmax"}:
        raise SaeError(f"SAE '{folder}': cfg.json has activation '{activation}', not 'topk' or 'groupmax'")
    k = config.get("k")
    if not isinstance(k, int) or not 0 < k <= n_features:
        raise SaeError(f"SAE '{folder}': cfg.json has k {k!r}, not a number from 1 to {n_features}")
    if activation == "groupmax" and n_features % k:
        raise SaeError(f"SAE '{folder}': cfg.json has groupmax with k {k}, which does not divide {n_features}")
    transcode = bool(config.get("transcode", False))
    return SparseCoder(
        hookpoint=folder.name,
        reads="input" if transcode else "output",
        encoder=encoder,
        encoder_bias=tensors["encoder.bias"],
        decoder=tensors["W_dec"],
        input_bias=None if transcode else tensors["b_dec"],
        k=k,
        activation=activation,
        decoder_bias=tensors["b_dec"],
        transcodes=transcode,
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SaeError(f"SAE file '{path}' is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise SaeError(f"SAE file '{path}' holds no JSON object")
    return config


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SaeError(f"SAE file '{path}' is damaged or no safetensors file: {error}") from None
    tensors = {}
    for name in ("encoder.weight", "encoder.bias", "W_dec", "b_dec"):
        if name not in stored:
            raise SaeError(f"SAE file '{path}' has no tensor '{name}'; nearest: {nearest(name, stored)}")
        tensor = stored[name].to(torch.float32)
        if not math.isfinite(tensor.sum().item()) and not bool(tensor.isfinite().all()):
            raise SaeError(f"SAE file '{path}': tensor '{name}' holds values that are no numbers")
        tensors[name] = tensor
    return tensors
