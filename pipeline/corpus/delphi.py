"""delphi's cache of activations: `latents/HOOKPOINT/START_END.safetensors`, as EleutherAI's delphi writes it.

A split has the features from START to END, END included:

    locations    [n, 3]: row, position, and feature less START; uint16, or uint32 where that is too small
    activations  [n]: float16
    tokens       [n_rows, length]: int64; every split has all of them

A row is a context. delphi cuts its texts into rows of one length and keeps nothing of where they came from. An
export of ours has ends of documents, which are shorter: there `lengths` [n_rows] (int64) says how much of each row
is text, and the rest is padding.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from pipeline.errors import CorpusError

Array = npt.NDArray[Any]

_ROWS_AT_ONCE = 4096
_FIRINGS_AT_ONCE = 1 << 22
_DTYPES = {
    "locations": ("U16", "U32", "I64"),
    "activations": ("F16", "F32"),
    "tokens": ("I64", "I32"),
    "lengths": ("I64",),
}
"""What a split's tensors may be; of older versions locations are int64."""


class Rows(NamedTuple):
    """Some rows: tokens int64 [n, length], and how many of each are text, int64 [n]."""

    tokens: Array
    lengths: Array

    @property
    def is_text(self) -> Array:
        """Whether a token is text and no padding: bool [n, length]."""
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]


class Located(NamedTuple):
    """Firings, each [n]: row, position and feature int64, activation float32."""

    row: Array
    position: Array
    feature: Array
    activation: Array


class Split(NamedTuple):
    """A file of a cache, with its features from `first` to below `end`."""

    path: Path
    first: int
    end: int

    @property
    def shape(self) -> tuple[int, int]:
        """Its rows, and their length. Raises CorpusError if it has no tokens, or is damaged."""
        with self._opened() as file:
            rows, length = self._slice(file, "tokens", 2).get_shape()
            return rows, length

    def rows(self, first: int = 0, end: int | None = None) -> Iterator[Rows]:
        """Its rows from the first to below `end` (None: all), some at a time.

        Raises CorpusError for lengths and tokens that cannot be.
        """
        with self._opened() as file:
            tokens, lengths = self._slice(file, "tokens", 2), self._lengths(file)
            end = len(lengths) if end is None else min(end, len(lengths))
            for start in range(first, end, _ROWS_AT_ONCE):
                some = tokens[start : min(start + _ROWS_AT_ONCE, end)].astype(np.int64)
                if (some < 0).any():
                    self._fail(f"token {some.min()} is no token id")
                yield Rows(some, lengths[start : start + len(some)])

    def firings(self) -> Iterator[Located]:
        """Its firings, some at a time. Raises CorpusError for one outside the rows or features, or not above 0."""
        with self._opened() as file:
            lengths = self._lengths(file)
            locations = self._slice(file, "locations", 2)
            activations = self._slice(file, "activations", 1)
            (n, width), (n_activations,) = locations.get_shape(), activations.get_shape()
            if width != 3 or n != n_activations:
                self._fail(f"locations [{n}, {width}] and activations [{n_activations}] do not go together")
            for first in range(0, n, _FIRINGS_AT_ONCE):
                end = min(first + _FIRINGS_AT_ONCE, n)
                row, position, feature = locations[first:end].astype(np.int64).T
                found = Located(row, position, feature + self.first, activations[first:end].astype(np.float32))
                self._check(found, lengths)
                yield found

    def _lengths(self, file: Any) -> Array:
        """How many tokens of each row are text: int64 [n_rows]."""
        n_rows, width = self._slice(file, "tokens", 2).get_shape()
        if "lengths" not in file.keys():  # noqa: SIM118 (a file of safetensors is no mapping)
            return np.full(n_rows, width)
        lengths: Array = self._slice(file, "lengths", 1)[:]
        if len(lengths) != n_rows or not ((lengths > 0) & (lengths <= width)).all():
            self._fail(f"lengths are not {n_rows} numbers from 1 to {width}")
        return lengths

    def _check(self, found: Located, lengths: Array) -> None:
        row, position, feature, activation = found
        if not ((row >= 0) & (row < len(lengths))).all():
            self._fail(f"a location is in row {row.max()}, and there are tokens of {len(lengths)} rows")
        if not ((position >= 0) & (position < lengths[row])).all():
            self._fail(f"a location is at position {position.max()}, behind the end of its row's tokens")
        if not ((feature >= self.first) & (feature < self.end)).all():
            self._fail(f"a location is of feature {feature.max()}, which is not among those of the file's name")
        if not np.isfinite(activation).all():
            self._fail("an activation is no number, or was too large for float16 (above 65,504)")
        if not (activation > 0).all():
            self._fail(f"an activation is {activation.min():g}; only features that fire above 0 are read")

    def _slice(self, file: Any, name: str, n_dimensions: int) -> Any:
        if name not in file.keys():  # noqa: SIM118
            self._fail(f"it has no {name}" + ("; have delphi save its tokens too" if name == "tokens" else ""))
        found = file.get_slice(name)
        if found.get_dtype() not in _DTYPES[name]:
            self._fail(f"{name} are {found.get_dtype()}, not {' or '.join(_DTYPES[name])}")
        if len(found.get_shape()) != n_dimensions:
            self._fail(f"{name} have shape {found.get_shape()}")
        return found

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with safe_open(self.path, framework="numpy") as file:
                yield file
        except (SafetensorError, OSError) as error:
            words = " ".join(str(error).split())
            raise CorpusError(f"delphi's cache '{self.path}' is damaged or cannot be read: {words}") from None

    def _fail(self, reason: str) -> None:
        raise CorpusError(f"delphi's cache '{self.path}': {reason}")


class Cache(NamedTuple):
    """A cache: its folder, and those of its SAEs, which are named as their hookpoints."""

    folder: Path
    saes: Sequence[Path]


def find_cache(path: Path) -> Cache | None:
    """The cache that a folder is; of a folder in one, that, with this SAE alone. None where it is neither."""
    if any(_NAME.fullmatch(file.name) for file in path.glob("*.safetensors")):
        return Cache(path.parent, [path])
    saes = sorted({file.parent for file in path.glob("*/*.safetensors") if _NAME.fullmatch(file.name)})
    return Cache(path, saes) if saes else None


def splits_of(folder: Path) -> list[Split]:
    """The splits of an SAE, which hold all its features. Raises CorpusError if they overlap or leave any out."""
    splits = sorted(
        (
            Split(file, int(name[1]), int(name[2]) + 1)
            for file in folder.glob("*.safetensors")
            if (name := _NAME.fullmatch(file.name))
        ),
        key=lambda split: split.first,
    )
    if not splits:
        raise CorpusError(f"delphi's cache has no folder '{folder}' with files such as 0_4095.safetensors")
    if splits[0].first:
        raise CorpusError(f"delphi's cache '{folder}' begins with feature {splits[0].first}, not with 0")
    for split, following in pairwise(splits):
        if split.end != following.first:
            what = "overlap" if split.end > following.first else "leave features out between them"
            raise CorpusError(f"delphi's cache '{folder}': {split.path.name} and {following.path.name} {what}")
    return splits


def cache_settings(folder: Path) -> dict[str, Any]:
    """What the `config.json` of an SAE's folder says: `model_name` above all. Nothing where there is none.

    Raises CorpusError if it is damaged.
    """
    path = folder / "config.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise CorpusError(f"delphi's cache: '{path}' is not JSON: {str(error).partition(chr(10))[0]}") from None
    return said if isinstance(said, dict) else {}


def read_rows(path: Path) -> Iterator[Sequence[int]]:
    """The rows of a cache in their order, without padding: those of its first split, as all have the same."""
    for rows in _first_split(path).rows():
        for tokens, length in zip(rows.tokens, rows.lengths, strict=True):
            yield tokens[:length].tolist()


def rows_digest(path: Path) -> str:
    """SHA-256 over the rows of a cache."""
    digest = hashlib.sha256()
    for rows in _first_split(path).rows():
        digest.update(rows.lengths.tobytes())
        digest.update(rows.tokens[rows.is_text].tobytes())
    return digest.hexdigest()


def _first_split(path: Path) -> Split:
    cache = find_cache(path)
    if cache is None or cache.folder != path:
        raise CorpusError(
            f"corpus source '{path}' is no cache of delphi: no folder in it has files such as 0_4095.safetensors"
        )
    return splits_of(cache.saes[0])[0]


_NAME = re.compile(r"(\d+)_(\d+)\.safetensors")
