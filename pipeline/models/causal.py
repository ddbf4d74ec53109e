"""Models with their LM head, each in memory once whoever asks for it: the subject model that is steered, a model
that answers in this process."""

from functools import cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError
from pipeline.models.int8 import make_ready
from pipeline.models.load import Location, find_files, load_location_config, loading, pick_device
from pipeline.models.precision import dtype_of


def load_causal(subject: SubjectConfig, device: str) -> Any:
    """A model with its LM head in its dtype on a device, loaded once per process from the same files.

    Raises SubjectError if it cannot be loaded, or its files have no head.
    """
    found = pick_device(device)
    return _load(find_files(subject), subject.model, dtype_of(subject.dtype, found), str(found))


@cache
def _load(location: Location, name: str, dtype: torch.dtype, device: str) -> Any:
    config = load_location_config(location, name)
    with loading(name):
        model, report = AutoModelForCausalLM.from_pretrained(
            location.name, config=config, dtype=dtype, output_loading_info=True, **location.arguments
        )
    if report["missing_keys"]:
        raise SubjectError(
            f"the files of model '{name}' have no '{sorted(report['missing_keys'])[0]}', and "
            "without it the model writes nothing"
        )
    if device == "cpu":
        make_ready(model)
    return model.eval().to(device)
