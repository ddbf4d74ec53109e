"""The planted model: a GPT-2 of one layer whose weights are set by hand, and the SAE that reads it.

Its residual stream after the layer has a coordinate for everything that a feature depends on:

- the token: 1 (or its strength) at the coordinate of each plant that has this token;
- the previous token: the one attention head looks at the previous position, and copies whether the token there is
  one of those that a plant requires before its own;
- the position, one coordinate each; a constant; and eight noises, each 1 on tokens that make up one in twenty of
  the corpus.

A feature of the SAE is the sum of its coordinates minus a threshold, where that is above 0. At one position in
twenty, drawn by hash, it does not fire; a feature that depends on position fails on one token in twenty instead.
Five features of a kind form a family: their decoder directions share a coordinate that the model neither writes
nor reads, so that each has near neighbours, at a cosine of 0.4, with effects of their own.

The output layer gives each token its frequency in the corpus, and raises the tokens that a plant promotes: by
about 10 nats times the strength of the plant's token, at each such token, whether or not the SAE's feature fires
there (a pair's also requires another token before it). Plants that depend on position promote nothing.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from pipeline.planting.plants import Plant

CONTEXT_LENGTH = 256
HOOKPOINT = "h.0"
_NOISES = 8
_NOISE_SHARE = 0.05
_SHARPNESS = 6.0
"""Of the attention: the previous position scores more than 100 nats above every other one."""
_PROMOTED_NATS = 10.0
"""Enough for steering to write promoted words before the added direction, through the last norm, flattens all
logits."""
_OFF = 10.0
_FAMILY = 5
_FAMILY_COSINE = 0.4


class _Layout(NamedTuple):
    """The first coordinate of each block, and the width.

    The blocks: plants' tokens; tokens that plants require before; those found before; noises; constant; families;
    positions.
    """

    now: int
    wanted: int
    found: int
    noises: int
    constant: int
    families: int
    positions: int
    width: int


def write_model(folder: Path, plants: Sequence[Plant], tokenizer: Any, counts: Sequence[int]) -> Path:
    """Save the model with a tokenizer, for `from_pretrained`; counts are of each token in the corpus."""
    layout, n_tokens = _layout(plants), len(counts)
    config = GPT2Config(
        vocab_size=n_tokens,
        n_positions=2 * CONTEXT_LENGTH,
        n_embd=layout.width,
        n_layer=1,
        n_head=1,
        n_inner=4,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1.0 if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")) else 0.0)
        _set_embeddings(model, plants, layout, counts)
        _set_attention(model, layout)
        _set_output(model, plants, layout, counts)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_sae(folder: Path, plants: Sequence[Plant]) -> Path:
    """Save the SAE at HOOKPOINT, one feature per plant, in sparsify's layout; its k keeps every feature."""
    layout, n, families = _layout(plants), len(plants), _families(plants)
    encoder, bias, decoder = torch.zeros(n, layout.width), torch.zeros(n), torch.zeros(n, layout.width)
    for feature, plant in enumerate(plants):
        if plant.positions:
            encoder[feature, [layout.positions + each for each in plant.positions]] = 1.0
            encoder[feature, layout.noises + feature % _NOISES] = -_OFF
            bias[feature] = -0.25
        else:
            encoder[feature, layout.now + feature] = 2.0 if plant.previous else 1.0
            encoder[feature, layout.found + feature] = 1.0 if plant.previous else 0.0
            bias[feature] = -2.5 if plant.previous else -0.25
            silent = [each for each in range(CONTEXT_LENGTH) if _is_drawn(feature, each, "noise")]
            encoder[feature, [layout.positions + each for each in silent]] = -_OFF
        decoder[feature] = torch.nn.functional.normalize(encoder[feature].clamp(min=0), dim=0)
        decoder[feature] *= math.sqrt(1 - _FAMILY_COSINE)
        decoder[feature, layout.families + families[feature]] = math.sqrt(_FAMILY_COSINE)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"encoder.weight": encoder, "encoder.bias": bias, "W_dec": decoder}
    save_file({**tensors, "b_dec": torch.zeros(layout.width)}, folder / "sae.safetensors")
    said = {"activation": "topk", "k": n, "num_latents": n, "d_in": layout.width, "normalize_decoder": True}
    rest = {"expansion_factor": 32, "multi_topk": False, "skip_connection": False, "transcode": False}
    (folder / "cfg.json").write_text(json.dumps({**said, **rest}), encoding="utf-8")
    return folder


def _layout(plants: Sequence[Plant]) -> _Layout:
    n = len(plants)
    constant = 3 * n + _NOISES
    positions = constant + 1 + len(set(_families(plants)))
    return _Layout(0, n, 2 * n, 3 * n, constant, constant + 1, positions, positions + CONTEXT_LENGTH)


def _families(plants: Sequence[Plant]) -> list[int]:
    """The number of each plant's family: at most `_FAMILY` consecutive plants of a kind."""
    numbers: list[int] = []
    size = 0
    for before, plant in zip([None, *plants], plants, strict=False):
        is_new = before is None or before.kind != plant.kind or size == _FAMILY
        size = 1 if is_new else size + 1
        numbers.append((numbers[-1] + is_new) if numbers else 0)
    return numbers


def _set_embeddings(
    model: GPT2LMHeadModel, plants: Sequence[Plant], layout: _Layout, counts: Sequence[int]
) -> None:
    tokens, positions = model.transformer.wte.weight, model.transformer.wpe.weight
    tokens[:, layout.constant] = 1.0
    for feature, plant in enumerate(plants):
        for token, strength in plant.tokens.items():
            tokens[token, layout.now + feature] = strength
        tokens[list(plant.previous), layout.wanted + feature] = 1.0
    for noise in range(_NOISES):
        tokens[noise_tokens(counts, noise), layout.noises + noise] = 1.0
    positions[:CONTEXT_LENGTH, layout.positions : layout.positions + CONTEXT_LENGTH] = torch.eye(CONTEXT_LENGTH)


def _set_attention(model: GPT2LMHeadModel, layout: _Layout) -> None:
    """Set the head that looks at the previous position and copies what plants require there."""
    attention, width = model.transformer.h[0].attn, layout.width
    joined: Tensor = attention.c_attn.weight  # [width, 3 width]: query, key, value
    for position in range(CONTEXT_LENGTH):
        own = layout.positions + position
        joined[own, width + position] = _SHARPNESS
        if position:
            joined[own, position - 1] = _SHARPNESS
    n = layout.found - layout.wanted
    # The norm divides its input by (length / sqrt(width)); at a token of a few plants the length is 1.7 to 3.
    joined[range(layout.wanted, layout.found), range(2 * width, 2 * width + n)] = 3.3 / math.sqrt(width)
    attention.c_proj.weight[range(n), range(layout.found, layout.found + n)] = 1.0


def _set_output(model: GPT2LMHeadModel, plants: Sequence[Plant], layout: _Layout, counts: Sequence[int]) -> None:
    """Set the logits: a token's log frequency, plus what plants of the current token promote."""
    output, scale = model.lm_head.weight, math.sqrt(layout.width / 3)
    frequencies = torch.tensor(counts, dtype=torch.float32) + 0.1
    output[:, layout.constant] = (frequencies / frequencies.sum()).log() / scale
    for feature, plant in enumerate(plants):
        output[list(plant.promoted), layout.now + feature] = _PROMOTED_NATS / scale


def noise_tokens(counts: Sequence[int], noise: int) -> list[int]:
    """Tokens, drawn by hash, that make up one in twenty of the corpus, and of the tokens that it lacks."""
    n_left = _NOISE_SHARE * sum(counts)
    drawn = []
    for token in sorted(range(len(counts)), key=lambda token: _digest(token, noise, "token")):
        if counts[token] <= n_left if counts[token] else _is_drawn(token, noise, "token"):
            drawn.append(token)
            n_left -= counts[token]
    return drawn


def _is_drawn(*of: int | str) -> bool:
    """Whether this is among the share that is drawn by hash."""
    return int.from_bytes(_digest(*of)[:4]) < _NOISE_SHARE * 2**32


def _digest(*of: int | str) -> bytes:
    return hashlib.sha256(" ".join(map(str, of)).encode()).digest()
