"""The rows of a SQL file that a function makes; the function's module is imported when they are."""

from importlib import import_module
from typing import cast

import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.tables.compiled import COMPILED


def compiled_rows(name: str, inputs: Inputs) -> pa.Table:
    """The rows of a SQL file by its function."""
    module_name, _, path = COMPILED[name].partition(":")
    owner, _, function = path.rpartition(".")
    module = import_module(module_name)
    if owner:
        return getattr(inputs.shared(getattr(module, owner)), function)()
    return cast("pa.Table", getattr(module, function)(inputs))
