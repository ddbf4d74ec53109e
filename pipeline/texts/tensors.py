"""Reading parts of safetensors files, from a local file or by byte ranges from a URL.

A file has the header's length (8 bytes, little-endian), the header (JSON: each tensor's dtype, shape and offsets),
and the tensors one after the other.
"""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from upath import UPath

Array = npt.NDArray[Any]

_DTYPES = {"U16": "<u2", "U32": "<u4", "I32": "<i4", "I64": "<i8", "F16": "<f2", "F32": "<f4"}
_NAMES = {np.dtype(kind): name for name, kind in _DTYPES.items()}


class Stored(NamedTuple):
    """A tensor in a file: its dtype as safetensors names it, its shape, and the bytes where it begins and ends."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class TensorFile:
    """A safetensors file. Its methods raise OSError or ValueError if it is damaged or cannot be read."""

    def __init__(self, path: Path | UPath) -> None:
        self._path = path

    @cached_property
    def tensors(self) -> Mapping[str, Stored]:
        """The header's entries by name."""
        size = self._path.stat().st_size
        if size < 8:
            raise ValueError("it is empty" if not size else f"it has {size} bytes")
        (length,) = struct.unpack("<Q", self._read([(0, 8)])[0])
        if 8 + length > size:
            raise ValueError(f"it has {size:,} bytes, and its header alone would be {length:,}")
        header = json.loads(self._read([(8, 8 + length)])[0])
        header.pop("__metadata__", None)
        first = 8 + length
        found = {
            name: Stored(said["dtype"], tuple(said["shape"]), *(first + at for at in said["data_offsets"]))
            for name, said in header.items()
        }
        if size != (end := max([first, *(each.end for each in found.values())])):
            raise ValueError(f"it has {size:,} bytes, and should have {end:,}")
        return found

    def some_rows(self, name: str, parts: Iterable[tuple[int, int]]) -> list[Array]:
        """Several row ranges of a tensor; from a URL, fetched together."""
        dtype, shape, start, end = self.tensors[name]
        kind = np.dtype(_DTYPES[dtype])
        width = prod(shape[1:]) * kind.itemsize
        if end - start != shape[0] * width:
            raise ValueError(f"{name} of shape {shape} have {end - start:,} bytes")
        found = self._read([(start + first * width, start + last * width) for first, last in parts])
        return [np.frombuffer(each, kind).reshape(-1, *shape[1:]) for each in found]

    def _read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if isinstance(self._path, UPath):
            starts, ends = zip(*ranges, strict=True)
            paths = [self._path.path] * len(ranges)
            found: list[bytes] = self._path.fs.cat_ranges(paths, [*starts], [*ends], on_error="raise")
            return found
        parts = []
        with self._path.open("rb") as file:
            for start, end in ranges:
                file.seek(start)
                parts.append(file.read(end - start))
        return parts


class Written(NamedTuple):
    """A tensor to be written: its dtype and shape, and an iterator over its rows."""

    dtype: Any
    shape: Sequence[int]
    parts: Iterable[Array]


def write_tensors(path: Path, tensors: Mapping[str, Written]) -> None:
    """Write a safetensors file with one part in memory at a time."""
    header: dict[str, Any] = {}
    end = 0
    for name, each in tensors.items():
        kind = np.dtype(each.dtype)
        start, end = end, end + prod(each.shape) * kind.itemsize
        header[name] = {"dtype": _NAMES[kind], "shape": [*each.shape], "data_offsets": [start, end]}
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)  # so that the first tensor is aligned
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(said)) + said)
        for each in tensors.values():
            for part in each.parts:
                file.write(np.ascontiguousarray(part, each.dtype).data)
