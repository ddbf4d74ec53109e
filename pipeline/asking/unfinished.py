"""Which batches of features are unfinished, by their tables: asked of thousands of batches every few minutes.

A batch has a dozen small files, and opening one costs DuckDB a third of a millisecond. So a process keeps what it
found of a batch for as long as the batch's files are those that it read.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.lake import Lake
from pipeline.lake.paths import SCHEMA_FILE

_READ = ("explanations", "predictions", "scores")
"""The tables of a batch that tell whether it is done."""


class _Found(NamedTuple):
    """What was found of a batch: the state of the files that tell, and the priority of what is open in it."""

    state: tuple[object, ...]
    priority: int | None


_found: dict[tuple[Path, str, int], _Found] = {}


def unfinished_batches(lake: Lake, among: Iterable[tuple[str, int]] | None = None) -> list[tuple[str, int]]:
    """The batches (SAE and number) with a selected feature that is not done, those of higher priority first.

    Of some of them, where only these are asked about.
    """
    if among is None:
        among = lake.query("selected_batches").select("sae", "batch").iter_rows()
    selected = [(sae, batch) for sae, batch in among]
    rules = (lake.generation, lake.config.scoring.model_dump_json(), lake.config.selection.model_dump_json())
    wanted = {sae: _state(lake.paths("selected_features", sae=sae)) for sae in lake.config.sae_names}
    # Each state is looked at before its files are read: what changes meanwhile is read again next time.
    states = {
        (sae, batch): (rules, wanted[sae], *(_state(lake.paths(table, sae=sae, batch=batch)) for table in _READ))
        for sae, batch in selected
    }
    known = {each: _found.get((lake.root, *each)) for each in selected}
    if changed := {each for each, found in known.items() if not found or found.state != states[each]}:
        given = {table: list(_files(lake, table, changed)) for table in _READ}
        rows = lake.query("unfinished_batches", given=given).select("sae", "batch", "priority")
        priorities = {(sae, batch): priority for sae, batch, priority in rows.iter_rows()}
        for each in changed:
            known[each] = _found[lake.root, *each] = _Found(states[each], priorities.get(each))
    unfinished = [(found.priority, *each) for each, found in known.items() if found and found.priority is not None]
    return [(sae, batch) for _, sae, batch in sorted(unfinished, key=lambda row: (-row[0], row[2], row[1]))]


def _state(paths: Collection[Path]) -> tuple[tuple[Path, int | None], ...]:
    """Files, and when each was written; None if it is not there."""
    return tuple((path, path.stat().st_mtime_ns if path.exists() else None) for path in paths)


def _files(lake: Lake, table: str, batches: Collection[tuple[str, int]]) -> Iterator[Path]:
    """The files of a table that some batches have, after the empty ones that its columns come from."""
    for sae in sorted({sae for sae, _ in batches}):
        for part in lake.parts(table):
            lake.ensure_schema_file(table, sae, part)
            yield lake.folder(table, sae, part) / SCHEMA_FILE
    for sae, batch in sorted(batches):
        yield from (path for path in lake.paths(table, sae=sae, batch=batch) if path.exists())
