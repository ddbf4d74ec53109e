"""The parts of a table's declaration, and columns that many tables share."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pyarrow as pa

Partition = Literal["all", "shard", "sae", "sae_shard", "sae_batch", "ledger"]
"""What one file (or folder of files) of a table holds: everything, a shard of the corpus, an SAE, both, or a
batch of an SAE's features. `ledger`: the table has no file; it is a view of lines that are only ever appended."""

Group = Literal["corpus", "cache", "prepare", "pilot", "explain_and_score"]
"""The job in which a table is made; a run does them in this order."""

Unit = Literal["nothing", "shard", "sae", "batch"]
"""What one materialisation makes: everything, a shard of the corpus, an SAE's part, or a batch of its features."""


@dataclass(frozen=True)
class Column:
    """A column: its Arrow type as stored, what it means, and its unit where it has one."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""

    @property
    def words(self) -> str:
        """Its meaning, with the unit in brackets."""
        return f"{self.meaning} ({self.unit})" if self.unit else self.meaning


@dataclass(frozen=True)
class Derived:
    """A column that the view computes from stored ones; `expression` may use the macro context_length()."""

    name: str
    expression: str
    meaning: str


class Law(NamedTuple):
    """What must hold in a table, in words; `sql/checks/<check>.sql` selects the rows that break it."""

    check: str
    words: str


@dataclass(frozen=True)
class Table:
    """A table: what a row is, its columns, and all that the lake and the graph need to know about it.

    Attributes:
        name: Its name.
        row: What one row is; the table's description everywhere.
        columns: Its columns as stored.
        key: The columns that identify a row.
        partition: What one file holds.
        derived: Columns that its view computes.
        group: The job in which it is made.
        is_folder: Whether a partition is a folder of several files.
        made_for_all_saes: Whether one pass makes the parts of all SAEs.
        is_always_made: Whether every run remakes it.
        generations: The generations of the corpus that it has files for: only the `last`, covering all documents;
            `each`, covering that generation's documents; or only the `first`.
        laws: What is checked after it is made, in addition to its key.
        is_key_checked: Whether its key is checked by a query.
        lines_folder: For partition `ledger`: the lake's folder with the JSON lines that it is a view of.
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
        """Whether each file belongs to one SAE, and has that SAE's version."""
        return self.partition in {"sae", "sae_shard", "sae_batch"}

    @property
    def unit(self) -> Unit:
        """What one materialisation makes of it."""
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
DOC_ID = Column(
    "doc_id",
    pa.string(),
    "the document: hash of the document's text, 32 hex digits; for a row of a cache, its number",
)
CONTEXT_ID = Column("context_id", pa.int64(), "the context's number in the corpus, from 0")
SHARD = Column("shard", pa.int32(), "shard of the corpus, from 0")
PLACE = Column(
    "place",
    pa.int32(),
    "rank of the feature among the selected features of its batch, from 1; max_features keeps the lowest ranks",
)
GENERATION = Column(
    "generation",
    pa.int32(),
    "generation of the corpus, from 0; increases by 1 each time documents are added",
)


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
    """A column of real numbers, and two with the ends of its interval."""
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
    "the explainer's name in the config (`default`, `rule`, `keywords`, …), or a control: `empty`, "
    "`other_feature`",
)
SCORER = text("scorer", "the scorer's name in the config (`detection`, `embedding`, …), or `rule_exact`")
STATUS = text("status", "`ok`, `unparsed`, `echoed`, `refused`, `truncated`, `too_long`, `http_error` or `budget`")
REQUEST_ID = text("request_id", "the request that produced it; null if none was sent")
TEXT_ROLE = text("role", "role of the documents used for scoring: `test`")

LOGIT = pa.struct([("token_id", pa.int32()), ("text", pa.string()), ("logit", pa.float32())])
"""An entry of a list of tokens: the token and its logit."""
