"""Finds the batches of features that are unfinished; called for thousands of batches every few minutes.

A batch has a dozen small files, and opening one costs DuckDB a third of a millisecond. The finding about a batch
is therefore kept in a file in the lake for as long as its files are unchanged.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.lake import Lake
from pipeline.lake.carrying import carry_batch_over
from pipeline.lake.publishing import whole_path
from pipeline.tables import TABLES
from pipeline.tables.inputs import is_made
from pipeline.tables.macros import full_text
from pipeline.tables.sql import steps_of

KEPT_FILE = "unfinished.json"
"""In the lake's folder; if it is missing or corrupt, the tables are read."""

_READ = ("explanations", "predictions", "scores")
"""The tables whose rows determine whether a batch that has every file is done."""


class _State(NamedTuple):
    """A batch's state: a hash of what determines it, and whether it has a file of every table and plug-in."""

    digest: str
    is_whole: bool


class _Found(NamedTuple):
    """The finding about a batch: the hash of its state, and the priority of its open features; None if done."""

    state: str
    priority: int | None


_Batch = tuple[str, int]


def unfinished_batches(lake: Lake, among: Iterable[_Batch] | None = None) -> list[_Batch]:
    """The batches (SAE and number) with a selected feature that is not done, by descending priority.

    `among` restricts the search to some batches. A batch that lacks a file counts as entirely unfinished: its
    process was killed, or an explainer or a setting is new, which the existing rows do not reflect.
    """
    every = lake.query("selected_batches").select("sae", "batch").iter_rows() if among is None else among
    selected: list[_Batch] = [*every]
    # States are computed before files are read, so that a change in between is seen next time.
    states = _states(lake, selected)
    found = _kept(lake)
    if changed := {each for each in selected if each not in found or found[each].state != states[each].digest}:
        whole = {each for each in changed if states[each].is_whole}
        given = {table: list(_files(lake, table, changed, whole)) for table in _READ}
        rows = lake.query("unfinished_batches", given=given).select("sae", "batch", "priority")
        priorities = {(sae, batch): priority for sae, batch, priority in rows.iter_rows()}
        found |= {each: _Found(states[each].digest, priorities.get(each)) for each in changed}
        if among is None:
            _keep(lake, found)
    open_in = {each: priority for each in selected if (priority := found[each].priority) is not None}
    return sorted(open_in, key=lambda each: (-open_in[each], each[1], each[0]))


def is_unfinished(lake: Lake, sae: str, batch: int) -> bool:
    """Whether a batch is unfinished now, when its turn has come.

    Another run may have made it meanwhile, also one that began before the corpus grew and goes on with the
    documents that it knows.
    """
    carry_batch_over(lake, sae, batch)
    return bool(unfinished_batches(lake, [(sae, batch)]))


def _states(lake: Lake, batches: Iterable[_Batch]) -> dict[_Batch, _State]:
    """The state of each batch: its files and the selection's, their modification times, and the rules."""
    tables = _made_by_batch(lake)
    scoring, selection = lake.config.scoring.model_dump_json(), lake.config.selection.model_dump_json()
    rules = [lake.generation, scoring, selection, *map(full_text, steps_of("unfinished_batches"))]

    def written(path: Path) -> tuple[str, int | None]:
        name = path.relative_to(lake.root).as_posix()
        return name, path.stat().st_mtime_ns if lake.is_there(path) else None

    def hashed(*values: object) -> str:
        return hashlib.sha256(repr(values).encode()).hexdigest()

    wanted = {
        sae: hashed(rules, *map(written, lake.paths("selected_features", sae=sae)))
        for sae in lake.config.sae_names
    }
    states = {}
    for sae, batch in batches:
        files = [written(path) for table in tables for path in lake.paths(table, sae=sae, batch=batch)]
        states[sae, batch] = _State(hashed(wanted[sae], *files), all(since is not None for _, since in files))
    return states


def is_whole(lake: Lake, sae: str, batch: int) -> bool:
    """Whether a batch has every table that the experiment makes, by every plug-in."""
    return all(lake.has(table, sae=sae, batch=batch) for table in _made_by_batch(lake))


def _made_by_batch(lake: Lake) -> list[str]:
    by_batch = (name for name, table in TABLES.items() if table.partition == "sae_batch")
    return [name for name in by_batch if is_made(lake.config, name)]


def _kept(lake: Lake) -> dict[_Batch, _Found]:
    """The findings of an earlier process."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        rows = json.loads((lake.root / KEPT_FILE).read_bytes())
        return {(str(sae), int(batch)): _Found(str(state), priority) for sae, batch, state, priority in rows}
    return {}


def _keep(lake: Lake, found: Mapping[_Batch, _Found]) -> None:
    """Keep the findings for later processes; if the lake cannot be written, they will read the tables."""
    with suppress(OSError), whole_path(lake.root, lake.root / KEPT_FILE) as temporary:
        temporary.write_text(json.dumps([(*batch, *each) for batch, each in found.items()]), encoding="utf-8")


def _files(lake: Lake, table: str, batches: Collection[_Batch], whole: Collection[_Batch]) -> Iterator[Path]:
    """A table's files of whole batches, after the empty files that provide its columns."""
    for sae in sorted({sae for sae, _ in batches}):
        for part in lake.parts(table):
            yield lake.ensure_schema_file(table, sae, part)
    for sae, batch in sorted(whole):
        yield from lake.paths(table, sae=sae, batch=batch)
