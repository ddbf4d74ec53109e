"""The machine: where the lakes are, what computes, how much at once."""

import os
from pathlib import Path

from pydantic import Field

from pipeline.config.section import Positive, Section

LAKE_VARIABLE = "LATENTLAKE_LAKE"
LLM_VARIABLE = "LATENTLAKE_LLM"
DEVICE_VARIABLE = "LATENTLAKE_DEVICE"


class MachineConfig(Section):
    """Where and how fast; in no stage hash. `LATENTLAKE_LAKE` and `LATENTLAKE_DEVICE` go before it."""

    lake: Path = Field(
        Path("lake"),
        description="Folder of all lakes; the experiment's is below it, and so is `models/`, which keeps the "
        "float32 tensors of GGUF files, read from there after their first use",
    )
    device: str = Field("auto", description="`auto` (cuda, else mps, else cpu), `cpu`, `cuda:1`, …")
    batch_tokens: Positive = Field(2048, description="Tokens of one forward pass")
    flush_tokens: Positive = Field(262_144, description="Tokens whose firings are sorted and written at once")
    memory_limit: str = Field("4GB", description="DuckDB's memory; beyond it queries spill to disk")


def lakes_folder(given: Path) -> Path:
    """The folder of all lakes, absolute: the environment's before the config's."""
    return Path(os.environ.get(LAKE_VARIABLE) or given).absolute()
