"""The SQL files in `sql/compiled` and the functions that make their rows: one for the other, and hashed."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.tables import compiled
from pipeline.tables.compiled import ARRAYS, COMPILED, compiled_sources, counts_firings, source_text
from pipeline.tables.sql import SQL_FOLDER, sql_text
from pipeline.tables.stages import STAGES
from pipeline.tables.versions import SourceHashes, Versions

ROOT = Path(__file__).parents[2]


def test_every_file_of_the_folder_has_its_function_and_the_other_way_round():
    files = {path.stem for path in (SQL_FOLDER / "compiled").glob("*.sql")}
    assert {*COMPILED, *ARRAYS & files} == files


@pytest.mark.parametrize("name", COMPILED)
def test_a_file_says_which_function_makes_its_rows_and_that_function_is_there(name):
    module = import_module(COMPILED[name])
    owner, path = (module.Counts, f"Counts.{name}") if counts_firings(name) else (module, name)
    assert callable(getattr(owner, name))
    assert f"-- Rows made by {module.__name__.replace('.', '/')}.py: {path}\n" in sql_text(name)


def test_every_function_is_of_a_table_that_uses_it():
    assert set(COMPILED) <= {step for stage in STAGES.values() for step in stage.steps}


def test_the_sources_of_a_step_are_its_module_and_those_that_it_is_made_of():
    assert set(compiled_sources(["feature_counts"])) == {
        *("pipeline.compiled.counting", "pipeline.compiled.inputs", "pipeline.compiled.passes"),
        *("pipeline.compiling", "pipeline.firings.buckets", "pipeline.firings.layout"),
    }
    assert compiled_sources(["feature_routes", "train_tokens"]) == {}


def test_every_module_is_in_the_version_of_some_table():
    folder = ROOT / "pipeline" / "compiled"
    paths = {path.relative_to(ROOT).with_suffix("") for path in folder.rglob("*.py") if path.stem != "__init__"}
    hashed = {module for stage in STAGES.values() for module in compiled_sources(stage.steps)}
    dispatching = {"pipeline.compiled.rows"}  # decides no row: it calls the function of a step's name
    assert {".".join(path.parts) for path in paths} == dispatching | {
        module for module in hashed if module.startswith("pipeline.compiled.")
    }


@pytest.mark.parametrize(
    ("module", "own"),
    [
        ("pipeline.compiled.drawing", {"example_index"}),
        ("pipeline.compiled.rendering", {"examples", "scorer_rhos"}),
        ("pipeline.compiled.counting", {"feature_tokens", "feature_stats", "example_index"}),
        ("pipeline.compiled.token_mass", {"feature_stats"}),
    ],
)
def test_changed_code_makes_new_versions_of_its_tables_and_of_what_follows(
    make_experiment, monkeypatch, module, own
):
    config = make_experiment()

    def hashes():
        return {table: Versions(config, SourceHashes()).of(table, config.sae_names[0]) for table in STAGES}

    before = hashes()
    monkeypatch.setattr(compiled, "source_text", lambda name: source_text(name) + "x = 1\n" * (name == module))
    after = hashes()
    expected = set(own)
    for table, stage in STAGES.items():
        if expected & set(stage.inputs):
            expected.add(table)
    assert {table for table in STAGES if before[table] != after[table]} == expected


def test_a_changed_cofiring_loop_makes_a_new_version_of_its_table(make_experiment, monkeypatch):
    config = make_experiment()  # without the scorer that reads the table

    def hashes():
        tables = ("feature_cofirings", "feature_stats", "example_index", "explanations")
        return {table: Versions(config, SourceHashes()).of(table, config.sae_names[0]) for table in tables}

    before = hashes()
    module = "pipeline.compiled.cofirings"
    monkeypatch.setattr(compiled, "source_text", lambda name: source_text(name) + "x = 1\n" * (name == module))
    after = hashes()
    assert {table for table in before if before[table] != after[table]} == {"feature_cofirings"}


def test_the_graph_knows_versions_without_numba_and_torch(make_experiment, tmp_path):
    make_experiment()
    code = (
        "import sys\nfrom pipeline.config import load_config\nfrom assets.graph.build import build_definitions\n"
        "build_definitions(load_config(sys.argv[1]))\n"
        "sys.exit(bool({'numba', 'torch', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "tiny.yaml")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
