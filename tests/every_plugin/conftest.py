"""A small real lake whose data half is made, on which every plug-in is run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config
from pipeline.lake import Lake

OpenLake = Callable[..., Lake]


@pytest.fixture(scope="session")
def lake_of(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> OpenLake:
    """A function that opens the lake of an experiment that asks the oracle, with sections changed.

    All share one folder: what differs has another version, and what does not is made once.
    """
    from tiny import hand_set_entry, open_lake, write_experiment

    from pipeline.make_table import make_table

    root = tmp_path_factory.mktemp("every_plugin")
    shutil.copytree(prepared / "lake", root / "lake")

    def opened(explaining: dict[str, Any] | None = None, scoring: dict[str, Any] | None = None) -> Lake:
        path = write_experiment(
            root,
            subject={"model": load_config(prepared / "tiny.yaml").subject.model},
            saes=[hand_set_entry(prepared / "sae")],
            corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
            explaining={"provider": "oracle", "n_examples": 20, "controls": 8, **(explaining or {})},
            scoring={"provider": "oracle", "n_questions": 20, **(scoring or {})},
        )
        lake = open_lake(load_config(path))
        [sae] = lake.config.sae_names
        if not lake.has("fuzzing_pairs", sae=sae, batch=0):
            make_table(lake, "examples", sae=sae, batch=0)
            make_table(lake, "fuzzing_pairs", sae=sae, batch=0)
        return lake

    return opened
