"""delphi's cache of activations: `latents/HOOKPOINT/START_END.safetensors`, as EleutherAI's delphi writes it.

A split has the features from START to END, END included:

    locations    [n, 3]: row, position, and feature less START; uint16, or uint32 where that is too small
    activations  [n]: float16
    tokens       [n_rows, length]: int64; every split has all of them

A row is a context, and locations are sorted by row. delphi cuts its texts into rows of one length and does not
keep their origin. latentlake's exports have short last contexts of documents: there `lengths` [n_rows] (int64) has
the number of text tokens in each row, and the rest is padding.
"""

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from upath import UPath

from pipeline.errors import CorpusError
from pipeline.texts.tensors import Array, Stored, TensorFile

Folder = Path | UPath
"""A folder or a file, local or at a URL."""

_MARKS = 256
"""Firings of a split probed to find those of some rows; at most 2 in 256 are then read in vain."""

_ROWS_AT_ONCE = 4096
_FIRINGS_AT_ONCE = 1 << 22
_DTYPES = {
    "locations": ("U16", "U32", "I64"),
    "activations": ("F16", "F32"),
    "tokens": ("I64", "I32"),
    "lengths": ("I64",),
}
"""The allowed dtypes of a split's tensors; older versions have int64 locations."""


class Rows(NamedTuple):
    """Some rows: tokens int64 [n, length], and how many of each are text, int64 [n]."""

    tokens: Array
    lengths: Array

    @property
    def is_text(self) -> Array:
        """Whether a token is text, not padding: bool [n, length]."""
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]


class Located(NamedTuple):
    """Firings, each [n]: row, position and feature int64, activation float32."""

    row: Array
    position: Array
    feature: Array
    activation: Array


@dataclass(frozen=True)
class Split:
    """A file of a cache, with its features from `first` to below `end`."""

    path: Folder
    first: int
    end: int

    @property
    def shape(self) -> tuple[int, int]:
        """Its rows, and their length. Raises CorpusError if it has no tokens, or is damaged."""
        rows, length = self._stored("tokens", 2).shape
        return rows, length

    @property
    def n_firings(self) -> int:
        """Its firings. Raises CorpusError if locations and activations do not go together."""
        (n, width), (n_activations,) = self._stored("locations", 2).shape, self._stored("activations", 1).shape
        if width != 3 or n != n_activations:
            self._fail(f"locations [{n}, {width}] and activations [{n_activations}] do not go together")
        return n

    def rows(self, first: int = 0, end: int | None = None) -> Iterator[Rows]:
        """Its rows from the first to below `end` (None: all), some at a time.

        Raises CorpusError for impossible lengths and tokens.
        """
        lengths = self._lengths
        end = len(lengths) if end is None else min(end, len(lengths))
        for start in range(first, end, _ROWS_AT_ONCE):
            [some] = self._read("tokens", (start, min(start + _ROWS_AT_ONCE, end)))
            some = some.astype(np.int64)
            if (some < 0).any():
                self._fail(f"token {some.min()} is not a token id")
            yield Rows(some, lengths[start : start + len(some)])

    def firings(self, first: int, end: int) -> Iterator[Located]:
        """Its firings in rows from the first to below `end`, some at a time.

        If the file is sorted by row, little more than these are read, else all. Raises CorpusError for a firing
        outside the rows or features, or not above 0.
        """
        start, stop = self._around(first, end)
        for at in range(start, stop, _FIRINGS_AT_ONCE):
            part = (at, min(at + _FIRINGS_AT_ONCE, stop))
            [located], [activation] = self._read("locations", part), self._read("activations", part)
            row, position, feature = located.astype(np.int64).T
            found = Located(row, position, feature + self.first, activation.astype(np.float32))
            self._check(found)
            own = (row >= first) & (row < end)
            yield Located(*(column[own] for column in found))

    def _around(self, first: int, end: int) -> tuple[int, int]:
        """The range that holds the firings of some rows: from the probes, if these are sorted by row."""
        if not (n := self.n_firings):
            return 0, 0
        probes = sorted({int(probe) for probe in np.linspace(0, n - 1, min(n, _MARKS))})
        marks = [int(some[0, 0]) for some in self._read("locations", *((probe, probe + 1) for probe in probes))]
        if marks != sorted(marks):
            return 0, n
        before, after = bisect_left(marks, first) - 1, bisect_left(marks, end)
        return probes[max(before, 0)], probes[after] if after < len(probes) else n

    @cached_property
    def _lengths(self) -> Array:
        """The number of text tokens per row: int64 [n_rows]."""
        n_rows, width = self.shape
        if "lengths" not in self._tensors:
            return np.full(n_rows, width)
        (n,) = self._stored("lengths", 1).shape
        [lengths] = self._read("lengths", (0, n))
        if n != n_rows or not ((lengths > 0) & (lengths <= width)).all():
            self._fail(f"lengths are not {n_rows} numbers from 1 to {width}")
        return lengths

    def _check(self, found: Located) -> None:
        row, position, feature, activation = found
        if not ((row >= 0) & (row < len(self._lengths))).all():
            self._fail(f"a location is in row {row.max()}, and there are tokens of {len(self._lengths)} rows")
        if not ((position >= 0) & (position < self._lengths[row])).all():
            self._fail(f"a location is at position {position.max()}, past the end of its row's tokens")
        if not ((feature >= self.first) & (feature < self.end)).all():
            self._fail(f"a location is of feature {feature.max()}, which is not among those of the file's name")
        if not np.isfinite(activation).all():
            self._fail("an activation is NaN, or was too large for float16 (above 65,504)")
        if not (activation > 0).all():
            self._fail(f"an activation is {activation.min():g}; only features that fire above 0 are read")

    @cached_property
    def _file(self) -> TensorFile:
        return TensorFile(self.path)

    @cached_property
    def _tensors(self) -> Mapping[str, Stored]:
        with self._reading():
            return self._file.tensors

    def _stored(self, name: str, n_dimensions: int) -> Stored:
        if name not in self._tensors:
            self._fail(f"it has no {name}" + ("; have delphi save its tokens too" if name == "tokens" else ""))
        found = self._tensors[name]
        if found.dtype not in _DTYPES[name]:
            self._fail(f"{name} are {found.dtype}, not {' or '.join(_DTYPES[name])}")
        if len(found.shape) != n_dimensions:
            self._fail(f"{name} have shape {[*found.shape]}")
        return found

    def _read(self, name: str, *parts: tuple[int, int]) -> list[Array]:
        """Parts of a tensor, each from a row to below another."""
        with self._reading():
            return self._file.some_rows(name, parts)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            words = " ".join(str(error).split())
            raise CorpusError(f"delphi's cache '{self.path}' is damaged or cannot be read: {words}") from None

    def _fail(self, reason: str) -> NoReturn:
        raise CorpusError(f"delphi's cache '{self.path}': {reason}")


class Cache(NamedTuple):
    """A cache: its folder, and those of its SAEs, which are named as their hookpoints."""

    folder: Folder
    saes: Sequence[Folder]


def find_cache(path: Folder) -> Cache | None:
    """The cache in a folder; for the folder of one of its SAEs, with only that SAE; None if it is neither."""
    if any(_NAME.fullmatch(file.name) for file in _listed(path, "*.safetensors")):
        return Cache(path.parent, [path])
    own = [file.parent for file in _listed(path, "*/*.safetensors") if _NAME.fullmatch(file.name)]
    saes = sorted(set(own), key=str)
    return Cache(path, saes) if saes else None


def splits_of(folder: Folder) -> list[Split]:
    """The splits of an SAE, which cover all its features. Raises CorpusError if they overlap or have gaps."""
    splits = sorted(
        (
            Split(file, int(name[1]), int(name[2]) + 1)
            for file in _listed(folder, "*.safetensors")
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


def cache_settings(folder: Folder) -> dict[str, Any]:
    """The `config.json` of an SAE's folder, above all its `model_name`; empty if there is none.

    Raises CorpusError if it is damaged.
    """
    path = folder / "config.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise CorpusError(f"delphi's cache: '{path}' is not JSON: {str(error).partition(chr(10))[0]}") from None
    return said if isinstance(said, dict) else {}


def read_rows(path: Folder) -> Iterator[Sequence[int]]:
    """The rows of a cache in their order, without padding: those of its first split, as all have the same."""
    for rows in first_split(path).rows():
        for tokens, length in zip(rows.tokens, rows.lengths, strict=True):
            yield tokens[:length].tolist()


def rows_digest(path: Folder) -> str:
    """SHA-256 over the rows of a cache."""
    digest = hashlib.sha256()
    for rows in first_split(path).rows():
        digest.update(rows.lengths.tobytes())
        digest.update(rows.tokens[rows.is_text].tobytes())
    return digest.hexdigest()


def first_split(path: Folder) -> Split:
    """The first split of a cache's first SAE. Raises CorpusError if it is not a cache."""
    cache = find_cache(path)
    if cache is None or cache.folder != path:
        raise CorpusError(
            f"corpus source '{path}' is not a delphi cache: no folder in it has files such as 0_4095.safetensors"
        )
    return splits_of(cache.saes[0])[0]


def _listed(folder: Folder, pattern: str) -> list[Folder]:
    """The files of a pattern in a folder. Raises CorpusError where a URL cannot be reached."""
    if isinstance(folder, Path):
        return [*folder.glob(pattern)]
    try:
        return [*folder.glob(pattern)]
    except Exception as error:  # noqa: BLE001 (each filesystem raises its own kinds)
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise CorpusError(f"delphi's cache '{folder}' cannot be reached ({words})") from None


_NAME = re.compile(r"(\d+)_(\d+)\.safetensors")
