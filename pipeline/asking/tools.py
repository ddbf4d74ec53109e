"""The tools that an explainer or a scorer works with."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.asking.batches import Ask, Asks
from pipeline.asking.roles import ModelRole, RoleName, role_of
from pipeline.asking.windows import Vocabulary, load_vocabulary
from pipeline.config import Config
from pipeline.firings.texts import ReadTexts, text_activations
from pipeline.lake import Lake


@dataclass(frozen=True)
class Batch:
    """A batch of an SAE's features, and a connection that sees only their rows in the lake's tables.

    The connection's table `batch_features` holds the features that are selected.
    """

    lake: Lake
    connection: duckdb.DuckDBPyConnection
    sae: str
    number: int

    def __post_init__(self) -> None:
        self.create("batch_features")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The subject model's tokens, read once."""
        return load_vocabulary(self.lake)

    def create(self, name: str, **given: Any) -> None:
        """Make the rows of a SQL file a table of the connection's with the file's name."""
        self.lake.create(self.connection, name, sae=self.sae, batch=self.number, **given)

    def select(self, name: str | Path, **given: Any) -> duckdb.DuckDBPyRelation:
        """The rows of a SQL file, by its name in `sql/` or by its path."""
        return self.lake.select(self.connection, name, sae=self.sae, batch=self.number, **given)

    def make(self, name: str | Path, given: Collection[str] = (), **values: Any) -> duckdb.DuckDBPyRelation:
        """The rows of a SQL file, after making tables of the SQL files that it reads and that are not `given`."""
        values |= {"sae": self.sae, "batch": self.number}
        self.lake.create_steps(self.connection, name, given, **values)
        return self.lake.select(self.connection, name, **values)

    def put(self, name: str, rows: pa.Table) -> None:
        """Make rows a table of the connection's, replacing one that was put; DuckDB refuses the name of a view."""
        self.connection.register("given_rows", rows)
        self.connection.execute(f"create or replace table {name} as from given_rows")
        self.connection.unregister("given_rows")


@dataclass(frozen=True)
class Tools:
    """The tools of a plug-in.

    Attributes:
        batch: The features and their tables.
        role: The model that is asked, and how.
        ask: Asks that model, through the ledger and the budget.
        read: Reads texts with the subject model and an SAE.
        asks: Asks models in other roles, for a plug-in that needs one.
    """

    batch: Batch
    role: ModelRole
    ask: Ask
    read: ReadTexts = text_activations
    asks: Asks = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """The experiment's config, with the model of the role."""
        return self.batch.lake.config.asked_by(self.role.name)

    @property
    def vocabulary(self) -> Vocabulary:
        """The subject model's tokens, with which windows are written."""
        return self.batch.vocabulary

    def in_role(self, name: RoleName) -> "Tools":
        """The same tools for another role."""
        return replace(self, role=role_of(self.config, name), ask=self.asks[name])
