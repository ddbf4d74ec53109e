"""Making any table from its SQL: step by step in one connection, and written whole.

    make_table(lake, "feature_stats", sae="layers.9")

1. Its inputs must exist; otherwise an error names what to materialise.
2. A connection has every table as a view. Given relations (`given`) replace the view of the same name.
3. The SQL files that its own file reads (`sql.steps_of`) run one after another, each after those that it reads.
   A step's rows are made by DuckDB, or by the function that `tables.compiled` names. For a table by SAE, steps
   that count firings run for a few buckets of features at a time, which bounds the memory.
4. The rows of the last step, the table's own SQL file, are written: the whole partition, or nothing.
   A table with an `own_step` has a part for each scorer with SQL of its own for that step.
5. Figures for people are read from what was written (`sql/figures/<table>.sql`, if it exists).
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from pipeline.tables.compiled import ARRAYS, COMPILED, counts_firings
from pipeline.tables.sql import parameters_of, relations_read, sql_files, sql_text, steps_of, tables_read
from pipeline.tables.stages import STAGES, own_windows


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
    tables = tables_seen(name, frozenset(given or ()))
    with lake.connect(sae, batch, given, tables) as connection, ExitStack() as stack:
        yield _Run(lake, connection, stack, values).rows(name, frozenset(given or ()))


def _own_step(lake: Lake, table: str, part: str, **values: Any) -> dict[str, pa.Table]:
    """The rows that replace a step in a scorer's own part."""
    step, own = STAGES[table].own_step, own_windows(find_plugin("scorers", part))
    return {step: read_rows(lake, own, **values)} if step and own else {}


_CANDIDATE_SLOTS = "candidate_slots"
"""The step that locates the tokens of the corpus for compiled code, even if its own SQL file does not read it."""


def needed_steps(name: str | Path, given: Collection[str] = ()) -> tuple[str | Path, ...]:
    """The steps that run for a SQL file, itself included, except those that compiled code reads as arrays."""
    given = {*given, *(STAGES[name].given if name in STAGES else ())}
    steps = steps_of(name, given=given)
    if any(map(reads_corpus, steps)) and _CANDIDATE_SLOTS not in {*steps, *given}:
        steps = steps_of(_CANDIDATE_SLOTS, name, given=given)
    needed = {name}
    for step in reversed(steps):
        if step in needed:
            needed |= {*relations_read(step)} - (ARRAYS if step in COMPILED else set())
            needed |= {_CANDIDATE_SLOTS} if reads_corpus(step) else set()
    return tuple(step for step in steps if step in needed)


def tables_seen(name: str | Path, given: Collection[str] = ()) -> frozenset[str]:
    """The tables read for the rows of a SQL file; some compiled steps also read the corpus's tokens."""
    steps = needed_steps(name, given)
    corpus = (_CANDIDATE_SLOTS, "corpus_tokens") if any(map(reads_corpus, steps)) else ()
    read = {relation for step in steps for relation in relations_read(step)}
    return frozenset(TABLES.keys() & {*read, *tables_read(*corpus)} - {*given})


def reads_corpus(step: str | Path) -> bool:
    """Whether the rows of a SQL file are made by compiled code that reads `Inputs.corpus`."""
    return step in COMPILED and not {*ARRAYS, _CANDIDATE_SLOTS}.isdisjoint(relations_read(step))


def steps_by_bucket(table: str | Path) -> frozenset[str | Path]:
    """The steps of a table by SAE that run for some buckets of features at a time.

    They count firings, have rows for features from $first_feature to below $end_feature, or read such a step.
    """
    found: set[str] = set()
    if table in TABLES and TABLES[table].partition == "sae":
        for step in STAGES[table].steps:
            is_first = step == "firings" or "first_feature" in parameters_of(sql_text(step))
            if is_first or found & {*relations_read(step)}:
                found.add(step)
    return frozenset(found)


class _Run:
    """The steps of one table in one connection."""

    def __init__(
        self, lake: Lake, connection: duckdb.DuckDBPyConnection, stack: ExitStack, values: dict[str, Any]
    ) -> None:
        self._lake = lake
        self._connection = connection
        self._stack = stack
        self._values = values
        self._kept: dict[str, Any] = {}
        self._reads_corpus = False

    def rows(self, name: str | Path, given: frozenset[str]) -> pa.RecordBatchReader:
        """Run the steps, and return the rows of the last one."""
        by_bucket = steps_by_bucket(name)
        steps = needed_steps(name, given)
        self._reads_corpus = any(map(reads_corpus, steps))
        once = [step for step in steps if step not in by_bucket]
        for step in once:
            if step in COMPILED:
                self._connection.register(step, compiled_rows(step, self._inputs(self._features)))
            elif step != name:
                self._lake.create(self._connection, str(step), **self._values)
        if name in by_bucket:
            rows = self._rows_by_bucket([str(step) for step in steps if step in by_bucket])
            return pa.RecordBatchReader.from_batches(TABLES[str(name)].schema, rows)
        if name in COMPILED:
            return self._connection.table(name).to_arrow_reader()
        return self._lake.select(self._connection, name, **self._values).to_arrow_reader()

    def _rows_by_bucket(self, steps: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of the last step, some buckets of features at a time."""
        table, sae = steps[-1], self._values["sae"]
        n_buckets, at_once = n_buckets_of(self._lake.config.sae(sae).n_features), STAGES[table].buckets_at_once
        with progress(n_buckets, f"{table} of {sae}", "buckets") as bar:
            for first in range(0, n_buckets, at_once):
                buckets = range(first, min(first + at_once, n_buckets))
                yield from self._some_rows(steps, buckets).cast(TABLES[table].schema).to_batches()
                bar.update(len(buckets))

    def _some_rows(self, steps: Sequence[str], buckets: range) -> pa.Table:
        """The rows of the last step, for some buckets of features."""
        # Steps that count firings go first, in one pass for all, with the firings of one bucket in memory.
        made = self._counted([step for step in steps if counts_firings(step)], buckets)
        features = range(buckets.start * BUCKET_FEATURES, buckets.stop * BUCKET_FEATURES)
        values = {**self._values, "first_feature": features.start, "end_feature": features.stop}
        inputs = None
        for step in steps:
            if step in COMPILED and step not in made:
                inputs = inputs or self._inputs(features, made)
                made[step] = compiled_rows(step, inputs)
            elif step not in made:
                made[step] = self._lake.select(self._connection, step, **values).to_arrow_table()
            self._connection.register(step, made[step])
        return made[steps[-1]]

    def _counted(self, steps: Sequence[str], buckets: range) -> dict[str, pa.Table]:
        parts: dict[str, list[pa.Table]] = {step: [] for step in steps}
        for first in [bucket * BUCKET_FEATURES for bucket in buckets] if steps else []:
            inputs = self._inputs(range(first, first + BUCKET_FEATURES))
            for step in steps:
                parts[step].append(compiled_rows(step, inputs))
        return {step: pa.concat_tables(tables) for step, tables in parts.items()}

    def _inputs(self, features: range, made: dict[str, pa.Table] | None = None) -> Inputs:
        made = {} if made is None else made
        lake, sae = self._lake, self._values["sae"]
        corpus = self._corpus if self._reads_corpus else None
        return Inputs(lake, sae, features, corpus, self._connection, made, self._kept)

    @property
    def _features(self) -> range:
        """The features of steps that run once: those given, those of the batch, or all of the SAE."""
        if "first_feature" in self._values:
            return range(self._values["first_feature"], self._values["end_feature"])
        if self._values["batch"] is not None:
            return self._lake.config.selection.features_of(self._values["batch"])
        return range(self._lake.config.sae(self._values["sae"]).n_features)

    @cached_property
    def _corpus(self) -> CorpusTokens:
        """The tokens of the corpus by position, opened for the first compiled step."""
        return self._stack.enter_context(open_corpus_tokens(self._lake, self._connection))


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
