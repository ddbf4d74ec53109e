"""The files of a plug-in are checked before a run: prompts by their fields, SQL on tables without rows."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, load_config
from pipeline.errors import ConfigError
from pipeline.explainers.prompted import Prompted
from pipeline.lake.trial import columns_of
from pipeline.plugins import find_plugins
from pipeline.plugins.declared import check_declared
from pipeline.scorers.base import QUESTION_COLUMNS
from pipeline.scorers.yes_no import YesNo
from pipeline.tables.stages import own_queries, own_windows

DEMO = Path(__file__).parents[2] / "config" / "demo.yaml"
CHECKED = {"scorers": YesNo("detection"), "explainers": Prompted("default")}

Copy = Callable[[Any], Path]


@pytest.fixture(scope="module")
def demo() -> Config:
    return load_config(DEMO)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """Copies the texts of the plug-in of a kind that is checked; it is then found there."""

    def copy(kind: Any) -> Path:
        plugin = find_plugins(kind)[CHECKED[kind].name]
        for file in plugin.path.iterdir():
            if file.suffix in {".sql", ".txt"}:
                (tmp_path / file.name).write_text(file.read_text())
        monkeypatch.setitem(plugin.__dict__, "path", tmp_path)
        return tmp_path

    return copy


def refused(kind: str, config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        CHECKED[kind].check(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("kind", "table"), [("explainers", "explanations"), ("scorers", "predictions")])
def test_the_sql_of_every_plug_in_runs_on_empty_tables(kind: Any, table: str, demo: Config) -> None:
    files = [path for plugin in find_plugins(kind).values() for path in own_queries(plugin)]
    assert files
    for path in files:
        columns = columns_of(demo, path, table)
        assert kind == "explainers" or {*QUESTION_COLUMNS} <= {*columns}, path


def test_the_windows_of_every_scorer_run_on_empty_tables(demo: Config) -> None:
    files = [path for plugin in find_plugins("scorers").values() if (path := own_windows(plugin))]
    assert len(files) >= 2
    for path in files:
        assert {"feature", "context_id", "start"} <= {*columns_of(demo, path, "examples")}, path


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("draw <=", "drawn <=", 'does not have a column named "drawn" Candidate bindings: : "draw"'),
        ("join examples", "join exampels", "reads 'exampels', which is not a table or a SQL file; nearest: 'exa"),
        ("scoring_n_questions", "scoring_n_question", "parameter $scoring_n_question is not a key of the config"),
        ("md5(", "md6(", "Scalar Function with name md6 does not exist!"),
        ("join examples", "joyn examples", "syntax error at or near"),
        ("as marked,", "as marks,", "lacks a column in what it returns: marked"),
    ],
)
def test_wrong_sql_is_one_sentence_with_its_file(
    before: str, after: str, sentence: str, demo: Config, copied: Copy
) -> None:
    file = copied("scorers") / "questions.sql"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    said = refused("scorers", demo)
    assert f"'{file}'" in said and sentence in said


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("scorers", name) for name in ("questions.sql", "one.txt", "many.txt")),
        *(("explainers", name) for name in ("system.txt", "user.txt")),
    ],
)
def test_a_file_that_was_not_installed_is_named(kind: str, name: str, demo: Config, copied: Copy) -> None:
    file = copied(kind) / name
    file.unlink()
    said = refused(kind, demo)
    assert said.startswith(f"there is no file '{file}'; ") and "package data in its pyproject.toml" in said


@pytest.mark.parametrize(
    ("kind", "name", "text", "sentence"),
    [
        (
            "explainers",
            "user.txt",
            "{example}",
            "a field {example}, but the fields here are {examples}, {marked}, ",
        ),
        ("explainers", "system.txt", "As {n}", "a field {n}, but there are no fields here"),
        ("scorers", "many.txt", "{texts}", "a field {texts}, but there are no fields here"),
        (
            "scorers",
            "question.txt",
            "{text}",
            "lacks the field {explanation}; the fields here are {explanation}, ",
        ),
    ],
)
def test_a_wrong_field_is_one_sentence(
    kind: str, name: str, text: str, sentence: str, demo: Config, copied: Copy
) -> None:
    file = copied(kind) / name
    file.write_text(text)
    said = refused(kind, demo)
    assert said.startswith(f"prompt '{file}' ") and sentence in said


def test_what_a_setting_adds_to_needs_its_field(demo: Config, copied: Copy) -> None:
    (copied("explainers") / "user.txt").write_text("{marked}")
    CHECKED["explainers"].check(demo)
    default = demo.explaining.default.model_copy(update={"show_logits": True})
    explaining = demo.explaining.model_copy(update={"default": default})
    assert "lacks the field {examples}" in refused(
        "explainers", demo.model_copy(update={"explaining": explaining})
    )


def test_a_file_in_another_encoding_is_named(demo: Config, copied: Copy) -> None:
    file = copied("scorers") / "one.txt"
    file.write_bytes("Café".encode("latin-1"))
    assert refused("scorers", demo).startswith(f"'{file}' is not text in UTF-8: ")


def test_the_files_on_the_page_can_be_used(demo: Config, copied: Copy) -> None:
    page = (DEMO.parents[1] / "docs" / "adding-a-scorer.md").read_text()
    blocks = dict(
        re.findall(r"```(python|sql)\n(.*?)```", page[: page.index("## A scorer of another kind")], re.DOTALL)
    )
    found: dict[str, Any] = {}
    exec(blocks["python"], found)
    check_declared("scorers", found["Settings"])
    (copied("scorers") / "questions.sql").write_text(blocks["sql"])
    CHECKED["scorers"].check(demo)
