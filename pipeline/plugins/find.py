"""Finds plug-ins: our own by their folders, those of other packages by entry points. None is imported."""

import importlib.util
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from pipeline.errors import ConfigError, nearest
from pipeline.plugins.plugin import SETTINGS, Kind, Plugin, digest_of

_ROOT = Path(__file__).parents[1]
_HOMES: dict[Kind, str] = {
    "explainers": "explainers",
    "scorers": "scorers",
    "formats": "sae/formats",
    "exports": "exports",
}


@cache
def find_plugins(kind: Kind) -> dict[str, Plugin]:
    """Every plug-in of a kind by name, built-in ones first.

    Raises ConfigError if two have the same name, or one that a package declares cannot be located.
    """
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
    return digest_of(file for file in home.rglob("*") if not any(file.is_relative_to(path) for path in own))


def _own(kind: Kind) -> list[Plugin]:
    folder = _ROOT / _HOMES[kind]
    package = f"pipeline.{_HOMES[kind].replace('/', '.')}"
    if kind in {"formats", "exports"}:
        paths = [path for path in folder.glob("*.py") if not path.stem.startswith("_")]
    else:
        paths = [path.parent for path in folder.glob(f"*/{SETTINGS}")]
    return [Plugin(kind, path.stem, f"{package}.{path.stem}", path) for path in sorted(paths)]


def _installed(kind: Kind) -> list[Plugin]:
    """Those that other packages declare; the packages are located, not imported."""
    points = sorted(entry_points(group=f"latentlake.{kind}"), key=lambda point: point.name)
    return [_plugin_of(point, kind) for point in points]


def _plugin_of(point: EntryPoint, kind: Kind) -> Plugin:
    """The plug-in that an entry point names. Raises ConfigError if it names none."""
    module, colon, _ = (part.strip() for part in point.value.partition(":"))
    package = f"the package '{point.dist.name}'" if point.dist else "its package"
    if not point.name.isidentifier() or point.name.startswith("_"):
        wrong = "a name has letters, digits and underscores, and begins with a letter"
    elif colon:
        wrong = f"its entry point is '{point.value}', but has to be the plug-in's package alone: '{module}'"
    elif (path := _locate(module)) is None:
        wrong = f"its entry point is '{module}', and there is no such package or module"
    else:
        return Plugin(kind, point.name, module, path)
    raise ConfigError(f"{kind[:-1]} '{point.name}' cannot be found: {wrong}; correct or uninstall {package}")


def _locate(module: str) -> Path | None:
    """The folder of a package or the file of a module; None if there is none.

    `find_spec` of a dotted name would import the packages around it, and with them all that they import.
    """
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top) if top else None
    for name in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin
