"""What a table's declaration is made of, and the columns that many tables share."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pyarrow as pa

Partition = Literal["all", "shard", "sae", "sae_shard", "sae_batch", "ledger"]
"""What one file (or folder of files) of a table holds: everything, a shard of the corpus, an SAE, both, or a
batch of an SAE's features. `ledger`: the table is no file but a view of lines that are only ever appended."""

Group = Literal["corpus", "cache", "prepare", "pilot", "explain_and_score"]
"""The job in which a table is made; a run goes through them in this order."""

Unit = Literal["nothing", "shard", "sae", "batch"]
"""What is made at a time: everything, a shard of the corpus, an SAE's part, or a batch of an SAE's features."""


@dataclass(frozen=True)
class Column:
    """A column: its Arrow type as stored, what it means, and its unit where it has one."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""

    @property
    def words(self) -> str:
        """What it means, with its unit in brackets."""
        return f"{self.meaning} ({self.unit})" if self.unit else self.meaning


@dataclass(frozen=True)
class Derived:
    """A column that the view computes from stored ones; `expression` may use the macro context_length()."""

    name: str
    expression: str
    meaning: str


class Law(NamedTuple):
    """What holds in a table, in words; `sql/checks/<check>.sql` selects the rows that break it."""

    check: str
    words: str


@dataclass(frozen=True)
class Table:
    """A table: what a row is, its columns, and all that the lake and the graph have to know of it.

    Attributes:
        name: Its name.
        row: What one row is; its description everywhere.
        columns: Its columns as stored.
        key: The columns that identify a row.
        partition: What one file of it holds.
        derived: Columns that its view computes.
        group: The job in which it is made.
        is_folder: Whether a partition is a folder of several files.
        made_for_all_saes: Whether one pass makes the parts of all SAEs.
        is_always_made: Whether every run makes it again.
        generations: Of which generations of the corpus it has files: of the `last` one, whose version has all
            documents in it; of `each`, those of its documents alone; or of the `first`.
        laws: What is checked whenever it has been made, beside its key.
        is_key_checked: Whether its key is checked by a query.
        lines_folder: The lake's folder whose JSON lines it is a view of, for partition `ledger`.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition: Partition
    derived: tuple[Derived, ...] = ()
    group: Group = field(kw_only=True)
    is_folder: bool = field(default=False, kw_only=True)
    made_for_all_saes: bool = field(default=False, kw_only=True)
    is_always_made: bool = field(default=False, kw_only=True)
    generations: Literal["first", "each", "last"] = field(default="last", kw_only=True)
    laws: tuple[Law, ...] = field(default=(), kw_only=True)
    is_key_checked: bool = field(default=True, kw_only=True)
    lines_folder: str = field(default="", kw_only=True)

    @property
    def is_by_sae(self) -> bool:
        """Whether its files are of one SAE each, and its version is that SAE's."""
        return self.partition in {"sae", "sae_shard", "sae_batch"}

    @property
    def unit(self) -> Unit:
        """What is made of it at a time."""
        match self.partition:
            case "shard" | "sae_shard":
                return "shard"
            case "sae":
                return "nothing" if self.made_for_all_saes else "sae"
            case "sae_batch":
                return "batch"
            case "all" | "ledger":
                return "nothing"

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of its files."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])


SAE = Column("sae", pa.dictionary(pa.int8(), pa.string()), "the SAE's name in the config")
FEATURE = Column("feature", pa.int32(), "index of the feature in its SAE, from 0")
ROLE = Column("role", pa.dictionary(pa.int8(), pa.string()), "`train` (may be shown) or `test` (used to score)")
DOC_ID = Column("doc_id", pa.string(), "hash of its text, 32 hex digits; for a row of a cache its number")
CONTEXT_ID = Column("context_id", pa.int64(), "the context's number in the corpus, from 0")
SHARD = Column("shard", pa.int32(), "shard of the corpus, from 0")
PLACE = Column(
    "place", pa.int32(), "the feature's place among those selected of its batch, from 1; max_features binds by it"
)
GENERATION = Column("generation", pa.int32(), "generation of the corpus: one more each time documents are added")


def text(name: str, meaning: str) -> Column:
    """A column of text."""
    return Column(name, pa.string(), meaning)


def count(name: str, meaning: str, unit: str = "") -> Column:
    """A column of counts."""
    return Column(name, pa.int64(), meaning, unit)


def number(name: str, meaning: str, unit: str = "") -> Column:
    """A column of real numbers."""
    return Column(name, pa.float64(), meaning, unit)


def bounded(name: str, meaning: str) -> tuple[Column, Column, Column]:
    """A column of real numbers, and the two that hold the ends of its interval."""
    ends = number(f"{name}_low", "lower end of its interval"), number(f"{name}_high", "upper end")
    return number(name, meaning), *ends


def flag(name: str, meaning: str) -> Column:
    """A column of truth values."""
    return Column(name, pa.bool_(), meaning)


def type_name(kind: pa.DataType) -> str:
    """A short name for a type: a dictionary of strings reads as a string."""
    if pa.types.is_dictionary(kind):
        return "string"
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "(" + ", ".join(field.name for field in kind) + ")"
    return {"double": "float64", "float": "float32"}.get(str(kind), str(kind))


EXPLANATION_ID = text("explanation_id", "hash of (sae, feature, explainer, draw)")
EXPLAINER = text(
    "explainer",
    "its name in the config (`default`, `rule`, `keywords`, …), or a control: `empty`, `other_feature`",
)
SCORER = text("scorer", "its name in the config (`detection`, `embedding`, …), or `rule_exact`")
STATUS = text("status", "`ok`, `unparsed`, `echoed`, `refused`, `truncated`, `too_long`, `http_error` or `budget`")
REQUEST_ID = text("request_id", "the request that it came from; null where none was sent")
TEXT_ROLE = text("role", "role of the documents that it is scored on: `test`")

LOGIT = pa.struct([("token_id", pa.int32()), ("text", pa.string()), ("logit", pa.float32())])
"""A token and its logit, of lists of tokens."""
