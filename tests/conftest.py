"""Fixtures that all tests share. The tiny subject model and the prepared lake are made once a session.

The process that hands out the tests loads this file too, so that it imports nothing heavy.
"""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import DEVICE_VARIABLE, LAKE_VARIABLE, Config, load_config

os.environ["OMP_NUM_THREADS"] = "1"
"""One thread for torch, here and in processes that tests start: on tiny tensors more of them only wait."""

_IN_MEMORY = Path("/dev/shm")
if _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))
"""Where pytest keeps its folders: tens of thousands of small files, which a slow disk takes minutes to remove."""


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Dagster's history, which SQLite brings to the disk event by event, need not outlive a loss of power."""
    import sqlalchemy

    def switch_off(connection: object, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("pragma synchronous = off")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", switch_off)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", switch_off)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the lake is and which device computes come from the test's own config."""
    for variable in (LAKE_VARIABLE, DEVICE_VARIABLE, "LATENTLAKE_CONFIG"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def nothing_known_before() -> None:
    """What a test finds on the hub is its own, and so are the lakes that it opens."""
    if hub := sys.modules.get("pipeline.sae.hub"):
        hub.download.cache_clear()
    if lakes := sys.modules.get("assets.graph.lakes"):
        lakes.forget_lakes()


@pytest.fixture(scope="session")
def tiny_subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny subject model and its tokenizer."""
    from tiny import write_tiny_subject

    return write_tiny_subject(tmp_path_factory.mktemp("subject"))


@pytest.fixture(scope="session")
def answers(tiny_subject: Path) -> dict[int, dict[int, float]]:
    """What the hand-set SAE must give: feature to token id to activation."""
    from tiny import hand_set_answers

    return hand_set_answers(tiny_subject)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_subject: Path) -> Path:
    """A folder with an experiment whose data half is made, to be copied."""
    from faults import prepare

    return prepare(tmp_path_factory.mktemp("prepared"), tiny_subject)


@pytest.fixture(scope="session")
def finished(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of an experiment whose every table is made, by the oracle; to be read only."""
    from faults import finish

    return finish(prepared, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def make_experiment(tmp_path: Path, tiny_subject: Path) -> Callable[..., Config]:
    """A function that writes an experiment below tmp_path, with sections changed, and loads its config."""
    from tiny import write_experiment

    def make(folder: Path = tmp_path, **sections: Any) -> Config:
        subject = {"model": str(tiny_subject), **sections.pop("subject", {})}
        return load_config(write_experiment(folder, subject=subject, **sections))

    return make
