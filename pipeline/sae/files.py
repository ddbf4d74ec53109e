"""The files of one SAE, read without executing code from them; each error names the file."""

import json
import math
import os
import pickle
import re
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import SaeError, nearest


@dataclass(frozen=True)
class Tensors:
    """The content of a weights file by name: mostly tensors; a `.pt` file may also hold settings."""

    path: Path
    content: Mapping[str, Any]

    def names(self) -> set[str]:
        """The names of everything in the file."""
        return set(self.content)

    def check_names(self, known: Collection[str], of: str) -> None:
        """Refuse the file if it has other tensors than these: they belong to a function that is not computed."""
        if unknown := sorted(self.names() - set(known)):
            self.fail(f"{of} has no {' or '.join(unknown)}, which the file holds")

    def fail(self, reason: str) -> NoReturn:
        """Refuse the file: raise SaeError with what is wrong with it."""
        raise SaeError(f"SAE file '{self.path}': {reason}")

    def take(self, name: str, *shape: int | None, others: tuple[str, ...] = ()) -> Tensor:
        """A tensor in float32 of the given shape (None: any size); `others` are its names in other versions.

        Raises SaeError if it is missing, has another shape, or holds NaN or infinite values.
        """
        found = next((each for each in (name, *others) if each in self.content), None)
        if found is None:
            known = nearest(name, self.content) or "nothing"
            raise SaeError(f"SAE file '{self.path}' has no tensor '{name}'; nearest: {known}")
        tensor = self.content[found]
        if not isinstance(tensor, Tensor):
            self.fail(f"{found} is not a tensor but of type {type(tensor).__name__}")
        sizes = tuple(tensor.shape)
        fits = [want in {None, size} for want, size in zip(shape, sizes, strict=False)]
        if len(sizes) != len(shape) or not all(fits):
            wanted = ", ".join("any" if want is None else str(want) for want in shape)
            self.fail(f"{found} has shape {list(sizes)}, not [{wanted}]")
        if shape and not tensor.is_floating_point():  # only a scalar, such as k, may be an integer
            kind = str(tensor.dtype).removeprefix("torch.")
            self.fail(f"{found} has dtype {kind}; save it in floating point")
        if tensor.is_meta:
            self.fail(f"{found} has no values, because it was saved from torch's device 'meta'")
        tensor = tensor.to(torch.float32)
        if not math.isfinite(tensor.sum().item()) and not bool(tensor.isfinite().all()):
            self.fail(f"tensor '{found}' holds NaN or infinite values")
        return tensor

    def take_threshold(self, name: str, n_features: int) -> Tensor:
        """Thresholds: float32 [n_features], or [] if the file has one for all features."""
        found = self.content.get(name)
        if isinstance(found, Tensor) and found.numel() == 1:
            return self.take(name, *found.shape).reshape(())
        return self.take(name, n_features)

    def take_if_there(self, name: str, *shape: int | None, must_be: bool = False) -> Tensor | None:
        """As `take`, but None if the file has no tensor of that name, unless it `must_be` there."""
        return self.take(name, *shape) if must_be or name in self.content else None


@dataclass(frozen=True)
class SaeFiles:
    """The files of one SAE.

    Attributes:
        folder: The folder that they are in.
        paths: Each file by its name, or pattern, in its format.
        overrides: What SAELens' registry says about it, by SAELens' config keys.
        revision: Commit of its repository on the hub; None if it is local.
        registered_model: Its subject model in SAELens' registry; None if it was not found through that.
        outside: Values that its firings or reconstructions depend on but that are not in these files: its format
            takes them from the path, or from a config in a folder above.
    """

    folder: Path
    paths: Mapping[str, Path]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None
    registered_model: str | None = None
    outside: Mapping[str, Any] = field(default_factory=dict)

    def fail(self, reason: str) -> NoReturn:
        """Refuse the SAE: raise SaeError with what is wrong with it."""
        raise SaeError(f"SAE '{self.folder}': {reason}")

    def tensors(self, name: str) -> Tensors:
        """The content of a weights file. Raises SaeError if it is damaged, or can only be read by running code."""
        path = self.paths[name]
        try:
            match path.suffix:
                case ".safetensors":
                    return Tensors(path, load_file(path))
                case ".npz":
                    return Tensors(path, _read_npz(path))
                case _:
                    return Tensors(path, _read_torch(path))
        except pickle.UnpicklingError:
            raise SaeError(
                f"SAE file '{path}' is damaged, or holds pickled code, which is never run; save only its tensors"
            ) from None
        except _DAMAGES as error:
            reason = str(error).partition("\n")[0]
            if _is_pointer(path):
                reason = "it is a Git LFS pointer, not the weights; fetch them with `git lfs pull`"
            kind = path.suffix.removeprefix(".") or "weights"
            raise SaeError(f"SAE file '{path}' is damaged or not a {kind} file: {reason}") from None

    def config(self, name: str) -> dict[str, Any]:
        """The object in a JSON or YAML file; empty if the file is absent. Raises SaeError if it is damaged."""
        path = self.paths.get(name)
        return {} if path is None else _read_config(path)

    def config_nearby(self, name: str) -> dict[str, Any]:
        """The object in a JSON file near the SAE, by its path from the folder; empty if there is no such file."""
        path = self.folder / name
        return _read_config(path) if path.is_file() else {}

    @property
    def weights_name(self) -> str:
        """The name, or pattern, of the weights file."""
        return next(name for name, path in self.paths.items() if path.suffix not in {".json", ".yaml"})

    @property
    def weights_path(self) -> str:
        """The absolute path of the weights, in which formats name layers, sizes, hookpoints and models."""
        return Path(os.path.abspath(self.paths[self.weights_name])).as_posix()  # noqa: PTH100 (follows no link)

    @property
    def folder_name(self) -> str:
        """The name of its folder, also if that is `.`."""
        return Path(os.path.abspath(self.folder)).name  # noqa: PTH100 (follows no link)

    def find_in_path(self, pattern: str) -> re.Match[str] | None:
        """The last match of a pattern in the path of the weights."""
        matches = list(re.finditer(pattern, self.weights_path))
        return matches[-1] if matches else None


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a config value is a finite number; a boolean is not."""
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= sys.float_info.max


def count_of(value: Any, most: int, fail: Callable[[str], NoReturn], what: str) -> int:
    """A whole number from 1 to `most`, also if written as a float; `fail` refuses anything else, called `what`."""
    if is_number(value) and value == int(value) and 0 < value <= most:
        return int(value)
    fail(f"{what} {value!r}, not a number from 1 to {most}")


def text_in(config: Mapping[str, Any], key: str) -> str | None:
    """The string under a key of a config; None if there is none."""
    value = config.get(key)
    return value if isinstance(value, str) else None


def object_in(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object under a key of a config; empty if there is none."""
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _read_config(path: Path) -> dict[str, Any]:
    kind = "YAML" if path.suffix == ".yaml" else "JSON"
    try:
        text = path.read_text(encoding="utf-8-sig")
        config = yaml.safe_load(text) if kind == "YAML" else json.loads(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise SaeError(f"SAE file '{path}' is not {kind}: {str(error).partition(chr(10))[0]}") from None
    if not isinstance(config, dict):
        raise SaeError(f"SAE file '{path}' does not hold a {kind} object")
    return config


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(40).startswith(b"version https://git-lfs")


_DAMAGES = (
    *(SafetensorError, OSError, ValueError, TypeError, RuntimeError, EOFError, LookupError),
    *(AssertionError, AttributeError, struct.error, zipfile.BadZipFile, zlib.error),
)
"""What the readers raise on files that are truncated or of another kind."""


def _read_npz(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}


def _read_torch(path: Path) -> dict[str, Any]:
    is_archive = zipfile.is_zipfile(path)
    with warnings.catch_warnings(action="ignore"):  # about pickles of other versions, which are read or refused
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    if not isinstance(content, dict):
        raise ValueError(f"it holds an object of type {type(content).__name__}, not tensors by name")
    return content
