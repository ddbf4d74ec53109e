"""What a table's declaration is made of, and the columns that many tables share."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Partition = Literal["all", "shard", "sae", "sae_shard", "sae_batch", "ledger"]
"""What one file (or folder of files) of a table holds: everything, a shard of the corpus, an SAE, both, or a
batch of an SAE's features. `ledger`: the table is no file but a view of the ledger's lines."""


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


def text(name: str, meaning: str) -> Column:
    """A column of text."""
    return Column(name, pa.string(), meaning)


def count(name: str, meaning: str, unit: str = "") -> Column:
    """A column of counts."""
    return Column(name, pa.int64(), meaning, unit)


def number(name: str, meaning: str, unit: str = "") -> Column:
    """A column of real numbers."""
    return Column(name, pa.float64(), meaning, unit)


def flag(name: str, meaning: str) -> Column:
    """A column of truth values."""
    return Column(name, pa.bool_(), meaning)


def type_name(kind: pa.DataType) -> str:
    """A short name for a type: dictionaries are strings to whoever reads them."""
    if pa.types.is_dictionary(kind):
        return "string"
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "(" + ", ".join(field.name for field in kind) + ")"
    return {"double": "float64", "float": "float32"}.get(str(kind), str(kind))
