"""Which function makes the rows of a SQL file: those in `sql/compiled/` say what the rows are, and are never run.

A function is given `compiled.inputs.Inputs`; a method is of a class that is made of them. A test compares each
with its file. Nothing is imported here: the Dagster graph knows these names, and the source texts that enter a
table's version, without numba.
"""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

COMPILED: dict[str, str] = {
    "feature_counts": "pipeline.compiled.counting:Counts.feature_counts",
    "feature_cuts": "pipeline.compiled.counting:Counts.feature_cuts",
    "feature_previous_tokens": "pipeline.compiled.counting:Counts.feature_previous_tokens",
    "feature_tokens": "pipeline.compiled.counting:Counts.feature_tokens",
    "position_counts": "pipeline.compiled.counting:Counts.position_counts",
    "slot_peaks": "pipeline.compiled.counting:Counts.slot_peaks",
    "context_candidates": "pipeline.compiled.rules.mining:context_candidates",
    "rule_sets": "pipeline.compiled.rules.mining:rule_sets",
    "rule_sums": "pipeline.compiled.rules.proving:rule_sums",
    "window_counts": "pipeline.compiled.rules.proving:window_counts",
    "kept_slots": "pipeline.compiled.drawing:kept_slots",
    "silent_slots": "pipeline.compiled.drawing:silent_slots",
    "rendered_windows": "pipeline.compiled.rendering:rendered_windows",
    "silent_strata": "pipeline.compiled.strata:silent_strata",
    "feature_masses": "pipeline.compiled.token_mass:feature_masses",
    "heaviest_tokens": "pipeline.compiled.token_mass:heaviest_tokens",
    "firings": "pipeline.firings.buckets:read_bucket",
}
"""The function of each SQL file by the file's name, as module:function."""

ARRAYS = frozenset({"firings", "corpus_tokens"})
"""SQL files that stand for arrays where compiled code reads them: a bucket's firings (`Inputs.firings`), and what
stands where in the corpus (`Inputs.places`). They are not made for it."""


_ROOT = Path(__file__).parents[2]
_FOLLOWED = ("pipeline.compiled.", "pipeline.compiling", "pipeline.firings.buckets", "pipeline.firings.layout")
"""Modules whose code decides what compiled rows are: those of `compiled/`, and what makes the arrays."""


def counts_firings(name: str) -> bool:
    """Whether the rows of a SQL file are counted from the firings of one bucket after the other."""
    return COMPILED.get(name, "").startswith("pipeline.compiled.counting:Counts.")


def compiled_sources(names: Iterable[str]) -> dict[str, str]:
    """The source text by module of what makes the rows of some SQL files, with the modules that these import."""
    todo = [COMPILED[name].partition(":")[0] for name in names if name in COMPILED]
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
