"""A cache as EleutherAI's delphi writes it (`LatentCache.save_splits`), made of tokens and a function of these.

Boundaries by linspace with END included in a file's name, locations in uint16 or uint32 by their largest value,
activations in float16, and all tokens in every file.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tiny import N_FEATURES, corpus_texts
from transformers import AutoTokenizer

ROW = 64


def rows_of_tokens(subject: Path, n_rows: int = 60) -> np.ndarray:
    """Texts one behind the other, with BOS between them, cut into rows: int64 [n_rows, 64]."""
    tokenizer = AutoTokenizer.from_pretrained(subject)
    ids = [each for text in corpus_texts(n_rows) for each in [tokenizer.bos_token_id, *tokenizer(text).input_ids]]
    return np.array(ids[: n_rows * ROW]).reshape(n_rows, ROW)


def write_cache(
    folder: Path,
    tokens: np.ndarray,
    answers: Mapping[int, Mapping[int, float]],
    *,
    hookpoint: str = "embed_tokens",
    n_features: int = N_FEATURES,
    n_splits: int = 3,
) -> Path:
    """Write `folder/hookpoint/START_END.safetensors`; `answers` has the activation of a feature by token id."""
    located = [
        (row, position, feature, answers[feature][token])
        for row, line in enumerate(tokens.tolist())
        for position, token in enumerate(line)
        for feature in sorted(answers)
        if token in answers[feature]
    ]
    locations = np.array([each[:3] for each in located])
    activations = np.array([each[3] for each in located])
    own = folder / hookpoint
    own.mkdir(parents=True)
    for start, end in splits(n_features, n_splits):
        mask = (locations[:, 2] >= start) & (locations[:, 2] <= end)
        some = locations[mask] - [0, 0, start]
        kind = np.uint16 if some.max(initial=0) < 2**16 else np.uint32
        half = activations[mask].astype(np.float16)
        split = {"locations": some.astype(kind), "activations": half, "tokens": tokens}
        save_file(split, own / f"{start}_{end}.safetensors")
    (own / "config.json").write_text(json.dumps({"cache_ctx_len": ROW, "model_name": "EleutherAI/pythia-70m"}))
    return folder


def splits(n_features: int, n_splits: int) -> Sequence[tuple[int, int]]:
    """The first and the last feature of each file."""
    bounds = np.linspace(0, n_features, n_splits + 1).astype(int).tolist()
    return [(first, end - 1) for first, end in pairwise(bounds)]
