"""Fixtures that all tests share. The tiny subject model and the prepared lake are made once a session."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import hand_set_answers, write_experiment, write_tiny_subject

from pipeline.config import DEVICE_VARIABLE, LAKE_VARIABLE, Config, load_config


def pytest_configure() -> None:
    """One thread for torch, here and in processes that tests start: on tiny tensors more of them only wait."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the lake is and which device computes come from the test's own config."""
    for variable in (LAKE_VARIABLE, DEVICE_VARIABLE, "LATENTLAKE_CONFIG"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def tiny_subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny subject model and its tokenizer."""
    return write_tiny_subject(tmp_path_factory.mktemp("subject"))


@pytest.fixture(scope="session")
def answers(tiny_subject: Path) -> dict[int, dict[int, float]]:
    """What the hand-set SAE must give: feature to token id to activation."""
    return hand_set_answers(tiny_subject)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_subject: Path) -> Path:
    """A folder with an experiment whose data half is made, to be copied."""
    from faults import prepare

    return prepare(tmp_path_factory.mktemp("prepared"), tiny_subject)


@pytest.fixture
def make_experiment(tmp_path: Path, tiny_subject: Path) -> Callable[..., Config]:
    """A function that writes an experiment below tmp_path, with sections changed, and loads its config."""

    def make(folder: Path = tmp_path, **sections: Any) -> Config:
        subject = {"model": str(tiny_subject), **sections.pop("subject", {})}
        return load_config(write_experiment(folder, subject=subject, **sections))

    return make
