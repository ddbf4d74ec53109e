"""A small lake with every table filled, for the explorer's pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from explored import HOSTILE, N_FEATURES, TOKEN, client
from starlette.testclient import TestClient

from benchmarks.chromium import Page, open_browser
from benchmarks.explorer_lake import make_lake, write_config
from benchmarks.pictures import serving
from pipeline.config import Config, load_config


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment and its lake, for tests that only read."""
    folder = tmp_path_factory.mktemp("explored")
    config = load_config(write_config(folder, N_FEATURES))
    make_lake(config, HOSTILE, n_contexts=20, n_tokens=40)
    return folder


@pytest.fixture
def config(made: Path, tmp_path: Path) -> Config:
    """The experiment with a copy of its lake, for tests that write."""
    shutil.copytree(made / "lake", tmp_path / "lake")
    return load_config(write_config(tmp_path, N_FEATURES))


@pytest.fixture(scope="session")
def browser(made: Path) -> TestClient:
    """A browser on the lake that is only read."""
    return client(load_config(made / "synthetic.yaml"))


@pytest.fixture(scope="session")
def served(made: Path) -> Iterator[str]:
    """The lake's explorer on a port of this machine: its address."""
    with serving(load_config(made / "synthetic.yaml"), TOKEN) as address:
        yield address


@pytest.fixture(scope="session")
def chromium() -> Iterator[Page]:
    """A tab of a real browser."""
    with open_browser() as page:
        yield page
