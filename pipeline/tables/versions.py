"""The hash that names a table's version.

A stage hash covers definitions: the stage's part of the config, its SQL texts, the source of what makes their
rows where that is compiled, its schema, a version number, and the stage hashes of its inputs, for the
partition's own SAE only. At the two roots it takes content: the corpus's texts and the SAE's weights (`sources`).
Equal hash, equal table; a change anywhere upstream makes a new folder and leaves the old one alone.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.config import Config, Section
from pipeline.plugins import find_plugin, find_plugins, shared_digest
from pipeline.tables import TABLES
from pipeline.tables.compiled import compiled_sources
from pipeline.tables.sql import config_value, parameters_of, sql_text, tables_read
from pipeline.tables.stages import STAGES, Stage, own_queries

_GIVEN = frozenset(
    {
        *("sae", "shard", "batch", "scorer", "asks_model", "bos_token_id", "quota_routes", "quota_sizes"),
        *("first_feature", "end_feature", "sampling", "n_shown", "n_silent", "fit_tokens", "fit_documents"),
        "share",
    }
)
_UNHASHED = frozenset({"selection", "machine", "endpoints", "budget"})


@dataclass(frozen=True)
class SourceHashes:
    """What a lake was made from, fixed at its first run.

    Attributes:
        corpus: Digest of the corpus's texts.
        saes: Digest of each SAE's files.
        dtype: The precision that `auto` stands for; None where no run has found out yet.
    """

    corpus: str = ""
    saes: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None


Versions = dict[tuple[str, str | None, str | None], str]
"""Stage hashes by table, SAE or None, and plug-in or None."""

CONTROLS = "controls"
"""The part of `explanations` that no plug-in makes."""


def parts_of(config: Config, table: str) -> tuple[str | None, ...]:
    """Who makes the rows of a table, each in files and a version of its own: the config's plug-ins, or nobody."""
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

    With empty `hashes` and no SAE it covers definitions alone, which the graph knows before any file is
    read: Dagster's `code_version`. Hashes in `known` are not computed again, and new ones join it.
    """
    known = {} if known is None else known
    if (table, sae, part) in known:
        return known[table, sae, part]
    parts = parts_of(config, table)
    if part is None and parts != (None,):
        whole = {str(each): stage_hash(config, table, hashes, sae, known, each) for each in parts}
        known[table, sae, None] = _digest(json.dumps(whole, sort_keys=True))[:12]
        return known[table, sae, None]
    stage = STAGES[table]
    texts = {name: sql_text(name) for name in stage.steps}
    parameters = {name for text in texts.values() for name in parameters_of(text)} - _GIVEN
    definition: dict[str, Any] = {
        "table": table,
        "version": stage.version,
        "schema": str(TABLES[table].schema),
        "science": {place: _at(config, place) for place in stage.science},
        "parameters": {
            name: config_value(config, name)
            for name in sorted(parameters)
            if name.partition("_")[0] not in _UNHASHED
        },
        "sql": {name: _digest(text) for name, text in texts.items()},
        "inputs": {
            name: _input_hashes(config, table, name, hashes, sae, known)
            for name in _inputs_of(config, stage, part)
        },
    }
    if compiled := compiled_sources(stage.steps):
        definition["compiled"] = {module: _digest(text) for module, text in compiled.items()}
    if stage.plugins:
        versions = plugin_versions(config, stage.plugins)
        definition["part"] = part
        definition["plugins"] = versions if part == CONTROLS else versions.get(part or "")
    if table == "documents":
        definition["content"] = hashes.corpus
    if table == "saes" and sae is not None:
        own = config.sae(sae)
        definition["content"] = [own.name, own.hookpoint, own.centred, own.format, hashes.saes.get(sae, "")]
    known[table, sae, part] = _digest(json.dumps(definition, sort_keys=True))[:12]
    return known[table, sae, part]


def plugin_versions(config: Config, kind: Literal["explainers", "scorers"]) -> dict[str, str]:
    """The version of each plug-in that the config names: its files, SQL and settings, and what all share."""
    is_explainer = kind == "explainers"
    section: Section = config.explaining if is_explainer else config.scoring
    names = config.explaining.explainers if is_explainer else config.scoring.scorers
    versions = {}
    for name in names:
        plugin = find_plugin(kind, name)
        texts = [sql_text(each) for each in own_queries(plugin)]
        parameters = {key for text in texts for key in parameters_of(text)} - _GIVEN
        lender = getattr(plugin.settings, "prompts_of", None)  # the explainer whose prompts it asks with
        content = {
            "files": [plugin.digest, find_plugin(kind, lender).digest if lender else ""],
            "shared": shared_digest(kind),
            "settings": getattr(section, name).model_dump(mode="json"),
            "sql": texts,
            "parameters": {key: config_value(config, key) for key in sorted(parameters)},
        }
        if (own := getattr(getattr(section, name), "content", None)) is not None:
            content["content"] = own  # of the files that its settings name
        if is_explainer and any(sae.aliases for sae in config.saes):
            content["aliases"] = {sae.name: sae.aliases for sae in config.saes}
        versions[name] = _digest(json.dumps(content, sort_keys=True))
    return versions


def inputs_of(config: Config, table: str) -> tuple[str, ...]:
    """The tables that a table is made from in an experiment: of what plug-ins read, that of the config's alone."""
    stage = STAGES[table]
    read = {*stage.reads, *tables_read(*stage.steps, given=stage.given)}
    for name in [each for each in stage.rehearses if is_made(config, each)] or [table]:
        for part in parts_of(config, name):
            read.update(_inputs_of(config, STAGES[name], part))
    return tuple(name for name in STAGES if name in read - set(stage.rehearses))


def is_made(config: Config, table: str) -> bool:
    """Whether an experiment makes a table; what is made for plug-ins alone, only where one of its own reads it."""
    readers = [name for name, stage in STAGES.items() if stage.plugins]
    return not STAGES[table].is_on_demand or any(table in inputs_of(config, reader) for reader in readers)


def _inputs_of(config: Config, stage: Stage, part: str | None) -> tuple[str, ...]:
    """The tables that a stage reads; of those of plug-ins' SQL, the part's own; for `controls` of all of them."""
    if stage.plugins is None:
        return stage.inputs
    plugins = find_plugins(stage.plugins)
    names = {part} if part in plugins else {*parts_of(config, stage.table)} - {CONTROLS}
    of_plugins = {table for name in names for table in stage.tables_of(plugins[str(name)])}
    read = {*stage.reads, *tables_read(*stage.steps, given=stage.given), *of_plugins}
    return tuple(table for table in stage.inputs if table in read)


def _input_hashes(
    config: Config, table: str, name: str, hashes: SourceHashes, sae: str | None, known: Versions
) -> Any:
    """The version of an input; of every SAE's part where a table over all SAEs reads a table of one."""
    reads_all = TABLES[table].partition == "all" and TABLES[name].partition in {"sae", "sae_batch"}
    if reads_all and hashes.saes:
        return {each: stage_hash(config, name, hashes, each, known) for each in config.sae_names}
    return stage_hash(config, name, hashes, sae, known)


def _at(config: Config, place: str) -> Any:
    """The value at a dotted place of the config, as JSON can hold it."""
    value = reduce(getattr, place.split("."), config)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
