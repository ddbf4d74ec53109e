"""The wheel, installed: its command runs in an empty folder, with no checkout around it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import hand_set_entry, write_experiment

ROOT = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.package,
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None, reason="hatchling, which builds the wheel, is not installed"
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel alone."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(wheel, check=True, timeout=300)
    [file] = folder.glob("latentlake-*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(file)]
    subprocess.run(install, check=True, timeout=300)
    return folder / "site"


@pytest.fixture
def latentlake(site: Path, tmp_path: Path):
    """The installed command in an empty folder; its output."""
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "140"}

    def run(*arguments: str) -> str:
        command = [str(site / "bin" / "latentlake"), *arguments]
        done = subprocess.run(
            command, cwd=empty, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_every_sql_file_prompt_and_shipped_file_is_in_the_wheel(site: Path) -> None:
    for folder, inside in (("sql", "pipeline/shipped/sql"), ("config", "pipeline/shipped/config")):
        files = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {path.relative_to(site / inside) for path in (site / inside).rglob("*") if path.is_file()} == files
    prompts = {path.relative_to(ROOT) for path in (ROOT / "pipeline").rglob("*.txt")}
    assert prompts and {path.relative_to(site) for path in (site / "pipeline").rglob("*.txt")} == prompts


def test_the_installed_command_reads_a_lake_from_an_empty_folder(
    latentlake, tmp_path: Path, tiny_subject: Path, prepared: Path
) -> None:
    shutil.copytree(prepared / "lake", tmp_path / "lake")
    path = write_experiment(
        tmp_path,
        subject={"model": str(tiny_subject)},
        saes=[hand_set_entry(prepared / "sae")],
        corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
    )
    config = str(path)
    assert "stop" in latentlake("fires", config, "the dog can stop")
    assert "hand-set" in latentlake("sql", config, "select sae from saes")
    said = latentlake("estimate", config)  # its SQL and its prompts; the lake's version is the installed code's
    assert "per million llm features" in said


def test_the_demo_is_found_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    code = (
        "from pipeline.config import load_config; from pipeline.sae import load_sparse_coder;"
        "from pipeline.shipped import find; from pipeline.llm.ledger.prices import load_prices;"
        "config = load_config('config/demo.yaml'); load_prices(find(config.budget.prices));"
        "import pipeline; print(pipeline.__file__, load_sparse_coder(config.saes[0].source).n_features)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(site / "pipeline" / "__init__.py"), "4096"]
