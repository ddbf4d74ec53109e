"""One plug-in: its settings, its code, and the hash of its files."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.errors import ConfigError
from pipeline.plugins.declared import check_declared
from pipeline.uncommented import python_code, sql_code

Kind = Literal["explainers", "scorers", "formats", "exports"]

SETTINGS = "settings.py"
_OBJECTS: dict[Kind, str] = {
    "explainers": "explainer",
    "scorers": "scorer",
    "formats": "load",
    "exports": "write",
}
"""The object or function that each plug-in of a kind has."""

_HASHED: dict[str, Callable[[str], str]] = {".py": python_code, ".sql": sql_code, ".txt": str}
"""The part of a file's text that a version covers, by suffix; other files do not count."""


@dataclass(frozen=True)
class Plugin:
    """A plug-in that was found but not imported.

    Attributes:
        kind: Its kind.
        name: Its name in the config and in every table.
        module: The dotted name of its package or module.
        path: Its folder or file.
    """

    kind: Kind
    name: str
    module: str
    path: Path

    def __str__(self) -> str:
        return f"{self.kind[:-1]} '{self.name}'"

    def load(self) -> ModuleType:
        """The imported plug-in. Raises ConfigError if it cannot be imported, or lacks the object of its kind."""
        try:
            module = importlib.import_module(self.module)
        except (ImportError, SyntaxError) as error:
            raise ConfigError(f"{self} cannot be imported: {error}") from None
        if not hasattr(module, _OBJECTS[self.kind]):
            raise ConfigError(f"{self} cannot be used: '{module.__file__}' has no `{_OBJECTS[self.kind]}`")
        return module

    @property
    def asks_model(self) -> bool:
        """Whether an explainer or a scorer asks a language model in a role."""
        return getattr(self.load(), _OBJECTS[self.kind]).role is not None

    def check(self, config: Any) -> None:
        """Check whether it can work here: its function `check(config)` and its object's method, if it has them.

        Raises what these raise, and ConfigError if it cannot be imported.
        """
        module = self.load()
        for each in (module, getattr(module, _OBJECTS[self.kind])):
            if hasattr(each, "check"):
                each.check(config)

    @cached_property
    def settings(self) -> type[BaseModel]:
        """Its section of the config: the class `Settings` of its `settings.py`; imports nothing else of it.

        Raises ConfigError if there is none, or it cannot be used.
        """
        file = self.path / SETTINGS
        try:
            if not file.is_file():
                raise ConfigError("there is no such file")
            settings = getattr(_imported(f"{self.module}.settings", file), "Settings", None)
            if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
                raise ConfigError("it has no class `Settings` that is a pydantic BaseModel")
            check_declared(self.kind, settings)
        except Exception as error:  # the code is somebody else's
            words = " ".join(str(error).split())
            why = words if isinstance(error, ConfigError) else f"{type(error).__name__}: {words}"
            cure = "correct the file, or uninstall the package that it belongs to"
            raise ConfigError(f"{self} cannot be used because of '{file}': {why}; {cure}") from error
        return settings

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and contents of its code and SQL, without comments, and of its prompts.

        It is part of the versions of its rows.
        """
        return digest_of(self.path.rglob("*") if self.path.is_dir() else [self.path])


def text_of(file: Path) -> str:
    """The text of a plug-in's prompt or SQL file. Raises ConfigError if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f'there is no file \'{file}\'; if the package has it but did not install it, add "*.sql" and "*.txt" '
            "to the package data in its pyproject.toml (docs/adding-a-scorer.md)"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{file}' is not text in UTF-8: {error.reason} at byte {error.start}") from None


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of code, prompts and SQL among some files, in any order."""
    digest = hashlib.sha256()
    for file in sorted(files):
        if file.suffix in _HASHED:
            digest.update(f"{file.name}\0".encode())
            try:
                content = _HASHED[file.suffix](file.read_text(encoding="utf-8"))
            except SyntaxError as error:
                raise ConfigError(f"'{file}' is not Python: {error.msg}, line {error.lineno}") from None
            digest.update(hashlib.sha256(content.encode()).digest())
    return digest.hexdigest()


def _imported(name: str, file: Path) -> ModuleType:
    """The module of a file under a dotted name, imported without the packages around it."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
