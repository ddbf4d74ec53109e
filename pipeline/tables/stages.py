"""The stages of the pipeline: what each table is made from, and the hash that names its version.

A stage hash covers definitions: the stage's part of the config, its SQL texts, its schema, a version
number, and the stage hashes of its inputs, for the partition's own SAE only. At the two roots it takes
content: the corpus's texts and the SAE's weights (`sources`). Equal hash, equal table; a change anywhere
upstream makes a new folder and leaves the old one alone.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.config import Config, Section
from pipeline.plugins import Plugin, find_plugin, find_plugins, shared_digest
from pipeline.tables import TABLES
from pipeline.tables.sql import config_value, parameters_of, sql_files, sql_text, steps_of, tables_read

CORPUS_TOKENS, FIRINGS = "corpus_tokens", "firings"
"""SQL files for whose rows there are arrays."""


@dataclass(frozen=True)
class Stage:
    """How a table is made. What SQL tells is read off the SQL: the table's own file, `sql/**/<table>.sql`, names
    what it reads, and those files what they read (`sql.steps_of`). The rest is said here.

    Attributes:
        table: The table that it makes.
        reads: Tables that its code reads beside those that its SQL names.
        science: Dotted places in the config whose values its rows depend on, beside the `$parameters` of
            its SQL, which count by themselves.
        given: Relations that its code hands to its SQL.
        queries: SQL files whose rows its code reads, where the table is not made by SQL.
        plugins: The kind of plug-ins that make its rows; they read what their own SQL names.
        rehearses: Tables that its code makes without writing them, and so reads what they read.
        buckets_at_once: How many buckets of features are made at a time, for a table of an SAE whose steps go by
            bucket: a query costs some milliseconds however little it reads, and the rows of so many buckets are
            in memory (but for their firings: those of one at a time).
        version: Raised by hand when code outside SQL changes what the rows are.
    """

    table: str
    reads: tuple[str, ...] = ()
    science: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    rehearses: tuple[str, ...] = ()
    buckets_at_once: int = 1
    plugins: Literal["explainers", "scorers"] | None = None
    version: int = 1

    @cached_property
    def is_sql(self) -> bool:
        """Whether its rows are those of a SQL file."""
        return self.table in sql_files()

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """The SQL files that it runs, each after those that it reads; last a table's own, where SQL makes it."""
        return tuple(map(str, steps_of(*((self.table,) if self.is_sql else self.queries), given=self.given)))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The tables that it reads, in the order of the data's way; the ledger is none."""
        read = {*self.reads, *tables_read(*self.steps, given=self.given)}
        for plugin in find_plugins(self.plugins).values() if self.plugins else ():
            read.update(tables_read(*own_queries(plugin), given=self.given))
        for name in self.rehearses:
            read.update(set(STAGES[name].inputs) - set(self.rehearses))
        return tuple(name for name in STAGES if name in read)


def own_queries(plugin: Plugin) -> tuple[str | Path, ...]:
    """The SQL of a plug-in's questions: in its folder, or of its name in `sql/questions`; or none."""
    own = plugin.path / "questions.sql"
    if own.is_file():
        return (own,)
    return (plugin.name,) if plugin.kind == "scorers" and plugin.name in sql_files() else ()


_TOKENIZER = ("subject.model", "subject.revision", "subject.gguf_file")
_CUTTING = ("corpus.min_document_tokens", "corpus.max_document_tokens", "corpus.max_tokens")

STAGES: dict[str, Stage] = {
    stage.table: stage
    for stage in (
        Stage("saes"),
        Stage("documents", science=(*_CUTTING, *_TOKENIZER), given=("read_documents",), version=2),
        Stage("tokens", science=_TOKENIZER),
        Stage("contexts"),
        Stage("slots"),
        Stage(
            "activation_shards", reads=("saes", "contexts"), science=("subject.dtype", "corpus.context_length")
        ),
        Stage("activations", reads=("activation_shards",)),
        Stage(
            "feature_logits",
            reads=("saes",),
            science=("subject.dtype", "heuristics.top_tokens"),
            queries=("token_texts",),
        ),
        Stage("feature_tokens"),
        Stage("feature_stats", buckets_at_once=8),
        Stage(
            "scrambled_contexts",
            reads=("saes",),
            science=("subject.dtype", "corpus.prepend_bos"),
            given=("scrambled_firings",),
        ),
        Stage("context_independence"),
        Stage("feature_rules", buckets_at_once=4),
        Stage("rule_scores", buckets_at_once=4),
        Stage("feature_routes"),
        Stage("selected_features", reads=("feature_stats",), given=("wanted_features",)),
        Stage("example_index"),
        Stage("feature_neighbours", reads=("saes",)),
        Stage("estimate", rehearses=("examples", "fuzzing_pairs", "explanations", "predictions")),
        Stage("examples", science=("scoring.n_questions",)),
        Stage("fuzzing_pairs"),
        Stage(
            "explanations",
            science=(
                *("explaining.provider", "explaining.model", "explaining.dtype", "explaining.sampling"),
                *("explaining.n_examples", "explaining.marked_share", "explaining.show_activations"),
                *("explaining.temperature", "explaining.max_tokens", "explaining.max_draws"),
                *("explaining.one_line", "explaining.reasoning_tokens", "explaining.reasoning_effort"),
            ),
            queries=("explained_features", "shown_examples", "vocabulary"),
            plugins="explainers",
        ),
        Stage(
            "predictions",
            science=(
                *("scoring.provider", "scoring.model", "scoring.dtype", "scoring.temperature"),
                *("scoring.max_draws", "scoring.reasoning_tokens", "scoring.reasoning_effort"),
            ),
            # Those of the rounds before decide what comes next; what is asked is the scorer's own.
            given=("predictions", "asked_questions"),
            queries=("next_questions", "vocabulary"),
            plugins="scorers",
        ),
        Stage("scores"),
        Stage("score_details"),
        Stage("summary", science=("scoring.confidence",), given=("student_quantiles",)),
    )
}
"""Every stage by its table, inputs before the stages that read them."""

_GIVEN = frozenset(
    {
        *("sae", "shard", "batch", "scorer", "bos_token_id", "quota_routes", "quota_sizes"),
        *("first_feature", "end_feature"),
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


Versions = dict[tuple[str, str | None], str]
"""Stage hashes by (table, SAE or None)."""


def stage_hash(
    config: Config, table: str, hashes: SourceHashes, sae: str | None = None, known: Versions | None = None
) -> str:
    """The version of a table as 12 hex digits; for a table of an SAE, of that SAE's part of it.

    With empty `hashes` and no SAE it covers definitions alone, which the graph knows before any file is
    read: Dagster's `code_version`. Hashes in `known` are not computed again, and new ones join it.
    """
    known = {} if known is None else known
    if (table, sae) in known:
        return known[table, sae]
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
        "inputs": {name: _input_hashes(config, table, name, hashes, sae, known) for name in stage.inputs},
    }
    if stage.plugins:
        definition["plugins"] = plugin_versions(config, stage.plugins)
    if table == "documents":
        definition["content"] = hashes.corpus
    if table == "saes" and sae is not None:
        own = config.sae(sae)
        definition["content"] = [own.name, own.hookpoint, own.format, hashes.saes.get(sae, "")]
    known[table, sae] = _digest(json.dumps(definition, sort_keys=True))[:12]
    return known[table, sae]


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
        content = {
            "files": plugin.digest,
            "shared": shared_digest(kind),
            "settings": getattr(section, name).model_dump(mode="json"),
            "sql": texts,
            "parameters": {key: config_value(config, key) for key in sorted(parameters)},
        }
        versions[name] = _digest(json.dumps(content, sort_keys=True))
    return versions


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
    section, _, key = place.partition(".")
    value = getattr(config, section)
    value = getattr(value, key) if key else value
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
