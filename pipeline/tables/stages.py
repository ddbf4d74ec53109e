"""The stages of the pipeline: what each table is made from.

What a SQL file reads is read off it; a stage says the rest. `versions` makes of all of it the hash that names a
table's version.
"""

from dataclasses import dataclass
from functools import cached_property

from pipeline.tables.sql import sql_files, steps_of, tables_read


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
        rehearses: Tables that its code makes without writing them, and so reads what they read.
        buckets_at_once: How many buckets of features are made at a time, for a table of an SAE whose steps go by
            bucket: a query costs some milliseconds however little it reads, and the rows of so many buckets are
            in memory (but for their firings: those of one at a time).
        prompts: Beginnings of the names of the prompts that it uses.
        version: Raised by hand when other code than SQL and `compiled` changes what the rows are.
    """

    table: str
    reads: tuple[str, ...] = ()
    science: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    rehearses: tuple[str, ...] = ()
    buckets_at_once: int = 1
    prompts: tuple[str, ...] = ()
    version: int = 1

    @cached_property
    def is_sql(self) -> bool:
        """Whether its rows are those of a SQL file."""
        return self.table in sql_files()

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """The SQL files that it runs, each after those that it reads; a table made by SQL ends with its own."""
        return steps_of(*((self.table,) if self.is_sql else self.queries), given=self.given)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The tables that it reads, in the order of the data's way; the ledger is none."""
        read = {*self.reads, *tables_read(*self.steps, given=self.given)}
        for name in self.rehearses:
            read.update(set(STAGES[name].inputs) - set(self.rehearses))
        return tuple(name for name in STAGES if name in read)


_TOKENIZER = ("subject.model", "subject.revision", "subject.gguf_file")
_CUTTING = ("corpus.min_document_tokens", "corpus.max_document_tokens", "corpus.max_tokens")

STAGES: dict[str, Stage] = {
    stage.table: stage
    for stage in (
        Stage("saes"),
        Stage("documents", science=(*_CUTTING, *_TOKENIZER), given=("read_documents",)),
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
        Stage("feature_routes"),
        Stage("selected_features", reads=("feature_stats",), given=("wanted_features",)),
        Stage("feature_neighbours", reads=("saes",)),
        Stage("example_index"),
        Stage("examples", science=("scoring.n_questions",)),
        Stage("fuzzing_pairs"),
        Stage("estimate", rehearses=("examples", "fuzzing_pairs", "explanations", "predictions")),
        Stage(
            "explanations",
            science=("explaining",),
            queries=("explained_features", "shown_examples", "vocabulary"),
            prompts=("explain",),
        ),
        Stage(
            "predictions",
            science=(
                *("scoring.provider", "scoring.model", "scoring.dtype"),
                *("scoring.temperature", "scoring.max_draws"),
            ),
            given=("predictions",),  # those of the rounds before decide what comes next
            queries=("next_questions", "vocabulary"),
            prompts=("detection", "fuzzing", "questions"),
            version=2,
        ),
        Stage("scores"),
        Stage("score_details"),
        Stage("summary"),
    )
}
"""Every stage by its table, inputs before the stages that read them."""
