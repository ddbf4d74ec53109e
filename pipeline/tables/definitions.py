"""What defines a table's rows, apart from the inputs that they are made from.

That is the stage's part of the config, its SQL with the macros that it calls, the source of compiled code that
makes its rows, its plug-ins, column names and types, and a version number. Comments, docstrings and descriptions
are not covered. All of it is known before any file of the lake is read, and is the same for every SAE.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.config import JUDGE, UNHASHED, Config
from pipeline.plugins import Declared, find_plugin, shared_digest
from pipeline.tables import TABLES
from pipeline.tables.compiled import compiled_sources
from pipeline.tables.inputs import CONTROLS, own_steps
from pipeline.tables.macros import full_text
from pipeline.tables.sql import config_value, parameters_of
from pipeline.tables.stages import STAGES, Stage, own_queries
from pipeline.uncommented import python_code

_TABLE_OF = {"explainers": "explanations", "scorers": "predictions"}
"""The table that plug-ins of each kind make."""


def definition_of(config: Config, table: str, part: str | None = None) -> dict[str, Any]:
    """What defines the rows of a table, or of a plug-in's part of one."""
    stage, asked = STAGES[table], config.asked_by(part or "")
    steps = (*stage.steps, *own_steps(stage, part))
    texts = {name.name if isinstance(name, Path) else name: full_text(name) for name in steps}
    definition: dict[str, Any] = {
        "table": table,
        "version": stage.version,
        "schema": str(TABLES[table].schema),
        "science": {key: _at(asked, key) for key in stage.science},
        "parameters": _parameters(asked, stage, texts.values()),
        "sql": {name: digest(text) for name, text in texts.items()},
    }
    if compiled := compiled_sources(stage.steps):
        definition["compiled"] = {module: digest(python_code(text)) for module, text in compiled.items()}
    if stage.own_step or stage.plugins:
        definition["part"] = part
    if stage.plugins:
        versions = plugin_versions(asked, stage.plugins)
        # In their order: controls are made from the first explainer that explains a feature.
        definition["plugins"] = [*versions.items()] if part == CONTROLS else versions.get(part or "")
    if table == "stated_rule_scores":
        versions = plugin_versions(config, "explainers")
        definition["content"] = {name: versions[name] for name in config.explaining.from_files}
    return definition


def code_of(config: Config, table: str, part: str | None = None) -> str:
    """A hash of what the definition covers of the program: code, SQL, and the files of plug-ins."""
    stage, definition = STAGES[table], definition_of(config, table, part)
    covered = [definition.get(key) for key in ("version", "schema", "sql", "compiled")]
    if stage.plugins:
        every = getattr(config.section_of(stage.plugins), stage.plugins)
        names = every if part == CONTROLS else [part] if part else []
        plugins = [_plugin(config.asked_by(part or ""), stage.plugins, str(name)) for name in names]
        covered += [[plugin["files"], plugin["shared"], plugin["sql"]] for plugin in plugins]
    return digest_of_json(covered)


def plugin_versions(config: Config, kind: Literal["explainers", "scorers"]) -> dict[str, str]:
    """The version of each plug-in in the config: its files, SQL and settings, and the code that all share."""
    names: tuple[str, ...] = getattr(config.section_of(kind), kind)
    return {name: digest_of_json(_plugin(config, kind, name)) for name in names}


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


def _at(config: Config, key: str) -> Any:
    """The value of a dotted key of the config, as JSON can hold it."""
    value = reduce(getattr, key.split("."), config)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def digest_of_json(value: Any) -> str:
    """SHA-256 of a value as JSON, as hex digits."""
    return digest(json.dumps(value, sort_keys=True))


def digest(text: str) -> str:
    """SHA-256 of a text, as hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()
