"""The hash that names a table's version.

A stage hash covers definitions: the stage's part of the config, its SQL texts with the macros that they call, the
source of what makes their rows where that is compiled, its schema, a version number, and the stage hashes of its
inputs, for the partition's own SAE only. At the two roots it takes content: the corpus's texts and the SAE's
weights (`sources`).
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

GIVEN = frozenset(
    {
        *("sae", "shard", "batch", "scorer", "asks_model", "bos_token_id", "quota_routes", "quota_sizes"),
        *("first_feature", "end_feature", "sampling", "n_shown", "n_silent", "n_judging"),
        *("fit_tokens", "fit_documents", "share", "questions_per_prompt", "least_explanations"),
        *("least_features", "least_answers", "n_windows", "has_marks"),
    }
)
"""Parameters of SQL that are given by code, and are no keys of the config."""


@dataclass(frozen=True)
class SourceHashes:
    """What a lake was made from, fixed at its first run.

    Attributes:
        corpus: Digest of the corpus's texts.
        saes: Digest of each SAE's files.
        dtype: The precision that `auto` stands for; None where no run has found out yet.
        generations: Digests of the documents that were added behind the first ones, each time that some were.
    """

    corpus: str = ""
    saes: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None
    generations: tuple[str, ...] = ()

    def at(self, generation: int) -> "SourceHashes":
        """What the lake was made from when the corpus had no later generation."""
        return replace(self, generations=self.generations[:generation])


Versions = dict[tuple[str, str | None, str | None], str]
"""Stage hashes by table, SAE or None, and plug-in or None."""

CONTROLS = "controls"
"""The part of `explanations` that no plug-in makes."""


def parts_of(config: Config, table: str) -> tuple[str | None, ...]:
    """The plug-ins that make a table's rows, each in files and a version of its own; None for rows of no plug-in.

    Of `examples`, None is what all read; the others are of scorers that alone ask about their windows.
    """
    if table in STAGES and STAGES[table].own_step:
        kinds = config.scoring.kinds
        return (None, *(kind for kind in kinds if own_windows(find_plugin("scorers", kind))))
    match STAGES[table].plugins if table in STAGES else None:
        case "explainers":
            return (*config.explaining.explainers, CONTROLS)
        case "scorers":
            return config.scoring.scorers
        case _:
            return (None,)


def stage_hash(
    config: Config,
    table: str,
    hashes: SourceHashes,
    sae: str | None = None,
    known: Versions | None = None,
    part: str | None = None,
) -> str:
    """The version of a table as 12 hex digits; for a table of an SAE, of that SAE's part of it.

    A table that plug-ins make has a version for each of them (`part`), so that another scorer or a changed prompt
    makes no other scorer's rows anew; the version of the whole, which what reads it has in its own, covers all.
    Where some rows are of no plug-in, these have the version without a part.

    With empty `hashes` and no SAE it covers definitions alone, which the graph knows before any file is
    read: Dagster's `code_version`. Hashes in `known` are not computed again, and new ones join it.
    """
    known = {} if known is None else known
    if (table, sae, part) in known:
        return known[table, sae, part]
    parts = parts_of(config, table)
    if None not in parts and part is None:
        whole = {str(each): stage_hash(config, table, hashes, sae, known, each) for each in parts}
        known[table, sae, None] = _digest(json.dumps(whole, sort_keys=True))[:12]
        return known[table, sae, None]
    definition = _definition(config, STAGES[table], hashes, sae, known, part)
    known[table, sae, part] = _digest(json.dumps(definition, sort_keys=True))[:12]
    return known[table, sae, part]


def _definition(
    config: Config, stage: Stage, hashes: SourceHashes, sae: str | None, known: Versions, part: str | None
) -> dict[str, Any]:
    """What the version of a table, or of a plug-in's part of one, covers."""
    table, asked = stage.table, config.asked_by(part or "")
    steps = (*stage.steps, *_own_steps(stage, part))
    texts = {name.name if isinstance(name, Path) else name: full_text(name) for name in steps}
    definition: dict[str, Any] = {
        "table": table,
        "version": stage.version,
        "schema": str(TABLES[table].schema),
        "science": {place: _at(asked, place) for place in stage.science},
        "parameters": _parameters(asked, texts.values()),
        "sql": {name: _digest(text) for name, text in texts.items()},
        "inputs": {
            name: _input_hashes(config, table, name, hashes, sae, known, part)
            for name in _inputs_of(config, stage, part)
        },
    }
    if stage.plugins and stage.makes_unwritten:
        # They may read the table itself, which does not exist yet when they are made unwritten.
        without_own = {**known, (table, sae, part): "", (table, sae, None): ""}
        definition["unwritten"] = {
            name: _input_hashes(config, table, name, hashes, sae, without_own, part)
            for name in stage.makes_unwritten
        }
    if stage.own_step:
        definition["part"] = part
    if compiled := compiled_sources(stage.steps):
        definition["compiled"] = {module: _digest(text) for module, text in compiled.items()}
    if stage.plugins:
        versions = plugin_versions(asked, stage.plugins)
        definition["part"] = part
        # In their order: controls are made from the first explainer that explains a feature.
        definition["plugins"] = [*versions.items()] if part == CONTROLS else versions.get(part or "")
    if table == "documents":
        definition["content"] = [hashes.corpus, *hashes.generations] if hashes.generations else hashes.corpus
    if table == "saes" and sae is not None:
        own = config.sae(sae)
        definition["content"] = [own.name, own.hookpoint, own.centred, own.format, hashes.saes.get(sae, "")]
    return definition


def _own_steps(stage: Stage, part: str | None) -> tuple[str | Path, ...]:
    """The SQL files that run for a part of a table that is a scorer's own, beside the steps that all share."""
    if not stage.own_step or part is None:
        return ()
    path = own_windows(find_plugin("scorers", part))
    steps = steps_of(path, given=stage.given) if path else ()
    return tuple(step for step in steps if step not in stage.steps)


def plugin_versions(config: Config, kind: Literal["explainers", "scorers"]) -> dict[str, str]:
    """The version of each plug-in that the config names: its files, SQL and settings, and what all share."""
    names = config.explaining.explainers if kind == "explainers" else config.scoring.scorers
    return {name: _digest(json.dumps(_plugin(config, kind, name), sort_keys=True)) for name in names}


def _plugin(config: Config, kind: Literal["explainers", "scorers"], name: str) -> dict[str, Any]:
    """What the version of a plug-in covers."""
    plugin, section = find_plugin(kind, name), config.explaining if kind == "explainers" else config.scoring
    settings = getattr(section, plugin.name)
    declared = Declared.by(settings)
    texts = [full_text(each) for each in own_queries(plugin)]
    content = {
        "files": [plugin.digest, find_plugin(kind, declared.prompts_of).digest if declared.prompts_of else ""],
        "shared": shared_digest(kind),
        "settings": settings.model_dump(mode="json"),
        "sql": texts,
        "parameters": _parameters(config, texts),
    }
    if (files := getattr(settings, "content", None)) is not None:
        content["content"] = files
    if kind == "explainers" and any(sae.aliases for sae in config.saes):
        content["aliases"] = {sae.name: sae.aliases for sae in config.saes}
    if declared.of is not None:
        content["of"] = _plugin(config, kind, declared.of)
    if declared.n_judging:
        content["judge"] = _judge(config)
    return content


def _judge(config: Config) -> dict[str, Any]:
    """What the answers of the scorer that judges drafts depend on."""
    plugin, text = find_plugin("scorers", JUDGE), full_text("train_questions")
    science = (*STAGES["predictions"].science, "scoring.min_coverage")
    return {
        "files": [plugin.digest, shared_digest("scorers")],
        "settings": getattr(config.scoring, JUDGE).model_dump(mode="json"),
        "science": {place: _at(config, place) for place in science},
        "sql": text,
        "parameters": _parameters(config, [text]),
    }


def _parameters(config: Config, texts: Iterable[str]) -> dict[str, Any]:
    """The values of the config that SQL texts name, but for those that change no row."""
    names = {name for text in texts for name in parameters_of(text)} - GIVEN
    return {name: config_value(config, name) for name in sorted(names) if name.partition("_")[0] not in UNHASHED}


def inputs_of(config: Config, table: str) -> tuple[str, ...]:
    """The tables that a table is made from in an experiment: of what plug-ins read, that of the config's alone."""
    stage = STAGES[table]
    read = {*stage.reads, *tables_read(*stage.steps, given=stage.given)}
    for name in [each for each in stage.makes_unwritten if is_made(config, each)] or [table]:
        for part in parts_of(config, name):
            read.update(_inputs_of(config, STAGES[name], part))
    return tuple(name for name in STAGES if name in read - {table, *stage.makes_unwritten})


def is_made(config: Config, table: str) -> bool:
    """Whether an experiment makes a table; what is made for plug-ins alone, only where one of its own reads it."""
    readers = [name for name, stage in STAGES.items() if stage.plugins and not stage.makes_unwritten]
    return not STAGES[table].is_on_demand or any(table in inputs_of(config, reader) for reader in readers)


def _inputs_of(config: Config, stage: Stage, part: str | None) -> tuple[str, ...]:
    """The tables that a stage reads; of those of plug-ins' SQL, the part's own; for `controls` of all of them."""
    if stage.own_step:
        read = {*stage.reads, *tables_read(*stage.steps, *_own_steps(stage, part), given=stage.given)}
        return tuple(table for table in stage.inputs if table in read)
    if stage.plugins is None:
        return stage.inputs
    plugins = find_plugins(stage.plugins)
    parts = {*parts_of(config, stage.table)} - {CONTROLS} if part in {None, CONTROLS} else {part}
    names = {find_plugin(stage.plugins, str(name)).name for name in parts}
    section = config.explaining if stage.plugins == "explainers" else config.scoring
    names |= {base for name in names if (base := Declared.by(getattr(section, name)).of)}
    of_plugins = {table for name in names for table in stage.tables_of(plugins[name])}
    read = {*stage.reads, *tables_read(*stage.steps, given=stage.given), *of_plugins}
    return tuple(table for table in stage.inputs if table in read)


def _input_hashes(
    config: Config,
    table: str,
    name: str,
    hashes: SourceHashes,
    sae: str | None,
    known: Versions,
    part: str | None,
) -> Any:
    """The version of an input; of every SAE's part where a table over all SAEs reads a table of one.

    Of what the same kind of plug-ins make, only the same plug-in's part is read.
    """
    if part is not None and STAGES[name].plugins == STAGES[table].plugins:
        return stage_hash(config, name, hashes, sae, known, part)
    parts = _parts_read(config, table, name, part) if STAGES[name].own_step else (None,)

    def version(of: str | None) -> Any:
        by_part = {str(each): stage_hash(config, name, hashes, of, known, each) for each in parts}
        return by_part if len(by_part) > 1 else by_part["None"]

    reads_all = TABLES[table].partition == "all" and TABLES[name].partition in {"sae", "sae_batch"}
    return {each: version(each) for each in config.sae_names} if reads_all and hashes.saes else version(sae)


def _parts_read(config: Config, table: str, name: str, part: str | None) -> tuple[str | None, ...]:
    """Which parts a table's part reads of an input that has rows of scorers' own.

    A scorer reads its own beside those that all share; what reads the answers of all scorers reads all parts. The
    SQL of all else takes shared rows alone: by their place in the draw, or because they are train windows.
    """
    if "predictions" in STAGES[table].inputs:
        return parts_of(config, name)
    own = part.partition("@")[0] if part is not None and STAGES[table].plugins == "scorers" else None
    return tuple(each for each in parts_of(config, name) if each in {None, own})


def _at(config: Config, place: str) -> Any:
    """The value at a dotted place of the config, as JSON can hold it."""
    value = reduce(getattr, place.split("."), config)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
