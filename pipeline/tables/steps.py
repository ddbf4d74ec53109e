"""Which SQL files run for a table's rows, and how: once, or for some buckets of features at a time."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from pipeline.tables import TABLES
from pipeline.tables.compiled import ARRAYS, COMPILED
from pipeline.tables.sql import parameters_of, relations_read, sql_text, steps_of, tables_read
from pipeline.tables.stages import STAGES

_CANDIDATE_SLOTS = "candidate_slots"
"""The step that locates the tokens of the corpus for compiled code, even if its own SQL file does not read it."""


class Plan(NamedTuple):
    """How the rows of a SQL file are made. Its own step comes last.

    Attributes:
        once: The steps that run once, in order.
        by_bucket: Those that run after these, for some buckets of features at a time.
        tables: The tables that all of them read.
        reads_corpus: Whether compiled code reads the tokens of the corpus (`Inputs.corpus`).
    """

    once: tuple[str | Path, ...]
    by_bucket: tuple[str, ...]
    tables: frozenset[str]
    reads_corpus: bool


def plan_of(name: str | Path, given: Collection[str] = ()) -> Plan:
    """How the rows of a table, or of another SQL file, are made; `given` are relations that need no step."""
    steps = _needed_steps(name, given)
    by_bucket = _steps_by_bucket(name)
    is_corpus_read = any(map(reads_corpus, steps))
    read = {relation for step in steps for relation in relations_read(step)}
    read.update(tables_read(*((_CANDIDATE_SLOTS, "corpus_tokens") if is_corpus_read else ())))
    return Plan(
        once=tuple(step for step in steps if step not in by_bucket),
        by_bucket=tuple(str(step) for step in steps if step in by_bucket),
        tables=frozenset(TABLES.keys() & read - {*given}),
        reads_corpus=is_corpus_read,
    )


def reads_corpus(step: str | Path) -> bool:
    """Whether the rows of a SQL file are made by compiled code that reads `Inputs.corpus`."""
    return step in COMPILED and not {*ARRAYS, _CANDIDATE_SLOTS}.isdisjoint(relations_read(step))


def _needed_steps(name: str | Path, given: Collection[str]) -> tuple[str | Path, ...]:
    """The steps that run for a SQL file, itself included, except those that compiled code reads as arrays."""
    given = {*given, *(STAGES[name].given if name in STAGES else ())}
    steps = steps_of(name, given=given)
    if any(map(reads_corpus, steps)) and _CANDIDATE_SLOTS not in {*steps, *given}:
        steps = steps_of(_CANDIDATE_SLOTS, name, given=given)
    needed = {name}
    for step in reversed(steps):
        if step in needed:
            needed |= {*relations_read(step)} - (ARRAYS if step in COMPILED else set())
            needed |= {_CANDIDATE_SLOTS} if reads_corpus(step) else set()
    return tuple(step for step in steps if step in needed)


def _steps_by_bucket(name: str | Path) -> frozenset[str]:
    """The steps of a table by SAE that run for some buckets of features at a time.

    They count firings, have rows for features from $first_feature to below $end_feature, or read such a step.
    """
    found: set[str] = set()
    if name in TABLES and TABLES[name].partition == "sae":
        for step in STAGES[name].steps:
            is_first = step == "firings" or "first_feature" in parameters_of(sql_text(step))
            if is_first or found & {*relations_read(step)}:
                found.add(step)
    return frozenset(found)
