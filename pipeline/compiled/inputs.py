"""The inputs of compiled code: firings and corpus as arrays, and the rows of earlier steps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.firings.buckets import Bucket, CorpusTokens, read_bucket
from pipeline.firings.layout import BUCKET_FEATURES
from pipeline.lake import Lake

T = TypeVar("T")


@dataclass
class Inputs:
    """The argument of a function in `compiled`.

    Attributes:
        lake: The store of firings, and the settings.
        sae: The SAE.
        features: The features whose rows are made: those of a batch or of some buckets.
        tokens: The tokens of the corpus; None if no step reads them.
        connection: Has the tables, and the steps that run once.
        made: The rows of earlier steps, by name.
        kept_objects: Objects made once per run, independent of the features, by name.
    """

    lake: Lake
    sae: str
    features: range
    tokens: CorpusTokens | None
    connection: duckdb.DuckDBPyConnection
    made: dict[str, pa.Table] = field(default_factory=dict)
    kept_objects: dict[str, Any] = field(default_factory=dict)
    _shared: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def corpus(self) -> CorpusTokens:
        """The tokens of the corpus by token index."""
        assert self.tokens is not None
        return self.tokens

    @cached_property
    def firings(self) -> Bucket:
        """The firings of the features, which must be one bucket."""
        return read_bucket(self.lake, self.sae, self.features.start // BUCKET_FEATURES)

    def table(self, name: str) -> pa.Table:
        """The rows of an earlier step."""
        return self.made[name] if name in self.made else self.connection.table(name).to_arrow_table()

    def kept(self, name: str, make: Callable[[], T]) -> T:
        """The object of that name, made once per run."""
        if name not in self.kept_objects:
            self.kept_objects[name] = make()
        found: T = self.kept_objects[name]
        return found

    def shared(self, kind: Callable[["Inputs"], T]) -> T:
        """The one object of a class for these inputs, so that what its methods share is computed once."""
        if kind not in self._shared:
            self._shared[kind] = kind(self)
        found: T = self._shared[kind]
        return found


def named(sae: str, n_rows: int) -> pa.DictionaryArray:
    """The column `sae` of rows of one SAE, [n_rows]."""
    return pa.DictionaryArray.from_arrays(np.zeros(n_rows, np.int8), [sae])
