"""The house rules that a machine can read: who imports whom, and that each idea has its one home."""

import ast
import functools
import re
import sys
from pathlib import Path

import pytest

from benchmarks.pages.cost import cost_page
from benchmarks.pages.explainers import explainers_page
from benchmarks.pages.references import config_page, tables_page
from benchmarks.pages.scorers import scorers_page
from pipeline.plugins import find_plugins
from pipeline.tables import TABLES
from pipeline.tables.sql import config_value, parameters_of, relations_read, sql_files, sql_text
from pipeline.tables.stages import STAGES

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("pipeline", "assets")
    for path in (ROOT / package).rglob("*.py")
}
HEAVY = {
    *("torch", "numba", "transformers", "openai", "duckdb", "polars", "scipy", "matplotlib", "datasets"),
    *("safetensors", "ray", "dagster_ray", "dagster_postgres"),
}


@functools.cache
def imports(path: Path, *, module_level: bool = False) -> set[str]:
    """The modules that a file imports; `module_level` leaves out functions and `if TYPE_CHECKING`."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if module_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.If):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                found.add(child.module)
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def roots(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_the_library_knows_neither_dagster_nor_the_graph() -> None:
    for name, path in MODULES.items():
        if name.startswith("pipeline"):
            assert not roots(imports(path)) & {"dagster", "assets"}, name


def loaded_without(heavy: set[str], names: list[str]) -> set[str]:
    """The modules that are loaded with some; fails if one of them imports what is heavy."""
    reached: set[str] = set()
    while names:
        name = names.pop()
        if name in reached:
            continue
        reached.add(name)
        found = imports(MODULES[name], module_level=True)
        assert not roots(found) & heavy, f"{name} imports {roots(found) & heavy}"
        names += [each for each in found if each in MODULES]
    return reached


def test_the_graph_imports_nothing_heavy_when_it_loads() -> None:
    found = loaded_without(HEAVY, [name for name in MODULES if name.startswith("assets")])
    assert "pipeline.config" in found


def test_who_reads_a_lake_waits_for_no_model_to_be_imported() -> None:
    found = loaded_without({"torch", "transformers"}, ["pipeline.sources", "pipeline.commands.export"])
    assert "pipeline.texts.readers" in found


def test_the_settings_of_a_plug_in_import_only_pydantic() -> None:
    given = sys.stdlib_module_names | {"pydantic"}
    assert roots(imports(MODULES["pipeline.sampling"])) <= given
    for plugin in (*find_plugins("explainers").values(), *find_plugins("scorers").values()):
        others = {name for name in imports(plugin.path / "settings.py") if name.partition(".")[0] not in given}
        assert others <= {"pipeline.sampling", "pipeline.sampling.ShowingSettings"}, plugin


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports within functions count, too."""
    arrows = {
        name: {each for each in imports(path) if each in MODULES and each != name}
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle: {' -> '.join((*trail, name))}"
        if name not in done:
            for each in arrows[name]:
                # A package's __init__ only gathers what its own modules give.
                if not name.startswith(each + "."):
                    walk(each, (*trail, name))
            done.add(name)

    for name in arrows:
        walk(name, ())


def test_a_folder_imports_only_those_before_it_in_the_list_of_folders() -> None:
    """The list is that of docs/how-it-is-built.md, after what all share. So no folders import in a circle."""
    page = (ROOT / "docs" / "how-it-is-built.md").read_text(encoding="utf-8")
    shared, listed = re.findall(r"(?m)^In addition.*(?:\n.+)*", page), re.findall(r"(?m)^\| (`.*?) \|", page)
    folders = re.findall(r"`(\w+)(?:/|\.py)`", "".join([*shared, *listed]).replace("`sql/` and `config/`", ""))
    assert sorted(folders) == sorted({name.split(".")[1] for name in MODULES if name.startswith("pipeline.")})
    later = {
        f"{name} imports {each}"
        for name, path in MODULES.items()
        for each in imports(path) & MODULES.keys()
        if name.startswith("pipeline.") and each.startswith("pipeline.")
        if folders.index(each.split(".")[1]) > folders.index(name.split(".")[1])
    }
    assert later == set()


def test_every_table_has_one_schema_one_stage_and_its_place_in_the_docs() -> None:
    assert list(TABLES) != []
    made = {name for name, table in TABLES.items() if table.partition != "ledger"}
    assert made == set(STAGES)
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    for name in TABLES:
        assert f"### {name}\n" in page


def test_every_table_says_what_one_row_is() -> None:
    for table in TABLES.values():
        assert table.row.startswith("One row per ")


def test_every_stage_names_the_module_of_its_function_or_is_made_by_its_sql() -> None:
    for name, stage in STAGES.items():
        assert callable(stage.write) and (stage.module or stage.is_sql), name
        assert not stage.is_on_demand or callable(stage.stand_in), name


def test_the_laws_of_the_tables_are_the_files_of_checks() -> None:
    checks = {name.removeprefix("checks/") for name in sql_files() if name.startswith("checks/")}
    assert {law.check for table in TABLES.values() for law in table.laws} == checks


def test_stages_come_in_the_order_of_the_tables_and_after_their_inputs() -> None:
    assert list(STAGES) == [name for name, table in TABLES.items() if table.partition != "ledger"]
    before: set[str] = set()
    for name, stage in STAGES.items():
        assert set(stage.inputs) <= before, name
        before.add(name)


def test_every_sql_file_is_used_and_says_what_one_row_is() -> None:
    used_names = {name for stage in STAGES.values() for name in stage.steps}
    source = "\n".join(path.read_text(encoding="utf-8") for path in MODULES.values())
    todo = [name for name in sql_files() if f'"{name.rpartition("/")[2]}"' in source]
    while todo:  # what is named in code, and the steps before it
        used_names.add(name := todo.pop())
        todo += [each for each in relations_read(name) if each in {*sql_files()} - used_names]
    for name, path in sql_files().items():
        folder, _, last = name.rpartition("/")
        used = name in used_names or (folder == "figures" and last in TABLES)
        used |= path.parent.name == "cookbook"  # run by people, and by tests/commands/test_cookbook.py
        used |= path.parent.parts[-2:] == ("explore", "examples")  # listed by pipeline/explore/statement.py
        assert used, f"sql/{name}.sql is run by nobody"
        assert path.read_text(encoding="utf-8").startswith(("-- One row", "-- A few rows")), name


@pytest.mark.parametrize("table", STAGES)
def test_a_stage_parameter_is_a_key_of_the_config_or_declared_by_the_stage(table: str) -> None:
    from pipeline.config import load_config

    config, stage = load_config(ROOT / "config" / "demo.yaml"), STAGES[table]
    for name in {parameter for step in stage.steps for parameter in parameters_of(sql_text(step))}:
        if name not in stage.given_values:
            config_value(config, name)


def test_a_draw_is_a_hash_and_no_generator_has_a_state() -> None:
    """But for weights at random and a model's writing, each by a hash as its key; and for how long is waited."""
    drawing = re.compile(r"manual_seed|default_rng|torch\.rand|import random|np\.random")
    found = {name for name, path in MODULES.items() if drawing.search(path.read_text(encoding="utf-8"))}
    assert found == {f"pipeline.{name}" for name in ("llm.local.writing", "sae.baselines", "llm.server.pacing")}


def test_the_page_of_tables_lists_each_under_one_topic() -> None:
    all_tables = tables_page().partition("## All tables")[2].partition("## Columns")[0]
    assert re.findall(r"^\| \[(\w+)\]", all_tables, re.MULTILINE) == list(TABLES)


def test_the_generated_docs_are_up_to_date() -> None:
    """`make docs` writes them."""
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == tables_page()
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == config_page()
    assert (ROOT / "docs" / "cost.md").read_text(encoding="utf-8") == cost_page()
    assert (ROOT / "docs" / "explainers.md").read_text(encoding="utf-8") == explainers_page()
    assert (ROOT / "docs" / "scorers.md").read_text(encoding="utf-8") == scorers_page()
