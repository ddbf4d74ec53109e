"""The hash that names a table's version.

A stage hash covers definitions: the stage's part of the config, its SQL with the macros that it calls, the source
of compiled code that makes its rows, column names and types, a version number, and the stage hashes of its inputs,
for the partition's own SAE only. Comments, docstrings and descriptions are not covered. At the two roots it covers
content: the corpus's texts and the SAE's weights (`sources`).
Equal hash, equal table; a change anywhere upstream makes a new folder and leaves the old one alone.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.config import JUDGE, UNHASHED, Config
from pipeline.plugins import Declared, find_plugin, find_plugins, shared_digest
from pipeline.tables import TABLES
from pipeline.tables.compiled import compiled_sources
from pipeline.tables.macros import full_text
from pipeline.tables.sql import config_value, parameters_of, steps_of, tables_read
from pipeline.tables.stages import STAGES, Stage, own_queries, own_windows
from pipeline.uncommented import python_code


@dataclass(frozen=True)
class SourceHashes:
    """What a lake was made from, fixed at its first run.

    Attributes:
        corpus: Digest of the corpus's texts.
        saes: Digest of each SAE's files.
        dtype: The precision that `auto` stands for; None until a run has determined it.
        generations: Digests of added documents, one per generation after the first.
    """

    corpus: str = ""
    saes: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None
    generations: tuple[str, ...] = ()

    def at(self, generation: int) -> "SourceHashes":
        """What the lake was made from as of a generation of the corpus."""
        return replace(self, generations=self.generations[:generation])


CONTROLS = "controls"
"""The part of `explanations` that no plug-in makes."""

_TABLE_OF = {"explainers": "explanations", "scorers": "predictions"}
"""The table that plug-ins of each kind make."""


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


class Versions:
    """The versions of a config's tables; each is computed once.

    With empty `hashes` and no SAE they cover definitions only, which are known before any file is read: Dagster's
    `code_version`.
    """

    def __init__(
        self,
        config: Config,
        hashes: SourceHashes,
        known: Mapping[tuple[str, str | None, str | None], str] | None = None,
    ) -> None:
        self._config = config
        self._hashes = hashes
        self._known = {**(known or {})}  # by table, SAE and part

    def of(self, table: str, sae: str | None = None, part: str | None = None) -> str:
        """The version of a table as 12 hex digits; for a table of an SAE, of that SAE's part of it.

        A table made by plug-ins has a version per plug-in (`part`), so that adding a scorer or changing a prompt
        does not remake other scorers' rows. The version of the whole table, which its readers' versions include,
        covers all parts. Rows made by no plug-in have the version without a part.
        """
        if (table, sae, part) not in self._known:
            parts = parts_of(self._config, table)
            if part is None and None not in parts:
                covered: Any = {str(each): self.of(table, sae, each) for each in parts}
            else:
                covered = self._definition(STAGES[table], sae, part)
            self._known[table, sae, part] = _digest(json.dumps(covered, sort_keys=True))[:12]
        return self._known[table, sae, part]

    def _definition(self, stage: Stage, sae: str | None, part: str | None) -> dict[str, Any]:
        """What the version of a table, or of a plug-in's part of one, covers."""
        config, hashes, table = self._config, self._hashes, stage.table
        asked = config.asked_by(part or "")
        steps = (*stage.steps, *_own_steps(stage, part))
        texts = {name.name if isinstance(name, Path) else name: full_text(name) for name in steps}
        definition: dict[str, Any] = {
            "table": table,
            "version": stage.version,
            "schema": str(TABLES[table].schema),
            "science": {key: _at(asked, key) for key in stage.science},
            "parameters": _parameters(asked, stage, texts.values()),
            "sql": {name: _digest(text) for name, text in texts.items()},
            "inputs": {name: self._of_input(table, name, sae, part) for name in _inputs_of(config, stage, part)},
        }
        if stage.plugins and stage.makes_unwritten:
            # They may read the table itself, which does not exist yet when they are made unwritten.
            without = Versions(config, hashes, {**self._known, (table, sae, part): "", (table, sae, None): ""})
            definition["unwritten"] = {
                name: without._of_input(table, name, sae, part) for name in stage.makes_unwritten
            }
        if stage.own_step:
            definition["part"] = part
        if compiled := compiled_sources(stage.steps):
            definition["compiled"] = {module: _digest(python_code(text)) for module, text in compiled.items()}
        if stage.plugins:
            versions = plugin_versions(asked, stage.plugins)
            definition["part"] = part
            # In their order: controls are made from the first explainer that explains a feature.
            definition["plugins"] = [*versions.items()] if part == CONTROLS else versions.get(part or "")
        if table == "stated_rule_scores":
            versions = plugin_versions(config, "explainers")
            definition["content"] = {name: versions[name] for name in config.explaining.from_files}
        if table == "documents":
            definition["content"] = [hashes.corpus, *hashes.generations] if hashes.generations else hashes.corpus
        if table == "saes" and sae is not None:
            own = config.sae(sae)
            definition["content"] = [own.name, own.hookpoint, own.centred, own.format, hashes.saes.get(sae, "")]
        return definition

    def code_of(self, table: str, sae: str | None, part: str | None) -> str:
        """A hash of what a version covers of the program: code, SQL, and the files of plug-ins."""
        stage = STAGES[table]
        definition = self._definition(stage, sae, part)
        covered = [definition.get(key) for key in ("version", "schema", "sql", "compiled")]
        if stage.plugins:
            every = getattr(self._config.section_of(stage.plugins), stage.plugins)
            names = every if part == CONTROLS else [part] if part else []
            plugins = [_plugin(self._config.asked_by(part or ""), stage.plugins, str(name)) for name in names]
            covered += [[plugin["files"], plugin["shared"], plugin["sql"]] for plugin in plugins]
        return _digest(json.dumps(covered, sort_keys=True))

    def _of_input(self, table: str, name: str, sae: str | None, part: str | None) -> Any:
        """The version of an input; of every SAE's part where a table over all SAEs reads a table of one.

        Of a table made by the same kind of plug-in, only the same plug-in's part is read.
        """
        if part is not None and STAGES[name].plugins == STAGES[table].plugins:
            return self.of(name, sae, part)
        parts = _parts_read(self._config, table, name, part) if STAGES[name].own_step else (None,)

        def version(sae: str | None) -> Any:
            by_part = {str(each): self.of(name, sae, each) for each in parts}
            return by_part if len(by_part) > 1 else by_part["None"]

        reads_all = TABLES[table].partition == "all" and TABLES[name].partition in {"sae", "sae_batch"}
        if reads_all and self._hashes.saes:
            return {each: version(each) for each in self._config.sae_names}
        return version(sae)


def _own_steps(stage: Stage, part: str | None) -> tuple[str | Path, ...]:
    """The SQL files that run only for a scorer's own part of a table, in addition to the shared steps."""
    if not stage.own_step or part is None:
        return ()
    path = own_windows(find_plugin("scorers", part))
    steps = steps_of(path, given=stage.given) if path else ()
    return tuple(step for step in steps if step not in stage.steps)


def plugin_versions(config: Config, kind: Literal["explainers", "scorers"]) -> dict[str, str]:
    """The version of each plug-in in the config: its files, SQL and settings, and the code that all share."""
    names: tuple[str, ...] = getattr(config.section_of(kind), kind)
    return {name: _digest(json.dumps(_plugin(config, kind, name), sort_keys=True)) for name in names}


def _plugin(config: Config, kind: Literal["explainers", "scorers"], name: str) -> dict[str, Any]:
    """What the version of a plug-in covers."""
    plugin = find_plugin(kind, name)
    settings = getattr(config.section_of(kind), plugin.name)
    declared = Declared.by(settings)
    texts = [full_text(each) for each in own_queries(plugin)]
    content = {
        "files": [plugin.digest, find_plugin(kind, declared.prompts_of).digest if declared.prompts_of else ""],
        "shared": shared_digest(kind),
        "settings": settings.model_dump(mode="json"),
        "sql": texts,
        "parameters": _parameters(config, STAGES[_TABLE_OF[kind]], texts),
    }
    if (files := getattr(settings, "content", None)) is not None:
        content["content"] = files
        if any(sae.aliases for sae in config.saes):  # the files may name an SAE by an alias
            content["aliases"] = {sae.name: sae.aliases for sae in config.saes}
    if declared.of is not None:
        content["of"] = _plugin(config, kind, declared.of)
    if declared.n_judging:
        content["judge"] = _judge(config)
    return content


def _judge(config: Config) -> dict[str, Any]:
    """What answers of the scorer that judges drafts depend on."""
    plugin = find_plugin("scorers", JUDGE)
    texts = [full_text(name) for name in ("judging_windows", "train_questions")]
    science = (*STAGES["predictions"].science, "scoring.min_coverage")
    return {
        "files": [plugin.digest, shared_digest("scorers")],
        "settings": getattr(config.scoring, JUDGE).model_dump(mode="json"),
        "science": {key: _at(config, key) for key in science},
        "sql": texts,
        "parameters": _parameters(config, STAGES["explanations"], texts),
    }


def _parameters(config: Config, stage: Stage, texts: Iterable[str]) -> dict[str, Any]:
    """The values of the config that a stage's SQL texts name, except those that change no row."""
    names = {name for text in texts for name in parameters_of(text)} - stage.given_values
    return {name: config_value(config, name) for name in sorted(names) if name.partition("_")[0] not in UNHASHED}


def inputs_of(config: Config, table: str) -> tuple[str, ...]:
    """The tables that a table is made from in an experiment; of plug-ins, only those in the config count."""
    stage = STAGES[table]
    read = {*stage.reads, *tables_read(*stage.steps, given=stage.given)}
    for name in [each for each in stage.makes_unwritten if is_made(config, each)] or [table]:
        for part in parts_of(config, name):
            read.update(_inputs_of(config, STAGES[name], part))
    return tuple(name for name in STAGES if name in read - {table, *stage.makes_unwritten})


def is_made(config: Config, table: str) -> bool:
    """Whether an experiment makes a table; an on-demand table, only if one of its plug-ins reads it."""
    readers = [name for name, stage in STAGES.items() if stage.plugins and not stage.makes_unwritten]
    return not STAGES[table].is_on_demand or any(table in inputs_of(config, reader) for reader in readers)


def _inputs_of(config: Config, stage: Stage, part: str | None) -> tuple[str, ...]:
    """The tables that a stage reads; from plug-ins' SQL, only the part's own plug-in; for `controls`, all."""
    if stage.own_step:
        read = {*stage.reads, *tables_read(*stage.steps, *_own_steps(stage, part), given=stage.given)}
        return tuple(table for table in stage.inputs if table in read)
    if stage.plugins is None:
        return stage.inputs
    plugins = find_plugins(stage.plugins)
    parts = {*parts_of(config, stage.table)} - {None, CONTROLS} if part in {None, CONTROLS} else {part}
    names = {find_plugin(stage.plugins, str(name)).name for name in parts}
    section = config.section_of(stage.plugins)
    names |= {base for name in names if (base := Declared.by(getattr(section, name)).of)}
    of_plugins = {table for name in names for table in stage.tables_of(plugins[name])}
    read = {*stage.reads, *tables_read(*stage.steps, given=stage.given), *of_plugins}
    return tuple(table for table in stage.inputs if table in read)


def _parts_read(config: Config, table: str, name: str, part: str | None) -> tuple[str | None, ...]:
    """The parts that a table's part reads of an input with scorers' own rows.

    A scorer reads its own part and the shared one; tables that read the answers of all scorers read all parts. All
    other SQL takes only shared rows: by their draw, or because they are train windows.
    """
    if "predictions" in STAGES[table].inputs:
        return parts_of(config, name)
    own = part.partition("@")[0] if part is not None and STAGES[table].plugins == "scorers" else None
    return tuple(each for each in parts_of(config, name) if each in {None, own})


def _at(config: Config, key: str) -> Any:
    """The value of a dotted key of the config, as JSON can hold it."""
    value = reduce(getattr, key.split("."), config)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
