"""What a table is made from in an experiment: the plug-ins whose parts it has, and the tables that they read.

`Stage.inputs` counts every installed plug-in; here only those in the config count.
"""

from pathlib import Path

from pipeline.config import Config
from pipeline.plugins import Declared, find_plugin, find_plugins
from pipeline.tables.sql import steps_of, tables_read
from pipeline.tables.stages import STAGES, Stage, own_windows

CONTROLS = "controls"
"""The part of `explanations` that no plug-in makes."""


def parts_of(config: Config, table: str) -> tuple[str | None, ...]:
    """The plug-ins that make a table's rows, each with files and a version of its own; None for rows of no
    plug-in.

    In `examples`, None is the part that all read; the others belong to scorers with windows of their own.
    """
    if table in STAGES and STAGES[table].own_step:
        kinds = config.scoring.kinds
        return (None, *(kind for kind in kinds if own_windows(find_plugin("scorers", kind))))
    match STAGES[table].plugins if table in STAGES else None:
        case "explainers":
            return (*config.explaining.explainers, CONTROLS)
        case "scorers":
            return config.scoring.scorers or (None,)
        case _:
            return (None,)


def inputs_of(config: Config, table: str) -> tuple[str, ...]:
    """The tables that a table is made from, over all its parts."""
    stage = STAGES[table]
    read = {*stage.reads, *tables_read(*stage.steps, given=stage.given)}
    for name in [each for each in stage.makes_unwritten if is_made(config, each)] or [table]:
        for part in parts_of(config, name):
            read.update(inputs_of_part(config, name, part))
    return tuple(name for name in STAGES if name in read - {table, *stage.makes_unwritten})


def is_made(config: Config, table: str) -> bool:
    """Whether an experiment makes a table; an on-demand table, only if one of its plug-ins reads it."""
    readers = [name for name, stage in STAGES.items() if stage.plugins and not stage.makes_unwritten]
    return not STAGES[table].is_on_demand or any(table in inputs_of(config, reader) for reader in readers)


def inputs_of_part(config: Config, table: str, part: str | None) -> tuple[str, ...]:
    """The tables that a part is made from; `controls`, and a part that is None, read those of every plug-in."""
    stage = STAGES[table]
    if not (stage.plugins or stage.own_step):
        return stage.inputs
    read = {*stage.reads, *tables_read(*stage.steps, *own_steps(stage, part), given=stage.given)}
    if stage.plugins:
        plugins = find_plugins(stage.plugins)
        parts = {*parts_of(config, table)} - {None, CONTROLS} if part in {None, CONTROLS} else {part}
        names = {find_plugin(stage.plugins, str(name)).name for name in parts}
        section = config.section_of(stage.plugins)
        names |= {base for name in names if (base := Declared.by(getattr(section, name)).of)}
        read.update(each for name in names for each in stage.tables_of(plugins[name]))
    return tuple(name for name in stage.inputs if name in read)


def own_steps(stage: Stage, part: str | None) -> tuple[str | Path, ...]:
    """The SQL files that run only for a scorer's own part of a table, in addition to the shared steps."""
    if not stage.own_step or part is None:
        return ()
    path = own_windows(find_plugin("scorers", part))
    steps = steps_of(path, given=stage.given) if path else ()
    return tuple(step for step in steps if step not in stage.steps)


def parts_read(config: Config, table: str, part: str | None, name: str) -> tuple[str | None, ...]:
    """The parts of the table `name` that a part of another table reads.

    Of a table made by plug-ins of the same kind, that is the same plug-in's part. Of a table with scorers' own
    rows, a scorer reads its own part and the shared one, and tables that read the answers of all scorers read all
    parts; all other SQL takes only shared rows: by their draw, or because they are train windows.
    """
    stage, read = STAGES[table], STAGES[name]
    if part is not None and stage.plugins and read.plugins == stage.plugins:
        return (part,)
    if not read.own_step:
        return (None,)
    if "predictions" in stage.inputs:
        return parts_of(config, name)
    own = part.partition("@")[0] if part is not None and stage.plugins == "scorers" else None
    return tuple(each for each in parts_of(config, name) if each in {None, own})
