"""Every table of the lake, declared once: columns, types, units, meaning and key.

Writes are checked against these declarations; the views of the catalog, the column descriptions in the
Dagster UI and the table reference in the docs come from them.
"""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Partition = Literal["all", "shard", "sae", "sae_shard"]
"""What one file (or folder of files) of a table holds: everything, a shard of the corpus, an SAE, or both."""


@dataclass(frozen=True)
class Column:
    """A column: its Arrow type as stored, what it means, and its unit where it has one."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Derived:
    """A column that the view computes from stored ones; `expression` may use the macro context_length()."""

    name: str
    expression: str
    meaning: str


@dataclass(frozen=True)
class Table:
    """A table: what a row is, its columns, and the columns that identify a row."""

    name: str
    row: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition: Partition
    derived: tuple[Derived, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of its files."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])


SAE = Column("sae", pa.dictionary(pa.int8(), pa.string()), "the SAE's name in the config")
FEATURE = Column("feature", pa.int32(), "index of the feature in its SAE, from 0")
ROLE = Column("role", pa.dictionary(pa.int8(), pa.string()), "`train` (may be shown) or `test` (judges)")
DOC_ID = Column("doc_id", pa.string(), "hash of the document's text, 32 hex digits")
CONTEXT_ID = Column("context_id", pa.int64(), "number of the context in the corpus, from 0")
SHARD = Column("shard", pa.int32(), "shard of the corpus, from 0")


def _text(name: str, meaning: str) -> Column:
    return Column(name, pa.string(), meaning)


def _count(name: str, meaning: str, unit: str = "") -> Column:
    return Column(name, pa.int64(), meaning, unit)


def _number(name: str, meaning: str, unit: str = "") -> Column:
    return Column(name, pa.float64(), meaning, unit)


def _flag(name: str, meaning: str) -> Column:
    return Column(name, pa.bool_(), meaning)


TOP_TOKEN = pa.struct(
    [
        ("token_id", pa.int32()),
        ("text", pa.string()),
        ("n_active", pa.int64()),
        ("n_tokens", pa.int64()),
        ("fire_share", pa.float64()),
        ("mean_activation", pa.float64()),
    ]
)

_TABLES = (
    Table(
        "saes",
        "One row per SAE of the experiment.",
        (
            SAE,
            _text("hookpoint", "module path below the base model whose output it reads"),
            _text("format", "layout of its files"),
            Column("d_in", pa.int32(), "width of its input"),
            Column("n_features", pa.int32(), "number of its features"),
            _text("source", "where its files come from"),
            _text("weights_hash", "SHA-256 over its files"),
        ),
        ("sae",),
        "sae",
    ),
    Table(
        "documents",
        "One row per document of the corpus, duplicates dropped.",
        (
            DOC_ID,
            _text("source", "the text source it comes from"),
            _text("unit", "module, README, topic, file or row that it is a piece of"),
            _text("text", "its text"),
            Column("token_ids", pa.list_(pa.int32()), "its tokens, without any BOS"),
            _count("n_tokens", "number of its tokens", "tokens"),
            Column("first_context_id", pa.int64(), "number of its first context"),
            SHARD,
            ROLE,
        ),
        ("doc_id",),
        "all",
    ),
    Table(
        "tokens",
        "One row per token of the subject model's vocabulary.",
        (
            Column("token_id", pa.int32(), "its id"),
            _text("text", "its text; bytes that are no text on their own are written \\xNN"),
            Column("bytes", pa.binary(), "its bytes, which join across tokens into UTF-8"),
            _flag("is_special", "whether it is a control token (BOS, EOS, …)"),
        ),
        ("token_id",),
        "all",
    ),
    Table(
        "contexts",
        "One row per context window; a document's contexts are consecutive, none holds two documents.",
        (
            CONTEXT_ID,
            DOC_ID,
            SHARD,
            Column("token_ids", pa.list_(pa.int32()), "its tokens; with prepend_bos the BOS is the first"),
        ),
        ("context_id",),
        "shard",
    ),
    Table(
        "slots",
        "One row per slot: a piece of a context from position 1 on, the same for every feature.",
        (
            CONTEXT_ID,
            Column("start", pa.int32(), "position of its first token in the context"),
            _count("n_tokens", "its length", "tokens"),
            DOC_ID,
            ROLE,
            _flag("is_copied", "a test slot that touches a run of tokens also found in a train document"),
            _flag("is_candidate", "may become an example: not copied"),
        ),
        ("context_id", "start"),
        "all",
    ),
    Table(
        "activation_shards",
        "One row per firing in one shard, as the forward pass left it: one row group a feature bucket.",
        (
            SAE,
            FEATURE,
            Column("token_index", pa.int64(), "context_id x context_length + position"),
            Column("activation", pa.float16(), "strength, above 0 (float32 files above 65,504)"),
        ),
        ("sae", "feature", "token_index"),
        "sae_shard",
    ),
    Table(
        "activations",
        "One row per firing of a feature on a token, sorted by (feature, token_index); one file a bucket.",
        (
            SAE,
            FEATURE,
            Column("token_index", pa.int64(), "context_id x context_length + position"),
            Column("activation", pa.float16(), "strength, above 0 (float32 files above 65,504)"),
        ),
        ("sae", "feature", "token_index"),
        "sae",
        (
            Derived("context_id", "token_index // context_length()", "the context it fires in"),
            Derived("position", "token_index % context_length()", "place in the context, from 0"),
        ),
    ),
    Table(
        "feature_tokens",
        "One row per feature and token that it fires on in train documents (position 0 left out).",
        (
            SAE,
            FEATURE,
            Column("token_id", pa.int32(), "the token"),
            _count("n_active", "firings on it", "tokens"),
            _count("n_top", "of these, in the feature's top share of firings by rank", "tokens"),
            _count("n_strong", "of these, above the strong share of the feature's train maximum", "tokens"),
            _number("sum_activation", "summed activation on it"),
        ),
        ("sae", "feature", "token_id"),
        "sae",
    ),
    Table(
        "feature_stats",
        "One row per feature of an SAE, every one: counts, quantiles and heuristics.",
        (
            SAE,
            FEATURE,
            _count("n_active", "firings in all documents, position 0 included", "tokens"),
            _count("n_active_first", "of these, on position 0", "tokens"),
            _count("n_active_train", "firings in train documents, position 0 left out", "tokens"),
            _count("n_slots_train", "candidate slots that it fires in, train", "slots"),
            _count("n_slots_test", "candidate slots that it fires in, test", "slots"),
            _count("n_contexts_train", "contexts of these slots, train", "contexts"),
            _count("n_contexts_test", "contexts of these slots, test", "contexts"),
            _count("n_documents_train", "documents of these slots, train", "documents"),
            _count("n_documents_test", "documents of these slots, test", "documents"),
            _number("density", "n_active over all tokens of the corpus", "share of tokens"),
            _number("density_train", "n_active_train over those tokens", "share of tokens"),
            _number("max_activation", "largest activation; null where dead"),
            _number("max_activation_train", "largest in train documents, position 0 left out"),
            _number("mean_activation", "mean over its firings"),
            Column("activation_deciles", pa.list_(pa.float64()), "the nine inner deciles of its firings"),
            _number("position_information_nats", "plug-in mutual information of firing and position", "nats"),
            _number("position_bias_nats", "its expectation under independence, same margins", "nats"),
            _number("position_score", "(information - bias) / entropy of firing; null where dead", "share"),
            _count("n_top_tokens", "distinct tokens of the top share of firings by rank, train", "tokens"),
            _count("n_mass_tokens", "distinct tokens that carry the top share of the activation mass, train"),
            _count("n_top_previous_tokens", "the same by rank for the token before, train", "tokens"),
            _count("n_mass_previous_tokens", "the same by mass for the token before, train", "tokens"),
            Column(
                "top_tokens",
                pa.list_(TOP_TOKEN),
                "tokens with the largest summed activation, train; fire_share is the share of the token's "
                "occurrences on which the feature fires",
            ),
            _flag("is_unigram", "the post's cut: few n_top_tokens, with enough firings"),
            _flag("is_previous_token", "the post's cut: few n_top_previous_tokens, with enough firings"),
            _flag("is_positional", "the post's cut on position_information_nats"),
        ),
        ("sae", "feature"),
        "sae",
    ),
    Table(
        "feature_rules",
        "One row per feature, kind, size limit and target: the token set of best F1 on train documents.",
        (
            SAE,
            FEATURE,
            _text("kind", "`token`: fires on a token of the set"),
            Column("max_tokens", pa.int32(), "size limit of the set"),
            _text("target", "`any` firing, or `strong` ones"),
            Column("token_ids", pa.list_(pa.int32()), "the set, best token first"),
            Column("previous_token_ids", pa.list_(pa.int32()), "tokens one of which must come before; null: any"),
            _text("rule", "the rule in words"),
            _number("train_precision", "share of the set's train tokens that fire"),
            _number("train_recall", "share of the target's train firings in the set"),
            _number("train_f1", "harmonic mean of the two"),
            _number("always_f1", "F1 of 'always fires' on the same tokens, 2d/(1+d)"),
            _flag("is_chosen", "the feature's one rule: target any, smallest near the best F1"),
        ),
        ("sae", "feature", "kind", "max_tokens", "target"),
        "sae",
    ),
    Table(
        "feature_routes",
        "One row per feature, every one, exactly once: where it goes and why.",
        (
            SAE,
            FEATURE,
            _text("route", "dead, dense, positional, unigram, previous_token, too_rare, rule or llm"),
            _text("reason", "why, in words and figures"),
        ),
        ("sae", "feature"),
        "sae",
    ),
    Table(
        "selected_features",
        "One row per feature that is wanted explained.",
        (
            SAE,
            FEATURE,
            Column("batch", pa.int32(), "batch of feature ids that it is in"),
            Column("priority", pa.int32(), "batches with a higher one come first"),
        ),
        ("sae", "feature"),
        "sae",
    ),
    Table(
        "example_index",
        "One row per candidate slot of a feature that a draw may take as an example.",
        (
            SAE,
            FEATURE,
            CONTEXT_ID,
            Column("start", pa.int32(), "position of the slot's first token"),
            Column("peak", pa.float32(), "largest activation in the slot; null where silent"),
            ROLE,
            Column("kind", pa.dictionary(pa.int8(), pa.string()), "`activating` or `silent`"),
            Column("decile", pa.int8(), "1 (weakest) to 10 by rank of the peak within role; null where silent"),
            Column("rank", pa.int32(), "1 is the strongest within role; null where silent"),
            Column("draw", pa.int32(), "hash order within role and kind, from 1"),
            Column("n_slots", pa.int32(), "slots of its role, kind and decile before any draw", "slots"),
        ),
        ("sae", "feature", "context_id", "start"),
        "sae",
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
"""Every table by name, in the order of the data's way."""


def reference() -> str:
    """The table reference of the docs, as Markdown."""
    lines = []
    for table in TABLES.values():
        lines += [f"### {table.name}", "", table.row, f"Key: {', '.join(table.key)}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        for column in table.columns:
            unit = f" ({column.unit})" if column.unit else ""
            lines.append(f"| {column.name} | {_type_name(column.type)} | {column.meaning}{unit} |")
        lines += [f"| {each.name} | computed | {each.meaning} |" for each in table.derived]
        lines.append("")
    return "\n".join(lines)


def _type_name(kind: pa.DataType) -> str:
    """A short name for a type: dictionaries are strings to whoever reads them."""
    if pa.types.is_dictionary(kind):
        return "string"
    if pa.types.is_list(kind):
        return f"list of {_type_name(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "(" + ", ".join(field.name for field in kind) + ")"
    return {"halffloat": "float16", "double": "float64", "float": "float32"}.get(str(kind), str(kind))
