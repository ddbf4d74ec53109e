"""Plug-ins of other packages are found without importing anything, and what is wrong with one is one sentence."""

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pipeline.config import plugin_sections
from pipeline.config.scoring import ScoringConfig
from pipeline.errors import ConfigError
from pipeline.plugins import Declared, Plugin, find_plugins

SETTINGS = '''
    from typing import ClassVar

    from pydantic import BaseModel, ConfigDict, Field


    class Settings(BaseModel):
        """Names of capitals."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        n_cities: int = Field(3, description="Cities")
'''
SCORER = "class Capitals:\n    role = None\n\n\nscorer = Capitals()\n"


class Site:
    """A folder on Python's path with the package `elsewhere`, which must not be imported, and its entry points."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("elsewhere/__init__.py", "raise AssertionError('imported')")
        self.write("elsewhere/capitals/__init__.py", SCORER)
        self.write("elsewhere/capitals/settings.py", SETTINGS)

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip())

    def declare(self, *lines: str, kind: str = "scorers") -> None:
        """Write the entry points of its package `elsewhere`."""
        self.write("elsewhere-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
        self.write("elsewhere-1.0.dist-info/entry_points.txt", "\n".join([f"[latentlake.{kind}]", *lines]))

    def found(self, name: str = "capitals", kind: Any = "scorers") -> Plugin:
        """A plug-in that was looked for anew, as by a new process."""
        return find_plugins.__wrapped__(kind)[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {*sys.modules}
    made = Site(tmp_path)
    made.declare("capitals = elsewhere.capitals")
    yield made
    for name in {*sys.modules} - before:
        if name.partition(".")[0] == "elsewhere":
            del sys.modules[name]


def refused(look: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        look()
    return str(caught.value)


def test_only_its_settings_are_imported(site: Site) -> None:
    plugin = site.found()
    assert plugin.path == site.folder / "elsewhere" / "capitals"
    assert plugin.settings().n_cities == 3
    assert {name for name in sys.modules if name.startswith("elsewhere")} == {"elsewhere.capitals.settings"}
    assert len(plugin.digest) == 64
    with pytest.raises(AssertionError, match="imported"):
        plugin.load()


def test_a_module_is_a_format_and_packages_need_no_init(site: Site) -> None:
    site.write("elsewhere/deep/letters.py", "def load(files): ...")
    site.declare("letters = elsewhere.deep.letters", kind="formats")
    assert site.found("letters", "formats").path == site.folder / "elsewhere" / "deep" / "letters.py"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "capitals = nowhere.capitals",
            "entry point is 'nowhere.capitals', and there is no such package or module",
        ),
        ("capitals = nowhere", "there is no such package or module; correct or uninstall the package 'elsewhere'"),
        ("capitals = elsewhere.kapitals", "'elsewhere.kapitals', and there is no such package"),
        (
            "capitals = elsewhere.capitals.settings.x",
            "'elsewhere.capitals.settings.x', and there is no such package",
        ),
        ("capitals = elsewhere.capitals:scorer", "has to be the plug-in's package alone: 'elsewhere.capitals'"),
        ("capitals = .capitals", "there is no such package"),
        ("capital-cities = elsewhere.capitals", "a name has letters, digits and underscores"),
        ("_capitals = elsewhere.capitals", "begins with a letter"),
        ("detection = elsewhere.capitals", "two scorers are named 'detection'"),
    ],
)
def test_an_entry_point_that_names_no_plug_in_is_one_sentence(site: Site, line: str, sentence: str) -> None:
    site.declare(line)
    said = refused(site.found)
    assert sentence in said and "install" in said
    assert "elsewhere" not in sys.modules


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("class Settings(:", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: "),
        ("", "it has no class `Settings` that is a pydantic BaseModel"),
        ("class Settings: ...", "it has no class `Settings` that is a pydantic BaseModel"),
        (SETTINGS.replace(', extra="forbid"', ""), "its class `Settings` would ignore misspelt keys; give it "),
        (SETTINGS.replace("Field(3, ", "Field("), "its key 'n_cities' has no default"),
        (SETTINGS.replace("3", "'three', validate_default=True"), "ValidationError: "),
    ],
)
def test_settings_that_cannot_be_read_are_one_sentence(site: Site, text: str, sentence: str) -> None:
    site.write("elsewhere/capitals/settings.py", text)
    plugin = site.found()
    said = refused(lambda: plugin.settings)
    file = site.folder / "elsewhere" / "capitals" / "settings.py"
    assert (
        said.startswith(f"scorer 'capitals' cannot be used because of '{file}': {sentence}") and "\n" not in said
    )
    assert said.endswith("; correct the file, or uninstall the package that it belongs to")


def test_no_settings_are_one_sentence(site: Site) -> None:
    (site.folder / "elsewhere" / "capitals" / "settings.py").unlink()
    assert "settings.py': there is no such file; " in refused(lambda: site.found().settings)


def declaring(*lines: str) -> str:
    return "\n".join([dedent(SETTINGS), *(f"    {line}" for line in lines)])


@pytest.mark.parametrize(
    ("kind", "line", "sentence"),
    [
        (
            "scorers",
            "scored_as: ClassVar[str] = 'populaton'",
            "`scored_as` of {where} is 'populaton' and must be 'population', ",
        ),
        (
            "scorers",
            "scored_as: str = 'populaton'",
            "`scored_as` of {where} is 'populaton' and must be 'population', ",
        ),
        (
            "scorers",
            "asks_role = property(lambda self: 'embeder')",
            "`asks_role` of {where} is 'embeder' and must be 'embedder'",
        ),
        (
            "scorers",
            "judges: ClassVar[str] = 'effects'",
            "`judges` of {where} is 'effects' and must be 'firing' or 'effect'",
        ),
        (
            "scorers",
            "sees_positions: ClassVar[str] = 'no'",
            "`sees_positions` of {where} is 'no' and must be a valid boolean",
        ),
        (
            "scorers",
            "asks_rol: ClassVar[str] = 'embedder'",
            "`asks_rol` is nothing that scorers declare; nearest: 'ask",
        ),
        ("scorers", "n_silent: ClassVar[int] = 3", "`n_silent` is nothing that scorers declare"),
        (
            "explainers",
            "scored_as: ClassVar[str] = 'population'",
            "`scored_as` is nothing that explainers declare",
        ),
        (
            "explainers",
            "n_silent: ClassVar[int] = '3'",
            "`n_silent` of {where} is '3' and must be a valid integer",
        ),
        ("scorers", "scored_as = 'population'", "PydanticUserError: "),
    ],
)
def test_what_settings_declare_is_checked(site: Site, kind: Any, line: str, sentence: str) -> None:
    site.declare("capitals = elsewhere.capitals", kind=kind)
    site.write("elsewhere/capitals/settings.py", declaring(line))
    said = refused(lambda: site.found(kind=kind).settings)
    assert sentence.format(where="elsewhere.capitals.settings") in said


def test_what_settings_declare_is_read_off_a_class_and_its_objects(site: Site) -> None:
    lines = (
        "scored_as: ClassVar[str] = 'grades'",
        "asks_role = property(lambda s: 'embedder' if s.n_cities else None)",
    )
    site.write("elsewhere/capitals/settings.py", declaring(*lines))
    settings = site.found().settings
    assert Declared.by(settings) == Declared.by(settings()) == Declared(scored_as="grades", asks_role="embedder")
    assert Declared.by(settings(n_cities=0)) == Declared(scored_as="grades")
    assert Declared.by(None) == Declared()


@pytest.mark.parametrize("name", ["embedder", "n_questions", "model_copy", "with_model"])
def test_a_name_that_the_section_uses_is_refused(site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site.declare(f"{name} = elsewhere.capitals")
    monkeypatch.setattr(plugin_sections, "find_plugins", find_plugins.__wrapped__)
    said = refused(lambda: plugin_sections.with_plugins(ScoringConfig, "scorers"))
    assert said.startswith(
        f"scorer '{name}' (elsewhere.capitals) has a name that the config's own section already"
    )


def test_code_that_cannot_be_used_is_one_sentence(site: Site) -> None:
    site.write("elsewhere/__init__.py", "")
    site.write("elsewhere/capitals/__init__.py", "Scorer = 1")
    assert "capitals/__init__.py' has no `scorer`" in refused(site.found().load)
    site.write("elsewhere/towns/__init__.py", "import nowhere")
    site.write("elsewhere/rivers/__init__.py", "scorer = (")
    site.declare("towns = elsewhere.towns", "rivers = elsewhere.rivers")
    assert refused(site.found("towns").load) == "scorer 'towns' cannot be imported: No module named 'nowhere'"
    assert "scorer 'rivers' cannot be imported: '(' was never closed (__init__.py, line 1)" in refused(
        site.found("rivers").load
    )
