"""The wheel, installed: its command runs in an empty folder, in an environment that knows no checkout."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from tiny import hand_set_entry, write_experiment
from waiting import end_group, until

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = {re.split("[<>=]", each)[0].replace("-", "_") for each in PROJECT["optional-dependencies"]["ui"]}
"""The packages of the extra `ui`."""
PATIENCE_SECONDS = 240
"""On a busy machine; on a quiet one the UI answers in a tenth of it."""

pytestmark = [
    pytest.mark.package,
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None, reason="hatchling, which builds the wheel, is not installed"
    ),
]


class Installed(NamedTuple):
    """An environment with the installed wheel and what it needs, and a folder with the packages of its extra."""

    python: Path
    site: Path
    extras: Path

    def variables(self, *, with_extras: bool) -> dict[str, str]:
        """The environment variables of a process."""
        before = {name: value for name, value in os.environ.items() if name not in {"DAGSTER_HOME", "PYTHONPATH"}}
        return {**before, "COLUMNS": "140", **({"PYTHONPATH": str(self.extras)} if with_extras else {})}

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python.with_name("latentlake")), *arguments]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(wheel, check=True, timeout=300)
    [file] = folder.glob("latentlake-*.whl")
    venv.create(folder / "environment", symlinks=True)
    python = folder / "environment" / "bin" / "python"
    install = [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(file)]
    subprocess.run(install, check=True, timeout=300)
    [site] = (folder / "environment" / "lib").glob("python*/site-packages")
    extras = folder / "extras"
    extras.mkdir()
    for entry in packages():
        is_extra = entry.name.partition("-")[0] in EXTRAS
        ((extras if is_extra else site) / entry.name).symlink_to(entry)
    assert {entry.name for entry in extras.iterdir()} > EXTRAS
    return Installed(python, site, extras)


def packages() -> Iterator[Path]:
    """What this Python's environment has: not our own package, and no .pth file, which may lead to a checkout."""
    seen: set[str] = set()
    for folder in sys.path:
        for entry in Path(folder).iterdir() if Path(folder).name == "site-packages" else ():
            is_kept = entry.suffix != ".pth" and not entry.name.startswith(("latentlake-", "__pycache__"))
            if is_kept and entry.name not in seen:
                seen.add(entry.name)
                yield entry


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


Say = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def latentlake(installed: Installed, empty: Path) -> Say:
    """The installed command in an empty folder, which has to end with an exit code."""

    def run(*arguments: str, with_extras: bool = False, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            installed.command(*arguments),
            cwd=empty,
            env=installed.variables(with_extras=with_extras),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == exit_code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def experiment(tmp_path: Path, tiny_subject: Path, prepared: Path) -> str:
    """The config of an experiment whose features wait to be explained, by the oracle."""
    shutil.copytree(prepared / "lake", tmp_path / "lake")
    path = write_experiment(
        tmp_path,
        subject={"model": str(tiny_subject)},
        saes=[hand_set_entry(prepared / "sae")],
        corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
        explaining={"provider": "oracle"},
        scoring={"provider": "oracle"},
    )
    return str(path)


def test_every_sql_file_prompt_and_shipped_file_is_in_the_wheel(installed: Installed) -> None:
    site = installed.site
    for folder, inside in (("sql", "pipeline/shipped/sql"), ("config", "pipeline/shipped/config")):
        files = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {path.relative_to(site / inside) for path in (site / inside).rglob("*") if path.is_file()} == files
    prompts = {path.relative_to(ROOT) for path in (ROOT / "pipeline").rglob("*.txt")}
    assert prompts and {path.relative_to(site) for path in (site / "pipeline").rglob("*.txt")} == prompts


def said(installed: Installed, folder: Path, code: str) -> str:
    """What some Python prints in the environment of the wheel, in a folder."""
    command, env = [str(installed.python), "-c", code], installed.variables(with_extras=False)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


def test_the_environment_has_the_wheel_and_no_checkout(installed: Installed, empty: Path) -> None:
    code = (
        "import json, sys, pathlib, assets, pipeline;"
        "holds = [folder for folder in sys.path if (pathlib.Path(folder) / 'pipeline').exists()];"
        "print(json.dumps([holds, assets.__file__, pipeline.__file__]))"
    )
    site = installed.site
    files = [str(site / package / "__init__.py") for package in ("assets", "pipeline")]
    assert json.loads(said(installed, empty, code)) == [[str(site)], *files]


def test_the_installed_command_runs_an_experiment_and_reads_its_lake(latentlake: Say, experiment: str) -> None:
    assert "Done in " in latentlake("run", experiment).stdout
    scored = latentlake("sql", experiment, "select count(*) > 4 as is_scored from scores").stdout
    assert "true" in scored
    assert "stop" in latentlake("fires", experiment, "the dog can stop").stdout
    said = latentlake("estimate", experiment).stdout  # the lake's version is the installed code's
    assert "per million llm features" in said
    for command, what in (("explore", "the explorer needs 'uvicorn'"), ("dev", "the Dagster UI needs")):
        words = " ".join(latentlake(command, experiment, exit_code=2).stderr.split())
        assert words.startswith(f"error: {what}") and words.endswith("; install latentlake with its extra 'ui'")


def test_dev_answers_in_a_folder_with_a_pipeline_of_its_own(
    installed: Installed, empty: Path, experiment: str
) -> None:
    for name in ("pipeline", "assets", "duckdb", "dagster"):
        (empty / f"{name}.py").write_text("raise AssertionError('not the installed one')\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (empty / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            installed.command("dev", experiment, "--port", str(port)),
            cwd=empty,
            env=installed.variables(with_extras=True),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = until(lambda: process.poll() is not None or names_of_tables(port), PATIENCE_SECONDS, every=0.5)
        said = (empty / "ui.log").read_text()
        assert found is not True and {"documents", "explanations", "scores"} <= found, said
    finally:
        end_group(process)


def names_of_tables(port: int) -> set[str] | None:
    """The tables in the graph that the UI shows; None while it does not answer."""
    body = json.dumps({"query": "{ assetNodes { assetKey { path } } }"}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, headers)
    with suppress(OSError), urllib.request.urlopen(request, timeout=30) as answer:
        return {node["assetKey"]["path"][-1] for node in json.loads(answer.read())["data"]["assetNodes"]}
    return None


def test_the_demo_is_found_from_an_empty_folder(installed: Installed, empty: Path) -> None:
    code = (
        "from pipeline.config import load_config; from pipeline.sae import load_sparse_coder;"
        "from pipeline.shipped import find; from pipeline.llm.ledger.prices import load_prices;"
        "config = load_config('config/demo.yaml'); load_prices(find(config.budget.prices));"
        "print(load_sparse_coder(config.saes[0].source).n_features)"
    )
    assert said(installed, empty, code).split() == ["4096"]
