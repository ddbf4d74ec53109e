"""Plug-ins: explainers, scorers, SAE formats and exports, each a folder or file that is found by name.

A folder below `pipeline/explainers` or `pipeline/scorers` that holds a `settings.py` is a plug-in, and so is a
module of `pipeline/sae/formats` or `pipeline/exports`. Other packages add theirs by an entry point whose value is
such a package:

    [project.entry-points."latentlake.scorers"]
    capitals = "my_package.capitals"

A scorer's name in the config may be followed by an @ and the name of an additional model (`detection@mini`): the
same plug-in then asks that model.

Plug-ins are found by listing folders. Only `settings.py`, which imports nothing but pydantic, is imported with the
config; the rest of a plug-in is imported when it is used.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, Self

from pipeline.errors import ConfigError, nearest
from pipeline.uncommented import python_code, sql_code

Kind = Literal["explainers", "scorers", "formats", "exports"]

_ROOT = Path(__file__).parent
_HOMES: dict[Kind, str] = {
    "explainers": "explainers",
    "scorers": "scorers",
    "formats": "sae/formats",
    "exports": "exports",
}
_SETTINGS = "settings.py"
_HASHED: dict[str, Callable[[str], str]] = {".py": python_code, ".sql": sql_code, ".txt": str}
"""The part of a file's text that a version covers, by suffix; other files do not count."""


class Declared(NamedTuple):
    """What a plug-in's settings may declare, each by a class variable, property or key of this name.

    Attributes:
        prompts_of: The plug-in of its kind whose prompts it uses; part of its version.
        of: The explainer that an explainer is built on.
        show_logits: Whether an explainer's prompt also lists the tokens that a feature promotes.
        n_judging: Train windows per answer, yes or no, that judge an explainer's drafts.
        n_silent: Silent train windows that an explainer is shown.
        scored_as: What is scored in addition to correctness: `population` if it asks yes/no questions about
            windows drawn from all candidate slots, so that figures hold for these; `grades` if it grades such
            windows 0, 1 or 2; `activations` if it predicts a value for each token.
        asks_role: `embedder` for a scorer whose `model` embeds texts on a server.
        judges: Of a scorer, what it judges an explanation by: when the feature fires, or its effect on what the
            model writes.
        sees_positions: Whether a scorer's questions show where in a context a token stands.

    A version also covers `content`, a hash of the files that the settings name.
    """

    prompts_of: str | None = None
    of: str | None = None
    show_logits: bool = False
    n_judging: int = 0
    n_silent: int = 0
    scored_as: Literal["population", "grades", "activations"] | None = None
    asks_role: Literal["embedder"] | None = None
    judges: Literal["firing", "effect"] = "firing"
    sees_positions: bool = False

    @classmethod
    def by(cls, settings: Any) -> Self:
        """What settings, or their class, declare, with defaults for the rest."""
        return cls._make(getattr(settings, name, default) for name, default in cls._field_defaults.items())


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

    def load(self) -> ModuleType:
        """The imported plug-in. Raises ConfigError if it cannot be imported."""
        try:
            return importlib.import_module(self.module)
        except ImportError as error:
            raise ConfigError(f"{self.kind[:-1]} '{self.name}' cannot be imported: {error}") from None

    def check(self, config: Any) -> None:
        """Check whether it can work here, with its function `check(config)` if it has one.

        Raises what that raises, and ConfigError if it cannot be imported.
        """
        module = self.load()
        if hasattr(module, "check"):
            module.check(config)

    @cached_property
    def settings(self) -> Any:
        """Its section of the config: the class `Settings` of its `settings.py`; imports nothing else of it."""
        name = f"{self.module}.settings"
        spec = importlib.util.spec_from_file_location(name, self.path / _SETTINGS)
        if spec is None or spec.loader is None or not (self.path / _SETTINGS).is_file():
            raise ConfigError(f"{self.kind[:-1]} '{self.name}' has no {_SETTINGS} in '{self.path}'")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Settings

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and contents of its code and SQL, without comments, and of its prompts.

        It is part of the versions of its rows.
        """
        return _digest(self.path.rglob("*") if self.path.is_dir() else [self.path])


@cache
def find_plugins(kind: Kind) -> dict[str, Plugin]:
    """Every plug-in of a kind by name, built-in ones first. Raises ConfigError if two have the same name."""
    found: dict[str, Plugin] = {}
    for plugin in (*_own(kind), *_installed(kind)):
        if plugin.name in found:
            raise ConfigError(
                f"two {kind} are named '{plugin.name}': {found[plugin.name].module} and {plugin.module}; "
                "uninstall one of them"
            )
        found[plugin.name] = plugin
    return found


def find_plugin(kind: Kind, name: str) -> Plugin:
    """The plug-in of that name; an @ and what follows is ignored for a scorer.

    Raises ConfigError with the nearest names.
    """
    found = find_plugins(kind)
    name = name.partition("@")[0] if kind == "scorers" else name
    if name not in found:
        raise ConfigError(f"no {kind[:-1]} is named '{name}'; nearest: {nearest(name, found)}")
    return found[name]


@cache
def shared_digest(kind: Kind) -> str:
    """SHA-256 over the code and prompts that plug-ins of a kind share: the files beside their folders."""
    home = _ROOT / _HOMES[kind]
    own = [plugin.path for plugin in find_plugins(kind).values()]
    return _digest(file for file in home.rglob("*") if not any(file.is_relative_to(path) for path in own))


def _digest(files: Iterable[Path]) -> str:
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


def _own(kind: Kind) -> list[Plugin]:
    folder = _ROOT / _HOMES[kind]
    package = f"pipeline.{_HOMES[kind].replace('/', '.')}"
    if kind in {"formats", "exports"}:
        paths = [path for path in folder.glob("*.py") if not path.stem.startswith("_")]
    else:
        paths = [path.parent for path in folder.glob(f"*/{_SETTINGS}")]
    return [Plugin(kind, path.stem, f"{package}.{path.stem}", path) for path in sorted(paths)]


def _installed(kind: Kind) -> list[Plugin]:
    """Those that other packages declare; the packages are located, not imported."""
    plugins = []
    for point in sorted(entry_points(group=f"latentlake.{kind}"), key=lambda point: point.name):
        spec = importlib.util.find_spec(point.value)
        if spec is None or spec.origin is None:
            raise ConfigError(f"{kind[:-1]} '{point.name}' names a package that is not installed: '{point.value}'")
        origin = Path(spec.origin)
        path = origin.parent if origin.name == "__init__.py" else origin
        plugins.append(Plugin(kind, point.name, point.value, path))
    return plugins
