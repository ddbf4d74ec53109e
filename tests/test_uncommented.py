"""Comments are left out of what a version hashes; strings that look like comments are kept."""

from dataclasses import replace

import pytest

from pipeline.config import load_config
from pipeline.errors import ConfigError
from pipeline.plugins import Plugin
from pipeline.plugins.plugin import digest_of
from pipeline.shipped import SHIPPED_FOLDER
from pipeline.tables import TABLES, compiled, macros
from pipeline.tables.stages import STAGES
from pipeline.tables.versions import SourceHashes, Versions
from pipeline.uncommented import python_code, sql_code

CONFIG = load_config(SHIPPED_FOLDER / "config" / "demo.yaml")


def hashes():
    known = Versions(CONFIG, SourceHashes())
    return {table: known.of(table) for table in STAGES}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("-- One row.\nselect 1 -- one\n\n  as x\n", "select 1\n  as x\n"),
        ("select /* not\nthis */ 2", "select  2\n"),
        ("select '--', 'it''s -- 1', \"a--b\" -- c", "select '--', 'it''s -- 1', \"a--b\"\n"),
        ("select $$ -- $$ || $name -- it's", "select $$ -- $$ || $name\n"),
        ("select '/*' -- '\n, '*/'", "select '/*'\n, '*/'\n"),
    ],
)
def test_sql_without_comments(text, code):
    assert sql_code(text) == code


def test_python_without_comments_and_docstrings():
    text = """\"\"\"A module,
of two lines.\"\"\"

X = "# kept"  # dropped
\"\"\"A constant.\"\"\"


def f(x):
    \"\"\"One line.\"\"\"
    # Why.
    return {"text": \"\"\"kept\"\"\", "x": x}
"""
    code = """X = "# kept"
def f(x):
    return {"text": \"\"\"kept\"\"\", "x": x}
"""
    assert python_code(text) == code


@pytest.mark.parametrize(
    ("module", "function", "above", "below"),
    [
        (macros, "sql_text", "-- Reworded.\n", "-- Reworded."),
        (compiled, "source_text", "'Reworded.'\n", "# Reworded."),
    ],
    ids=["sql", "compiled"],
)
def test_a_reworded_comment_changes_no_version(monkeypatch, module, function, above, below):
    before, original = hashes(), getattr(module, function)
    monkeypatch.setattr(module, function, lambda name: above + original(name) + below)
    assert hashes() == before


def test_a_reworded_description_changes_no_version(monkeypatch):
    before = hashes()
    for table in TABLES.values():
        columns = tuple(replace(column, meaning="reworded", unit="") for column in table.columns)
        monkeypatch.setitem(TABLES, table.name, replace(table, row="One row per reworded.", columns=columns))
    assert hashes() == before


def test_a_reworded_comment_in_a_plugin_does_not_change_its_digest_and_changed_code_does(tmp_path):
    folder = tmp_path / "capitals"
    folder.mkdir()

    def digest(**texts):
        for suffix, text in texts.items():
            (folder / f"one.{suffix}").write_text(text, encoding="utf-8")
        return Plugin("scorers", "capitals", "capitals", folder).digest

    first = digest(py="X = 1\n", sql="select 1", txt="Is it?")
    assert digest(py='"""One."""\n\nX = 1  # one\n', sql="-- One row.\nselect 1") == first
    assert len({first, digest(py="X = 2\n"), digest(sql="select 2"), digest(txt="# Is it?")}) == 4


def test_a_plugin_with_a_syntax_error_is_named(tmp_path):
    path = tmp_path / "odd.py"
    path.write_text("def f(:\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"odd\.py' is not Python: .*, line 1"):
        digest_of([path])
