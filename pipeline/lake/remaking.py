"""What of a lake is to be made again, and what has changed since it was made.

The hash that names a version tells only that something has changed. So the version's empty file also holds what it
was made from (`Paths.made_from`).
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow.parquet as pq

from pipeline.lake.catalog import seen_folders
from pipeline.lake.files import Files
from pipeline.lake.paths import MADE_FROM, SCHEMA_FILE
from pipeline.tables import TABLES
from pipeline.tables.inputs import CONTROLS, is_made
from pipeline.tables.stages import STAGES

_MOST_NAMED = 12
"""How many tables a sentence names one by one."""

_MOST_CHARACTERS = 40
"""The longest value of a setting that a sentence quotes."""

MadeFrom = Mapping[str, Any]
"""What a version is made from; empty if that was not recorded."""


class _Part(NamedTuple):
    """An SAE's or plug-in's part of a table: what its current version is made from, and the folders of that.

    There is a folder for each generation of the corpus that the table has files for.
    """

    table: str
    made_from: MadeFrom
    folders: Sequence[Path]


class _Remade(NamedTuple):
    """A part of a table that has no rows yet: what its current version, and the last with rows, are made from."""

    table: str
    now: MadeFrom
    before: MadeFrom


def remaking_sentence(lake: Files) -> str | None:
    """Which tables a run makes again, and what has changed since they were made; None if there are none.

    Also None for a lake in an object store, where earlier versions are not looked up.
    """
    if lake.objects is not None:
        return None
    folders = [
        (name, lake.made_from(name, sae, part), lake.folder(name, sae, part, generation))
        for name in STAGES
        if is_made(lake.config, name)
        for sae, part, generation in lake.current(name)
    ]
    if not (remade := _remade(lake.root, folders)):
        return None
    return f"Made again: {_listed(remade)}. {_changes(remade)} Recorded answers are not paid for again."


def hidden_sentence(connection: duckdb.DuckDBPyConnection, folder: Path) -> str | None:
    """Which tables have no rows in a catalog although an earlier version has, and why; None if there are none.

    Args:
        connection: A connection that reads the catalog.
        folder: The lake's folder.
    """
    folders = [
        (name, _made_from(own := folder / name / version), own)
        for name, version in seen_folders(connection)
        if name in STAGES and not STAGES[name].is_on_demand  # the catalog may be of another version of latentlake
    ]
    if not (remade := _remade(folder, folders)):
        return None
    return f"Without rows until a run makes them again: {_listed(remade)}. {_changes(remade)}"


def _remade(lake: Path, folders: Iterable[tuple[str, MadeFrom, Path]]) -> list[_Remade]:
    """The parts without rows that an earlier version has rows of, except of tables that every run makes again.

    `folders` are the current ones: of which table, and what it is made from.
    """
    by_part: dict[tuple[Any, ...], _Part] = {}
    for table, made_from, folder in folders:
        key = table, made_from.get("sae"), made_from.get("part")
        earlier = by_part[key].folders if key in by_part else ()
        by_part[key] = _Part(table, made_from, (*earlier, folder))
    parts = by_part.values()
    current = {folder for part in parts for folder in part.folders}
    empty = [part for part in parts if not any(map(_has_rows, part.folders))]
    return [
        _Remade(part.table, part.made_from, _made_from(last))
        for part in empty
        if not TABLES[part.table].is_always_made and (last := _last_version(lake, part, current))
    ]


def _last_version(lake: Path, part: _Part, current: Collection[Path]) -> Path | None:
    """The last version of a part with rows, apart from the current ones; None if there is none."""

    def is_of_part(folder: Path) -> bool:
        before, now = _made_from(folder), part.made_from
        return all(before.get(key) == now.get(key) for key in ("sae", "part") if before and now)

    others = [folder for folder in (lake / part.table).glob("*/") if folder not in current]
    fitting = [folder for folder in others if is_of_part(folder) and _has_rows(folder)]
    return max(fitting, key=lambda folder: folder.stat().st_mtime_ns, default=None)


def _has_rows(folder: Path) -> bool:
    """Whether a version's folder has any partition."""
    return any(path.name != SCHEMA_FILE for path in folder.rglob("*.parquet"))


def _made_from(folder: Path) -> MadeFrom:
    path = folder / SCHEMA_FILE
    recorded = pq.read_metadata(path).metadata if path.exists() else None
    found: MadeFrom = json.loads((recorded or {}).get(MADE_FROM, b"{}"))
    return found


def _listed(remade: Iterable[_Remade]) -> str:
    names = [name for name in STAGES if name in {each.table for each in remade}]
    if len(names) <= _MOST_NAMED:
        return ", ".join(names)
    return f"{len(names)} tables, from {names[0]} to {names[-1]}"


def _changes(remade: Sequence[_Remade]) -> str:
    """What has changed since some tables were made, in words."""
    if not all(each.now and each.before for each in remade):
        return "A setting, a plug-in or latentlake has changed since they were made; which one was not recorded."
    changed = {
        key: _both(now, before)
        for each in remade
        for key in _keys(each)
        if (now := _value(each.now, key)) != (before := _value(each.before, key))
    }
    words = [f"{key}{values}" for key, values in changed.items()]
    # Controls cover the code of every explainer that the config names: with another one, the code has not changed.
    if any(each.now["code"] != each.before["code"] for each in remade if each.now["part"] != CONTROLS):
        return f"Changed since they were made: {', '.join([*words, 'latentlake or a plug-in'])}."
    if not words:
        return "The documents or files that they are made from have changed since."
    return (
        f"Changed since they were made: {', '.join(words)}; with the earlier values a run shows the earlier rows."
    )


def _keys(remade: _Remade) -> list[str]:
    return sorted({*remade.now["settings"], *remade.before["settings"]})


def _value(made_from: MadeFrom, key: str) -> str:
    settings = made_from["settings"]
    return json.dumps(settings[key], ensure_ascii=False) if key in settings else "default"


def _both(now: str, before: str) -> str:
    """The two values of a setting, if they are short; empty if not."""
    return f" ({now}, was {before})" if max(len(now), len(before)) <= _MOST_CHARACTERS else ""
