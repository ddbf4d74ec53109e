"""The stages of the pipeline: what each table is made from, and the hash that names its version.

A stage hash covers definitions: the stage's part of the config, its SQL texts, its schema, a version
number, and the stage hashes of its inputs, for the partition's own SAE only. At the two roots it takes
content: the corpus's texts and the SAE's weights (`sources`). Equal hash, equal table; a change anywhere
upstream makes a new folder and leaves the old one alone.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.config import Config, Section
from pipeline.plugins import find_plugin, shared_digest
from pipeline.tables import TABLES

SQL_FOLDER = Path(__file__).parents[2] / "sql"

CORPUS_TOKENS, FIRINGS = "corpus_tokens", "firings"
"""SQL files for whose rows there are arrays."""


@dataclass(frozen=True)
class Stage:
    """How a table is made.

    Attributes:
        table: The table that it makes.
        inputs: The tables that it reads.
        science: Dotted places in the config whose values its rows depend on, beside the `$parameters` of
            its SQL, which count by themselves.
        sql: SQL files that it runs in this order; all but the table's own fill temporary tables. For a table of
            an SAE they run some buckets of features at a time from the first that is `firings` or has
            `$first_feature`.
        buckets_at_once: How many buckets those are: a query costs some milliseconds however little it reads, and
            the rows of so many buckets are in memory (but for their firings: those of one at a time).
        plugins: The kind of plug-ins that make its rows.
        version: Raised by hand when code outside SQL changes what the rows are.
    """

    table: str
    inputs: tuple[str, ...] = ()
    science: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()
    buckets_at_once: int = 1
    plugins: Literal["explainers", "scorers"] | None = None
    version: int = 1


_TOKENIZER = ("subject.model", "subject.revision", "subject.gguf_file")
_CUTTING = ("corpus.min_document_tokens", "corpus.max_document_tokens", "corpus.max_tokens")

_JUDGED = (
    *("contexts", "documents", "slots", "activations", "feature_rules"),
    *("examples", "explanations", "predictions"),
)
_SCORING = (
    *("question_answers", "normal_quantile", "rate_intervals", "balanced_accuracies", "ranked_scores"),
    *("sample_scores", "candidate_slots", "corpus_tokens", "rule_exact"),
)

STAGES: dict[str, Stage] = {
    stage.table: stage
    for stage in (
        Stage("saes"),
        Stage("documents", science=(*_CUTTING, *_TOKENIZER), sql=("documents",)),
        Stage("tokens", science=_TOKENIZER),
        Stage("contexts", ("documents",), sql=("contexts",)),
        Stage("slots", ("documents",), sql=("slots",)),
        Stage("activation_shards", ("saes", "contexts"), science=("subject.dtype", "corpus.context_length")),
        Stage("activations", ("activation_shards",)),
        Stage("feature_logits", ("saes", "tokens"), science=("subject.dtype", "heuristics.top_tokens")),
        Stage(
            "feature_tokens",
            ("activations", "contexts", "documents", "slots"),
            sql=("candidate_slots", "corpus_tokens", FIRINGS, "feature_cuts", "feature_tokens"),
        ),
        Stage(
            "feature_stats",
            ("saes", "activations", "contexts", "documents", "slots", "tokens"),
            sql=(
                "candidate_slots",
                "corpus_tokens",
                "train_tokens",
                "reached_positions",
                "cell_bias",
                FIRINGS,
                "feature_cuts",
                "feature_counts",
                "position_counts",
                "feature_positions",
                "feature_tokens",
                "feature_masses",
                "heaviest_tokens",
                "top_tokens",
                "feature_previous_tokens",
                "feature_stats",
            ),
            buckets_at_once=8,
        ),
        Stage(
            "scrambled_contexts",
            ("saes", "contexts", "documents", "tokens", "feature_tokens", "feature_stats"),
            science=("subject.dtype", "corpus.prepend_bos"),
            sql=("train_tokens", "unigram_tokens", "scrambled_texts", "scrambled_contexts"),
        ),
        Stage(
            "context_independence",
            ("feature_stats", "scrambled_contexts"),
            sql=("normal_quantile", "context_independence"),
        ),
        Stage(
            "feature_rules",
            ("contexts", "documents", "tokens", "feature_tokens", "feature_stats"),
            sql=("train_tokens", "rule_candidates", "rule_sets", "feature_rules"),
            buckets_at_once=4,
        ),
        Stage("feature_routes", ("feature_stats", "feature_rules"), sql=("feature_routes",)),
        Stage("selected_features", ("feature_stats", "feature_routes"), sql=("selected_features",)),
        Stage(
            "example_index",
            ("saes", "activations", "contexts", "documents", "slots"),
            sql=(
                "candidate_slots",
                "corpus_tokens",
                FIRINGS,
                "slot_peaks",
                "active_slots",
                "kept_slots",
                "silent_lots",
                "silent_slots",
                "example_index",
            ),
        ),
        Stage("feature_neighbours", ("saes",)),
        Stage(
            "estimate",
            (
                *("contexts", "documents", "slots", "tokens", "activations", "feature_stats", "feature_rules"),
                *("feature_routes", "selected_features", "example_index", "feature_neighbours"),
            ),
        ),
        Stage(
            "examples",
            (
                *("contexts", "documents", "slots", "activations", "feature_stats", "example_index"),
                *("selected_features", "feature_neighbours"),
            ),
            science=("scoring.n_questions",),
            sql=(
                *("batch_features", "candidate_slots", "corpus_tokens", "batch_tokens", "batch_neighbours"),
                *("batch_index", "drawn_slots", "batch_slots", "token_slots", "silent_strata", "taken_slots"),
                *("rendered_windows", "examples"),
            ),
        ),
        Stage("fuzzing_pairs", ("examples", "feature_stats"), sql=("fuzzing_pairs",)),
        Stage(
            "explanations",
            ("examples", "selected_features", "feature_routes", "feature_rules", "tokens"),
            science=(
                *("explaining.provider", "explaining.model", "explaining.dtype", "explaining.sampling"),
                *("explaining.n_examples", "explaining.marked_share", "explaining.show_activations"),
                *("explaining.temperature", "explaining.max_tokens", "explaining.max_draws"),
                *("explaining.one_line", "explaining.reasoning_tokens", "explaining.reasoning_effort"),
            ),
            sql=("batch_features", "explained_features", "shown_examples"),
            plugins="explainers",
        ),
        Stage(
            "predictions",
            ("examples", "fuzzing_pairs", "explanations", "feature_routes", "tokens"),
            science=(
                *("scoring.provider", "scoring.model", "scoring.dtype", "scoring.temperature"),
                *("scoring.max_draws", "scoring.reasoning_tokens", "scoring.reasoning_effort"),
            ),
            sql=(
                *("scored_explanations", "questions", "normal_quantile"),
                *("question_answers", "rate_intervals", "balanced_accuracies"),
                "next_questions",
            ),
            plugins="scorers",
        ),
        Stage("scores", _JUDGED, sql=(*_SCORING, "scores")),
        Stage("score_details", _JUDGED, sql=(*_SCORING, "population_scores", "score_details")),
        Stage(
            "summary",
            ("examples", "scores", "explanations", "predictions", "feature_routes"),
            sql=("normal_quantile", "question_answers", "answer_correlations", "summary"),
        ),
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


@cache
def sql_files() -> dict[str, Path]:
    """The SQL files by name: the stem, which is one over all folders; `checks/` and `figures/` stand before
    theirs.

    Raises ValueError if two files have one name.
    """
    files: dict[str, Path] = {}
    for path in sorted(SQL_FOLDER.rglob("*.sql")):
        folder = path.parent.name
        name = f"{folder}/{path.stem}" if folder in {"checks", "figures"} else path.stem
        if name in files:
            raise ValueError(f"two SQL files are named '{name}': {files[name]} and {path}; rename one of them")
        files[name] = path
    return files


@cache
def sql_text(name: str | Path) -> str:
    """The text of a SQL file, by its name in `sql_files` or by its path."""
    path = name if isinstance(name, Path) else sql_files()[name]
    return path.read_text(encoding="utf-8")


def parameters_of(text: str) -> list[str]:
    """The names after `$` in a SQL text, comments left out, sorted."""
    return sorted(set(re.findall(r"\$([a-z_][a-z0-9_]*)", re.sub(r"--.*", "", text))))


def tables_read(text: str) -> set[str]:
    """The names after `from` and `join` in a SQL text, comments left out."""
    return set(re.findall(r"\b(?:from|join)\s+([a-z_]+)", re.sub(r"--.*", "", text)))


def config_value(config: Config, parameter: str) -> Any:
    """The value of the SQL parameter `<section>_<key>`, `<section>_<plug-in>_<key>` or `seed`.

    Raises KeyError for any other name.
    """
    values = list(_values_named(config, parameter))
    if not values:
        raise KeyError(f"SQL parameter ${parameter} is no key of the config")
    return list(values[0]) if isinstance(values[0], tuple) else values[0]


def _values_named(section: BaseModel, name: str) -> Iterator[Any]:
    """The value of a section's key of that name, or of a key in a section within it."""
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            if name.startswith(f"{key}_"):
                yield from _values_named(value, name.removeprefix(f"{key}_"))
        elif key == name:
            yield value


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
    texts = {name: sql_text(name) for name in stage.sql}
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
        sql = sql_text(name) if kind == "scorers" and name in sql_files() else plugin.sql
        content = {
            "files": plugin.digest,
            "shared": shared_digest(kind),
            "settings": getattr(section, name).model_dump(mode="json"),
            "sql": sql,
            "parameters": {key: config_value(config, key) for key in parameters_of(sql) if key not in _GIVEN},
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
