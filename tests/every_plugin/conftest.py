"""A small real lake whose data half is made, on which every plug-in is run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config
from pipeline.lake import Lake

OpenLake = Callable[..., Lake]


@pytest.fixture(scope="session")
def copied_lake(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], OpenLake]:
    """A function that copies the prepared lake and returns one that opens the copy.

    That asks the oracle, with keys of `explaining` and `scoring` changed, and further sections as they are given.
    """
    from tiny import hand_set_entry, open_lake, write_experiment

    def copied() -> OpenLake:
        root = tmp_path_factory.mktemp("every_plugin")
        shutil.copytree(prepared / "lake", root / "lake")

        def opened(
            explaining: dict[str, Any] | None = None, scoring: dict[str, Any] | None = None, **sections: Any
        ) -> Lake:
            path = write_experiment(
                root,
                subject={"model": load_config(prepared / "tiny.yaml").subject.model},
                saes=[hand_set_entry(prepared / "sae")],
                corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
                explaining={"provider": "oracle", "n_examples": 20, "controls": 8, **(explaining or {})},
                scoring={"provider": "oracle", "n_questions": 20, **(scoring or {})},
                **sections,
            )
            return open_lake(load_config(path))

        return opened

    return copied


@pytest.fixture(scope="session")
def score() -> Callable[[Lake], None]:
    """A function that makes a lake's first batch up to its scores, after a pilot that needs few answers."""
    from pipeline.explainers.write import write_explanations
    from pipeline.make_table import make_table
    from pipeline.pilot import write
    from pipeline.scorers.write import write_predictions

    def scored(lake: Lake) -> None:
        [sae] = lake.config.sae_names
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(write, "LEAST_EXPLANATIONS", 4)
            patch.setattr(write, "LEAST_FEATURES", 2)
            patch.setattr(write, "LEAST_ANSWERS", 6)
            write.write_scorer_rhos(lake, sae)
        make_table(lake, "examples", sae=sae, batch=0)
        make_table(lake, "fuzzing_pairs", sae=sae, batch=0)
        write_explanations(lake, sae, 0)
        write_predictions(lake, sae, 0)
        make_table(lake, "scores", sae=sae, batch=0)

    return scored


@pytest.fixture(scope="session")
def lake_of(copied_lake: Callable[[], OpenLake]) -> OpenLake:
    """A function that opens a lake with examples and fuzzing pairs, that of an experiment with keys changed.

    All are in one folder: what differs has another version, and what does not is made once. A lake is opened once.
    """
    from pipeline.make_table import make_table

    open_copy = copied_lake()
    lakes: dict[str, Lake] = {}

    def opened(**sections: Any) -> Lake:
        key = json.dumps(sections)
        if key not in lakes:
            lakes[key] = lake = open_copy(**sections)
            [sae] = lake.config.sae_names
            for table in ("examples", "fuzzing_pairs"):
                if not lake.has(table, sae=sae, batch=0):
                    make_table(lake, table, sae=sae, batch=0)
        return lakes[key]

    return opened
