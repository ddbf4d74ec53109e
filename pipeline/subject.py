"""The subject model: found, loaded without its LM head, and run no deeper than the deepest hookpoint.

A hookpoint is a module path below the base model (`layers.9`, `layers.9.mlp`). All hookpoints are read in
one pass, which ends as soon as the last of them has been read.
"""

import copy
import importlib.util
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    modeling_gguf_pytorch_utils,
)

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError, nearest
from pipeline.precision import dtype_of

PACKAGE_PREFIX = "package:"


class Hookpoint(NamedTuple):
    """A place in the model: a module's path below the base model, and which side of it is read."""

    module: str
    reads: Literal["output", "input"] = "output"


class Location(NamedTuple):
    """Where transformers finds a model: hub name or folder, and a GGUF file in it."""

    name: str
    gguf_file: str | None
    revision: str | None

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `from_pretrained` beside the name; no code from the hub is run."""
        given = {"gguf_file": self.gguf_file, "revision": self.revision, "trust_remote_code": False}
        return {key: value for key, value in given.items() if value is not None}


def locate(subject: SubjectConfig) -> Location:
    """Where a model is. Raises SubjectError if the folder, package or GGUF file is not there."""
    name, gguf_file = subject.model, subject.gguf_file
    if name.startswith(PACKAGE_PREFIX):
        package = name.removeprefix(PACKAGE_PREFIX)
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise SubjectError(
                f"subject model '{name}': package '{package}' is not installed; 'make setup' installs it"
            )
        folder = Path(spec.submodule_search_locations[0])
        found = sorted(path.relative_to(folder) for path in folder.rglob("*.gguf"))
        if not found:
            raise SubjectError(f"subject model '{name}': package '{package}' carries no GGUF file")
        return Location(str(folder), gguf_file or str(found[0]), None)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if gguf_file and not (folder / gguf_file).is_file():
            known = nearest(gguf_file, [path.name for path in folder.iterdir()])
            raise SubjectError(f"subject model '{name}' has no file '{gguf_file}'; nearest: {known}")
        return Location(str(folder), gguf_file, None)
    if name.startswith((".", "/", "~")):
        raise SubjectError(f"subject model: no folder '{name}'")
    return Location(name, gguf_file, subject.revision)


def load_tokenizer(subject: SubjectConfig) -> PreTrainedTokenizerBase:
    """The model's fast tokenizer, loaded once per process. Raises SubjectError if there is none."""
    return _load_tokenizer(locate(subject), subject.model)


@cache
def _load_tokenizer(location: Location, model: str) -> PreTrainedTokenizerBase:
    with loading(model):
        tokenizer = AutoTokenizer.from_pretrained(location.name, **location.arguments)
    if not tokenizer.is_fast:
        raise SubjectError(f"subject model '{model}' has no fast tokenizer, which latentlake needs")
    tokenizer.model_max_length = int(1e9)  # contexts are cut here, not by the tokenizer
    return tokenizer


def load_subject_config(subject: SubjectConfig) -> Any:
    """The model's transformers config, without its weights; a copy, as building a model sets keys."""
    return copy.deepcopy(_load_config(locate(subject), subject.model))


@cache
def _load_config(location: Location, model: str) -> Any:
    """Read once per process: for it transformers reads a GGUF file's whole vocabulary, which takes seconds."""
    with loading(model):
        return AutoConfig.from_pretrained(location.name, **location.arguments)


def hookpoint_widths(subject: SubjectConfig, hookpoints: Collection[Hookpoint]) -> dict[Hookpoint, int]:
    """The width of what each hookpoint gives, found without loading a weight.

    The model is built on torch's meta device and run once on shapes alone.

    Raises:
        SubjectError: The model cannot be found, or a hookpoint is no module of it.
    """
    with torch.device("meta"):
        model = AutoModel.from_config(load_subject_config(subject))
    _check_hookpoints(model, subject.model, hookpoints)
    # A ready-made mask: transformers would look into the (absent) values to make one.
    arguments = {"attention_mask": torch.zeros((1, 1, 4, 4), device="meta"), "use_cache": False}
    with _reading(model, hookpoints) as read:
        model(input_ids=torch.zeros((1, 4), dtype=torch.long, device="meta"), **arguments)
    return {hookpoint: read[hookpoint].shape[-1] for hookpoint in hookpoints}


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


class Subject:
    """A loaded base model (no LM head)."""

    def __init__(self, model: nn.Module, name: str, device: torch.device) -> None:
        self.model = model.eval().to(device)
        self.name = name
        self.device = device

    @torch.inference_mode()
    def read(self, token_ids: Tensor, hookpoints: Collection[Hookpoint]) -> dict[Hookpoint, Tensor]:
        """What hookpoints give for token_ids [n_contexts, length], int64: [n_contexts, length, width] each.

        Shorter contexts are padded at the end: attention is causal, so what comes before is unchanged.
        """
        with _reading(self.model, hookpoints) as read:
            self.model(input_ids=token_ids.to(self.device), use_cache=False)
        return read


def load_subject(subject: SubjectConfig, device: str) -> Subject:
    """The subject model in its dtype on a device, loaded once per process."""
    return _load_subject(subject, str(pick_device(device)))


@cache
def _load_subject(subject: SubjectConfig, device: str) -> Subject:
    location = locate(subject)
    dtype = dtype_of(subject.dtype, torch.device(device))
    config = load_subject_config(subject)
    with loading(subject.model), mapping_names_once(location):
        model, report = AutoModel.from_pretrained(
            location.name, config=config, dtype=dtype, output_loading_info=True, **location.arguments
        )
    # transformers fills absent weights with random numbers and goes on. A pooler is behind every hookpoint.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise SubjectError(
            f"subject model '{subject.model}' lacks {len(missing)} weights, such as '{missing[0]}'; its files are "
            "incomplete, or of another architecture than its config says"
        )
    return Subject(model, subject.model, torch.device(device))


class _LastHookpointReadError(Exception):
    """Ends a forward pass; never leaves this module."""


@contextmanager
def _reading(model: nn.Module, hookpoints: Collection[Hookpoint]) -> Iterator[dict[Hookpoint, Tensor]]:
    """Hook the model; the dict fills during a forward pass, which ends with the last hookpoint."""
    read: dict[Hookpoint, Tensor] = {}

    def keep(hookpoint: Hookpoint, value: Any) -> None:
        read[hookpoint] = value[0] if isinstance(value, tuple) else value
        if len(read) == len(set(hookpoints)):
            raise _LastHookpointReadError

    handles = []
    for hookpoint in set(hookpoints):
        module = model.get_submodule(hookpoint.module)
        if hookpoint.reads == "output":
            handle = module.register_forward_hook(
                lambda _module, _inputs, output, place=hookpoint: keep(place, output)
            )
        else:
            handle = module.register_forward_pre_hook(lambda _module, inputs, place=hookpoint: keep(place, inputs))
        handles.append(handle)
    try:
        yield read
    except _LastHookpointReadError:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _check_hookpoints(model: nn.Module, name: str, hookpoints: Collection[Hookpoint]) -> None:
    known = [path for path, _ in model.named_modules() if path]
    for hookpoint in hookpoints:
        if hookpoint.module not in known:
            raise SubjectError(
                f"hookpoint '{hookpoint.module}' is not a module of '{name}'; "
                f"nearest: {nearest(hookpoint.module, known)}"
            )


@contextmanager
def mapping_names_once(location: Location) -> Iterator[None]:
    """Load a GGUF file's weights: transformers builds the same map of tensor names for every module of a model."""
    if location.gguf_file is None:
        yield
        return
    import gguf

    build = gguf.get_tensor_name_map
    gguf.get_tensor_name_map = cache(build)
    try:
        yield
    finally:
        gguf.get_tensor_name_map = build


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Load from transformers without its progress bars; what it raises becomes one sentence of a SubjectError."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # The bar for GGUF tensors does not listen to the line above.
    bar = modeling_gguf_pytorch_utils.tqdm
    modeling_gguf_pytorch_utils.tqdm = partial(bar, disable=True)
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SubjectError(
            f"language model '{model}' cannot be loaded: {reason} (give a local folder, or a hub name "
            "with a connection and, for gated models, a token in HF_TOKEN)"
        ) from None
    finally:
        modeling_gguf_pytorch_utils.tqdm = bar
