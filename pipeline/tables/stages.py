"""The stages of the pipeline: what each table is made from, and by what.

The inputs of a SQL file are found in its text; a stage declares everything else. `versions` turns both into the
hash that names a table's version.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pipeline.plugins import Plugin, find_plugins
from pipeline.tables import TABLES
from pipeline.tables.sql import sql_files, steps_of, tables_read

PARTITION_VALUES = frozenset({"sae", "shard", "batch", "first_feature", "end_feature"})
"""`$parameters` that any SQL may read: the partition that is made, and its range of features."""


@dataclass(frozen=True)
class Stage:
    """How a table is made, as far as its SQL does not show it.

    The table's own file, `sql/**/<table>.sql`, names what it reads, and those files in turn what they read
    (`sql.steps_of`).

    Attributes:
        table: The table that it makes.
        module: The module with the function `write_<table>` that makes it; None if its SQL alone does. It is in a
            later folder, and imported only when the table is made.
        reads: Tables that its code reads, in addition to those that its SQL names.
        gates: Tables that must be made and pass their checks first; rows and versions do not depend on them.
        science: Dotted config keys that its rows depend on, in addition to the `$parameters` of its SQL, which
            count automatically.
        given: Relations that its code gives to its SQL.
        values: `$parameters` of its SQL whose values its code gives, in addition to `PARTITION_VALUES`; the
            others are keys of the config.
        queries: SQL files whose rows its code reads, if the table is not made by SQL.
        plugins: The kind of plug-ins that make its rows; they read what their own SQL names, and ask models.
        rehearses: Whether its code makes batches, up to their predictions, without writing them. It reads what
            their tables read, and their definitions are part of its version.
        own_step: The step that the `windows.sql` of a scorer can replace: the table then has a part with that
            scorer's own rows, with its own version, in addition to the part that all share.
        is_on_demand: Whether it is made only if a plug-in of the config reads it. Its module has a function
            `stand_in(lake, sae, batch, made)` for the estimate: rows as a run would write them, given the batch's
            tables before it, and how many tokens the subject model would read for the missing ones.
        buckets_at_once: The number of buckets of features made at a time, for a table by SAE whose steps run by
            bucket. More buckets mean fewer queries, which cost some milliseconds each, and more rows in memory
            (firings are always those of one bucket).
        version: Raised by hand when code other than SQL and `compiled` changes the rows.
    """

    table: str
    module: str | None = None
    reads: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    science: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    rehearses: bool = False
    own_step: str | None = None
    is_on_demand: bool = False
    buckets_at_once: int = 1
    plugins: Literal["explainers", "scorers"] | None = None
    version: int = 1

    @property
    def write(self) -> Callable[..., Any]:
        """The function that makes and publishes one partition, given the lake and the partition's keywords."""
        if self.module is None:
            return partial(import_module("pipeline.make_table").make_table, table=self.table)
        return self._load(f"write_{self.table}")

    @property
    def stand_in(self) -> Callable[..., Any]:
        """The function that makes a batch's rows for the estimate, of a table that is on demand."""
        return self._load("stand_in")

    def _load(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module(self.module or ""), name)
        return function

    @cached_property
    def makes_unwritten(self) -> tuple[str, ...]:
        """The tables that it makes without writing them."""
        if not self.rehearses:
            return ()
        names = [name for name in STAGES if TABLES[name].group in {"pilot", "explain_and_score"}]
        return tuple(name for name in names[: names.index("predictions") + 1] if name != self.table)

    @cached_property
    def is_sql(self) -> bool:
        """Whether a SQL file makes its rows."""
        return self.table in sql_files()

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """The SQL files that it runs, each after those that it reads; the table's own file, if any, is last."""
        return tuple(map(str, steps_of(*((self.table,) if self.is_sql else self.queries), given=self.given)))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The tables that it reads, in the order of the stages, without the ledger.

        They include those that any installed plug-in reads; see `versions.inputs_of` for those of an experiment.
        """
        read = {*self.reads, *tables_read(*self.steps, given=self.given)}
        for path in map(own_windows, find_plugins("scorers").values()) if self.own_step else ():
            read.update(tables_read(path, given=self.given) if path else ())
        for plugin in find_plugins(self.plugins).values() if self.plugins else ():
            read.update(self.tables_of(plugin))
        for name in self.makes_unwritten:
            read.update(STAGES[name].inputs)
        return tuple(name for name in STAGES if name in read - {self.table, *self.makes_unwritten})

    @property
    def plugin_column(self) -> str:
        """The column that names a row's plug-in: `explainer` or `scorer`; empty if no plug-in makes the table."""
        return (self.plugins or "").removesuffix("s")

    @property
    def given_values(self) -> frozenset[str]:
        """The `$parameters` of its SQL that are not keys of the config."""
        return PARTITION_VALUES | {*self.values}

    def tables_of(self, plugin: Plugin) -> tuple[str, ...]:
        """The tables that a plug-in's own SQL reads."""
        return tables_read(*own_queries(plugin), given=self.given)


_OWN_WINDOWS = "windows.sql"


def own_queries(plugin: Plugin) -> tuple[Path, ...]:
    """The SQL files in a plug-in's folder that make its rows; may be empty."""
    return tuple(path for path in sorted(plugin.path.glob("*.sql")) if path.name != _OWN_WINDOWS)


def own_windows(plugin: Plugin) -> Path | None:
    """The SQL file in a scorer's folder that selects test windows only it asks about; or None."""
    path = plugin.path / _OWN_WINDOWS
    return path if path.is_file() else None


_TOKENIZER = ("subject.model", "subject.revision", "subject.gguf_file")
_CUTTING = ("corpus.min_document_tokens", "corpus.max_document_tokens", "corpus.max_tokens")

STAGES: dict[str, Stage] = {
    stage.table: stage
    for stage in (
        Stage("saes", "pipeline.sae.write", version=2),
        Stage(
            "documents",
            "pipeline.corpus.documents",
            science=(*_CUTTING, *_TOKENIZER),
            given=("read_documents", "earlier_documents"),
            version=2,
        ),
        Stage("tokens", "pipeline.corpus.tokens", science=_TOKENIZER, version=2),
        Stage("contexts", "pipeline.corpus.contexts", values=("bos_token_id",)),
        Stage("slots", "pipeline.corpus.slots"),
        Stage("train_words"),
        Stage(
            "sae_fit",
            "pipeline.fit.write",
            reads=("saes",),
            science=("subject.dtype", "corpus.prepend_bos", *_TOKENIZER),
            values=("fit_tokens", "fit_documents"),
            queries=("fit_contexts",),
            version=6,
        ),
        Stage(
            "activation_shards",
            "pipeline.firings.write",
            reads=("saes", "contexts"),
            gates=("sae_fit",),
            science=("subject.dtype", "corpus.context_length"),
        ),
        Stage("activations", "pipeline.firings.store", reads=("activation_shards",)),
        Stage(
            "feature_logits",
            "pipeline.features.logits",
            reads=("saes",),
            science=("subject.dtype", "heuristics.top_tokens"),
            queries=("token_texts",),
            version=3,
        ),
        Stage("feature_tokens"),
        Stage("feature_stats", buckets_at_once=8),
        Stage(
            "scrambled_contexts",
            "pipeline.features.scrambled_contexts",
            reads=("saes",),
            science=("subject.dtype", "corpus.prepend_bos"),
            given=("scrambled_firings",),
            values=("bos_token_id",),
        ),
        Stage("context_independence"),
        Stage("feature_rules", buckets_at_once=4),
        Stage("rule_scores", buckets_at_once=4),
        # Explanations in files are part of its version (`versions`).
        Stage("stated_rule_scores", "pipeline.rules.write", queries=("rule_role_scores", "token_texts")),
        Stage("feature_routes"),
        Stage(
            "selected_features",
            "pipeline.features.selection",
            reads=("feature_stats",),
            given=("wanted_features",),
            values=("quota_routes", "quota_sizes"),
        ),
        Stage("feature_neighbours", "pipeline.features.neighbours", reads=("saes",)),
        Stage("feature_cofirings"),
        Stage("example_index"),
        Stage("examples", own_step="taken_slots"),
        Stage("fuzzing_pairs"),
        Stage(
            "steered_texts",
            "pipeline.features.steered_texts",
            reads=("saes",),
            science=(
                "subject.dtype",
                "scoring.intervention.modes",
                "scoring.intervention.target_kls",
                "scoring.intervention.new_tokens",
            ),
            values=("bos_token_id",),
            queries=("batch_features", "steering_prompts", "ablation_prompts", "vocabulary"),
            is_on_demand=True,
        ),
        Stage(
            "token_changes",
            "pipeline.features.token_changes",
            reads=("saes",),
            science=("subject.dtype", "heuristics.top_tokens", "explaining.output_centric"),
            queries=("token_change_texts", "changed_features", "token_texts"),
            is_on_demand=True,
            version=3,
        ),
        # Uses scorer_rhos if they exist, otherwise scoring.rho.
        Stage(
            "estimate",
            "pipeline.estimate.write",
            rehearses=True,
        ),
        Stage(
            "explanations",
            "pipeline.explainers.write",
            science=(
                "explaining.provider",
                "explaining.model",
                "explaining.dtype",
                "explaining.precision",
                "explaining.sampling",
                "explaining.n_examples",
                "explaining.marked_share",
                "explaining.show_activations",
                "explaining.temperature",
                "explaining.max_tokens",
                "explaining.max_draws",
                "explaining.one_line",
                "explaining.reasoning_tokens",
                "explaining.reasoning_effort",
            ),
            given=("drafts", "own_explanations"),
            values=("n_shown", "n_silent", "sampling", "n_judging", "questions_per_prompt"),
            queries=(
                "explained_features",
                "shown_examples",
                "lent_explanations",
                "batch_neighbours",
                "vocabulary",
            ),
            plugins="explainers",
            version=3,
        ),
        Stage(
            "scorer_rhos",
            "pipeline.pilot.write",
            # The pilot makes its batches' tables itself, without writing them.
            rehearses=True,
            science=("scoring.pilot_features",),
            given=("pilot_scorers", "control_pairs", "control_answers", "control_thresholds"),
            values=(
                "asks_model",
                "has_marks",
                "least_answers",
                "least_explanations",
                "least_features",
                "n_windows",
                "questions_per_prompt",
            ),
            queries=(
                "pilot_features",
                "pilot_explanations",
                "batch_neighbours",
                "control_questions",
                "control_thresholds",
                "shrunk_rhos",
            ),
            plugins="scorers",
        ),
        Stage(
            "predictions",
            "pipeline.scorers.write",
            science=(
                "scoring.provider",
                "scoring.model",
                "scoring.dtype",
                "scoring.precision",
                "scoring.temperature",
                "scoring.max_draws",
                "scoring.questions_per_prompt",
                "scoring.reasoning_tokens",
                "scoring.reasoning_effort",
            ),
            # Earlier rounds' predictions decide the next questions, which come from the scorer.
            given=("predictions", "own_questions"),
            values=("asks_model", "questions_per_prompt", "scorer"),
            queries=("next_questions", "scorer_pilot", "vocabulary"),
            plugins="scorers",
        ),
        Stage("scores"),
        Stage("score_details"),
        Stage("summary", "pipeline.summary", science=("scoring.confidence",), given=("student_quantiles",)),
        Stage("scorer_agreements"),
        Stage(
            "explainer_comparisons",
            "pipeline.summary",
            science=("scoring.confidence",),
            given=("student_quantiles",),
        ),
    )
}
"""Every stage by its table, after its inputs."""

BATCH_TABLES = tuple(name for name in STAGES["estimate"].makes_unwritten if TABLES[name].partition == "sae_batch")
"""The tables of a batch up to its predictions: what plug-ins read, and what they make."""
