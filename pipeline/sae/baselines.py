"""Baselines for an SAE to beat: a layer's own dimensions or neurons, or random directions.

    baseline://neurons?width=1536&k=32            feature i is input i, where positive
    baseline://dimensions?width=576&k=32          feature i is input i, feature width + i is minus input i
    baseline://random?like=SOURCE[&k=32&seed=0]   random directions in the shape of an SAE, k as its L0

The k largest features fire on each token, if above 0. Baselines do not reconstruct their input as an SAE does: set
`saes.fit: accept`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn
from urllib.parse import parse_qsl

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import SaeError, nearest
from pipeline.sae.coder import SparseCoder, TopK

PREFIX = "baseline://"

_KEYS = {
    "neurons": frozenset({"width", "k"}),
    "dimensions": frozenset({"width", "k"}),
    "random": frozenset({"like", "k", "seed"}),
}


def like_of(source: str) -> str | None:
    """The SAE whose shape a baseline takes, or None. Raises SaeError if the source is malformed."""
    return _parse(source)[1].get("like")


def load_baseline(source: str, load: Callable[[str], SparseCoder]) -> SparseCoder:
    """The coder that a `baseline://` source describes, float32.

    Args:
        source: A `baseline://…` address, as in the module's docstring.
        load: Loads the SAE whose shape a random baseline takes.

    Raises:
        SaeError: The baseline is unknown, or a value is missing, unknown or invalid; or `load` raises it.
    """
    kind, values = _parse(source)
    if kind == "random":
        return _random(source, values, load(values["like"]))
    width = _number(source, values, "width", 1)
    directions = torch.eye(width)
    if kind == "dimensions":
        directions = torch.cat([directions, -directions])
    return SparseCoder(
        hookpoint=None,
        encoder=directions,
        encoder_bias=torch.zeros(len(directions)),
        decoder=directions,
        activation=_top_k(source, values, len(directions)),
        architecture=kind,
        format="baseline",
    )


def _random(source: str, values: Mapping[str, str], like: SparseCoder) -> SparseCoder:
    """A coder in the shape of another, with random directions of length 1."""
    if "k" not in values and like.k is None and like.declared_l0 is None:
        _fail(source, "the SAE that `like` names declares no L0; add &k=…")
    seed = _number(source, {"seed": "0", **values}, "seed", 0)
    k = {"k": str(like.k or max(1, round(like.declared_l0 or 0))), **values}
    encoder = _directions(f"encoder {seed}", like.encoder.shape)
    d_out = like.decoder.shape[1]
    decoder = encoder if d_out == like.d_in else _directions(f"decoder {seed}", (like.n_features, d_out))
    return replace(
        like,
        encoder=encoder,
        encoder_bias=torch.zeros(like.n_features),
        decoder=decoder,
        activation=_top_k(source, k, like.n_features),
        skip=None,
        folded=None,
        declared_l0=None,
        architecture="random",
        format="baseline",
    )


def _directions(draw: str, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Random rows of length 1, drawn by hash."""
    key = int.from_bytes(hashlib.sha256(draw.encode()).digest()[:16])
    rows = np.random.Generator(np.random.Philox(key=key)).standard_normal(tuple(shape), dtype=np.float32)
    return torch.nn.functional.normalize(torch.from_numpy(rows), dim=1)


def _parse(source: str) -> tuple[str, dict[str, str]]:
    kind, _, query = source.removeprefix(PREFIX).partition("?")
    if kind not in _KEYS:
        _fail(source, f"'{kind}' is not one of {', '.join(_KEYS)}")
    values = dict(parse_qsl(query, keep_blank_values=True))
    for key in values:
        if key not in _KEYS[kind]:
            _fail(source, f"'{key}' is not one of its values; nearest: {nearest(key, _KEYS[kind])}")
    if kind == "random" and not values.get("like"):
        _fail(source, "it does not name the SAE whose shape it takes; write ?like=SOURCE")
    return kind, values


def _top_k(source: str, values: Mapping[str, str], n_features: int) -> TopK:
    k = _number(source, values, "k", 1)
    if k > n_features:
        _fail(source, f"k is {k}, but there are only {n_features} features")
    return TopK(k)


def _number(source: str, values: Mapping[str, str], key: str, least: int) -> int:
    value = values.get(key, "")
    if not value.isdecimal() or int(value) < least:
        _fail(source, f"{key} is '{value}', not a whole number of {least} or more" if value else f"it lacks {key}")
    return int(value)


def _fail(source: str, reason: str) -> NoReturn:
    raise SaeError(f"SAE '{source}': {reason}")
