"""Models with and without their LM head, each in memory only once.

Reading the subject model's activations takes no head. Steering it takes one, and so does a model that answers in
this process. Models from the same files share their weights.
"""

from functools import cache
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError
from pipeline.models.int8 import make_ready
from pipeline.models.load import Location, find_files, load_location_config, loading, pick_device
from pipeline.models.precision import dtype_of

_without_head: dict[tuple[Location, torch.dtype, str], Any] = {}


def load_base(subject: SubjectConfig, device: str) -> Any:
    """A model without its LM head in its dtype on a device, loaded once per process from the same files.

    Raises SubjectError if it cannot be loaded, or its files lack weights.
    """
    found = pick_device(device)
    key = (find_files(subject), dtype_of(subject.dtype, found), str(found))
    if key not in _without_head:
        _without_head[key] = _load_base(*key, subject.model)
    return _without_head[key]


def load_causal(subject: SubjectConfig, device: str) -> Any:
    """A model with its LM head in its dtype on a device, loaded once per process from the same files.

    Raises SubjectError if it cannot be loaded, or its files have no head.
    """
    found = pick_device(device)
    return _load_causal(find_files(subject), dtype_of(subject.dtype, found), str(found), subject.model)


def _load_base(location: Location, dtype: torch.dtype, device: str, name: str) -> Any:
    model, report = _loaded(AutoModel, location, dtype, name)
    # transformers fills missing weights with random numbers. A missing pooler is harmless: it is after every
    # hookpoint.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise SubjectError(
            f"subject model '{name}' lacks {len(missing)} weights, such as '{missing[0]}'; its files are "
            "incomplete, or do not fit the architecture in its config"
        )
    return model.eval().to(device)


@cache
def _load_causal(location: Location, dtype: torch.dtype, device: str, name: str) -> Any:
    model, report = _loaded(AutoModelForCausalLM, location, dtype, name)
    if report["missing_keys"]:
        raise SubjectError(
            f"the files of model '{name}' have no '{sorted(report['missing_keys'])[0]}', and "
            "a model without it cannot write text"
        )
    base = _without_head.get((location, dtype, device))
    if type(model.base_model) is type(base):
        setattr(model, model.base_model_prefix, base)
        model.tie_weights()
        return model.eval().to(device)
    if device == "cpu":
        make_ready(model)
    model.eval().to(device)
    if type(model.base_model) is AutoModel._model_mapping[type(model.config)]:
        _without_head.setdefault((location, dtype, device), model.base_model)
    return model


def _loaded(kind: Any, location: Location, dtype: torch.dtype, name: str) -> tuple[Any, dict[str, Any]]:
    """The model as transformers loads it, and its report of what the files lack."""
    config = load_location_config(location, name)
    with loading(name):
        model, report = kind.from_pretrained(
            location.name, config=config, dtype=dtype, output_loading_info=True, **location.arguments
        )
    return model, report
