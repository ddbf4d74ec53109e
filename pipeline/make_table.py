"""Making any table from its SQL: step by step in one connection, and written whole.

    make_table(lake, "feature_stats", sae="layers.9")

Whether a partition has to be made is decided before: `tables.versions` names the folder of a table as it is now
defined, and who runs the graph asks whether the partition's file is in it (`Lake.has`). Then:

1. Its inputs must exist; otherwise an error names what to materialise.
2. `tables.steps` plans which SQL files run: those that its own file reads, each after those that it reads itself.
3. A connection has the tables that they read as views. Given relations (`given`) replace views of the same name.
4. A step's rows are made by DuckDB, or by the function that `tables.compiled` names. For a table by SAE, steps
   that count firings run for a few buckets of features at a time, which bounds the memory.
5. `Lake.write` publishes the rows of the last step, the table's own SQL file: the whole partition, or nothing.
   A table with an `own_step` has a part for each scorer with SQL of its own for that step.
6. Figures for people are read from what was written (`sql/figures/<table>.sql`, if it exists).
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.rows import compiled_rows
from pipeline.firings.buckets import CorpusTokens, open_corpus_tokens
from pipeline.firings.layout import BUCKET_FEATURES, n_buckets_of
from pipeline.lake import Given, Lake, Published
from pipeline.plugins import find_plugin
from pipeline.progress import progress
from pipeline.tables import TABLES
from pipeline.tables.compiled import COMPILED, counts_firings
from pipeline.tables.sql import sql_files
from pipeline.tables.stages import STAGES, own_windows
from pipeline.tables.steps import Plan, plan_of


def make_table(
    lake: Lake,
    table: str,
    *,
    sae: str | None = None,
    shard: int | None = None,
    batch: int | None = None,
    generation: int | None = None,
    given: Given | None = None,
    **parameters: Any,
) -> Published:
    """Make one partition of a table by its SQL, and write it.

    Args:
        lake: The lake that is read and written.
        table: A table with a SQL file of its name.
        sae, shard, batch: The partition, as far as the table is partitioned.
        generation: The generation of the corpus, for a table with files for each.
        given: Relations that its SQL reads in addition to tables, or instead of tables or steps.
        parameters: Values of `$names` in its SQL that come neither from the config nor from the partition.

    Raises LakeError if an input is missing.
    """
    # A table over all SAEs or batches (`summary`) is made from those that exist.
    inputs = [name for name in STAGES[table].inputs if _is_pinned(name, sae, batch) and name not in (given or ())]
    lake.require(*inputs, sae=sae, batch=batch)
    of: dict[str, Any] = {"sae": sae, "shard": shard, "batch": batch}
    published = []
    for part in lake.parts(table):  # existing ones too: they may cover fewer features than are selected now
        with open_rows(lake, table, part=part, given=given, **of, **parameters) as rows:
            published.append(lake.write(table, rows, part=part, generation=generation, **of))
    return Published.together(published, _figures(lake, table, **of))


def read_table(lake: Lake, table: str, *, sae: str, batch: int, given: Given | None = None) -> pa.Table:
    """The rows of a table's batch, over all its parts, in memory; nothing is written."""
    parts = [read_rows(lake, table, part=part, sae=sae, batch=batch, given=given) for part in lake.parts(table)]
    return pa.concat_tables(part.cast(TABLES[table].schema) for part in parts)


def read_rows(
    lake: Lake,
    name: str | Path,
    *,
    part: str | None = None,
    sae: str | None = None,
    batch: int | None = None,
    given: Given | None = None,
    **parameters: Any,
) -> pa.Table:
    """The rows of a table, or of another SQL file with the steps before it, in memory; nothing is written."""
    with open_rows(lake, name, part=part, sae=sae, batch=batch, given=given, **parameters) as rows:
        return rows.read_all()


@contextmanager
def open_rows(
    lake: Lake,
    name: str | Path,
    *,
    part: str | None = None,
    sae: str | None = None,
    shard: int | None = None,
    batch: int | None = None,
    given: Given | None = None,
    **parameters: Any,
) -> Iterator[pa.RecordBatchReader]:
    """The rows of a table, or of another SQL file with the steps before it; computed as they are read.

    `part` is a scorer with rows of its own in the table.
    """
    values = {"sae": sae, "shard": shard, "batch": batch, **parameters}
    if part is not None:
        given = {**(given or {}), **_own_step(lake, str(name), part, sae=sae, batch=batch, given=given)}
    plan = plan_of(name, given or ())
    with lake.connect(sae, batch, given, plan.tables) as connection, ExitStack() as opened:
        yield _Run(lake, plan, connection, values, opened).rows(name)


def _own_step(lake: Lake, table: str, part: str, **values: Any) -> dict[str, pa.Table]:
    """The rows that replace a step in a scorer's own part."""
    step, own = STAGES[table].own_step, own_windows(find_plugin("scorers", part))
    return {step: read_rows(lake, own, **values)} if step and own else {}


@dataclass(frozen=True)
class _Run:
    """The steps of one plan, in a connection that has the tables that they read.

    Attributes:
        values: The `$parameters` that do not come from the config; the partition is among them.
        opened: Closes the corpus after the rows are read.
        kept: What compiled steps keep for later ones (`Inputs.kept`).
    """

    lake: Lake
    plan: Plan
    connection: duckdb.DuckDBPyConnection
    values: Mapping[str, Any]
    opened: ExitStack
    kept: dict[str, Any] = field(default_factory=dict)

    def rows(self, name: str | Path) -> pa.RecordBatchReader:
        """The rows of the plan's last step, computed as they are read; the others run now, except by bucket."""
        for step in self.plan.once:
            if step in COMPILED:
                self.connection.register(step, compiled_rows(step, self._inputs(self._features)))
            elif step != name:
                self.lake.create(self.connection, str(step), **self.values)
        if self.plan.by_bucket:
            return pa.RecordBatchReader.from_batches(TABLES[str(name)].schema, self._rows_by_bucket())
        if name in COMPILED:
            return self.connection.table(name).to_arrow_reader()
        return self.lake.select(self.connection, name, **self.values).to_arrow_reader()

    def _rows_by_bucket(self) -> Iterator[pa.RecordBatch]:
        """The rows of the last step, some buckets of features at a time."""
        table, sae = self.plan.by_bucket[-1], self.values["sae"]
        n_buckets, at_once = n_buckets_of(self.lake.config.sae(sae).n_features), STAGES[table].buckets_at_once
        with progress(n_buckets, f"{table} of {sae}", "buckets") as bar:
            for first in range(0, n_buckets, at_once):
                buckets = range(first, min(first + at_once, n_buckets))
                yield from self._some_rows(buckets).cast(TABLES[table].schema).to_batches()
                bar.update(len(buckets))

    def _some_rows(self, buckets: range) -> pa.Table:
        """The rows of the last step, for some buckets of features."""
        made = self._counted(buckets)
        features = range(buckets.start * BUCKET_FEATURES, buckets.stop * BUCKET_FEATURES)
        values = {**self.values, "first_feature": features.start, "end_feature": features.stop}
        inputs = self._inputs(features, made)
        for step in self.plan.by_bucket:
            if step not in made and step in COMPILED:
                made[step] = compiled_rows(step, inputs)
            elif step not in made:
                made[step] = self.lake.select(self.connection, step, **values).to_arrow_table()
            self.connection.register(step, made[step])
        return made[self.plan.by_bucket[-1]]

    def _counted(self, buckets: range) -> dict[str, pa.Table]:
        """The rows of the steps that count firings: one pass for all, with the firings of one bucket in memory."""
        parts: dict[str, list[pa.Table]] = {step: [] for step in filter(counts_firings, self.plan.by_bucket)}
        for bucket in buckets if parts else ():
            inputs = self._inputs(range(bucket * BUCKET_FEATURES, (bucket + 1) * BUCKET_FEATURES))
            for step, tables in parts.items():
                tables.append(compiled_rows(step, inputs))
        return {step: pa.concat_tables(tables) for step, tables in parts.items()}

    def _inputs(self, features: range, made: dict[str, pa.Table] | None = None) -> Inputs:
        made = {} if made is None else made
        return Inputs(self.lake, self.values["sae"], features, self._corpus, self.connection, made, self.kept)

    @property
    def _features(self) -> range:
        """The features of steps that run once: those given, those of the batch, or all of the SAE."""
        if "first_feature" in self.values:
            return range(self.values["first_feature"], self.values["end_feature"])
        if self.values["batch"] is not None:
            return self.lake.config.selection.features_of(self.values["batch"])
        return range(self.lake.config.sae(self.values["sae"]).n_features)

    @cached_property
    def _corpus(self) -> CorpusTokens | None:
        """The tokens of the corpus, opened for the first compiled step; None if no step reads them."""
        if not self.plan.reads_corpus:
            return None
        return self.opened.enter_context(open_corpus_tokens(self.lake, self.connection))


def _is_pinned(name: str, sae: str | None, batch: int | None) -> bool:
    """Whether the partition being made determines the partition of an input that it reads."""
    match TABLES[name].partition:
        case "sae" | "sae_shard":
            return sae is not None
        case "sae_batch":
            return batch is not None
        case _:
            return True


def _figures(lake: Lake, table: str, **partition: Any) -> dict[str, float | int | str]:
    name = f"figures/{table}"
    return dict(lake.query(name, **partition).iter_rows()) if name in sql_files() else {}
