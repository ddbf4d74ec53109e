"""The rows of a SQL file in `sql/compiled/`; the module that makes them is imported on first use."""

from importlib import import_module
from typing import cast

import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.tables.compiled import COMPILED, counts_firings


def compiled_rows(name: str, inputs: Inputs) -> pa.Table:
    """The rows of a SQL file, from the function of its name."""
    module = import_module(COMPILED[name])
    if counts_firings(name):
        return getattr(inputs.shared(module.Counts), name)()
    return cast("pa.Table", getattr(module, name)(inputs))
