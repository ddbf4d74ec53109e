"""Which module makes the rows of a SQL file: the files in `sql/compiled/` define rows and are never run.

The function has the name of the file and is given `compiled.inputs.Inputs`; those of `counting` are methods of its
class `Counts`. A test compares each with its file. Nothing is imported here: the Dagster graph needs the names and
the source texts that enter a table's version, without importing numba.
"""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_PACKAGE = "pipeline.compiled"

COMPILED: dict[str, str] = {
    name: f"{_PACKAGE}.{module}"
    for module, names in {
        "counting": (
            "feature_counts",
            "feature_cuts",
            "feature_previous_tokens",
            "feature_tokens",
            "position_counts",
            "slot_peaks",
        ),
        "rules.mining": ("context_candidates", "rule_sets"),
        "rules.proving": ("rule_sums", "window_counts"),
        "drawing": ("kept_slots",),
        "rendering": ("rendered_windows",),
        "strata": ("silent_strata",),
        "token_mass": ("feature_masses", "heaviest_tokens"),
        "cofirings": ("feature_cofirings",),
    }.items()
    for name in names
}
"""The module that makes the rows of each SQL file, by the file's name, which is also the function's."""

ARRAYS = frozenset({"firings", "corpus_tokens", "contexts"})
"""What compiled code reads as arrays, not as rows: the firings of a bucket (`Inputs.firings`), and the tokens of
the corpus (`Inputs.corpus`)."""

_ROOT = Path(__file__).parents[2]
_FOLLOWED = (f"{_PACKAGE}.", "pipeline.compiling", "pipeline.firings.buckets", "pipeline.firings.layout")
"""Modules whose code decides what compiled rows are: those of `compiled/`, and what makes the arrays."""


def counts_firings(name: str) -> bool:
    """Whether the rows of a SQL file are counted from the firings, one bucket at a time."""
    return COMPILED.get(name) == f"{_PACKAGE}.counting"


def compiled_sources(names: Iterable[str]) -> dict[str, str]:
    """The source text by module of what makes the rows of some SQL files, with the modules that these import."""
    todo = [COMPILED[name] for name in names if name in COMPILED]
    found: dict[str, str] = {}
    while todo:
        module = todo.pop()
        if module not in found:
            found[module] = source_text(module)
            todo += [each for each in _imports(found[module]) if each.startswith(_FOLLOWED)]
    return found


@cache
def source_text(module: str) -> str:
    """The source text of a module, which is not imported."""
    return _ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")


@cache
def _imports(text: str) -> tuple[str, ...]:
    """The modules that a module imports names from."""
    nodes = ast.walk(ast.parse(text))
    return tuple(node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module)
