"""Features of one SAE, all at once: statistics, rules, routes, selection and the example index.

The work is in `sql/`; each function names the tables that must be there and the figures a person wants. What
reads every firing goes through the store bucket by bucket, so that memory is bounded by a bucket.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.compiled.counting import COUNTED, Counts
from pipeline.compiled.drawing import DRAWN, Draws
from pipeline.features.wanted import create_wanted_features, read_feature_list
from pipeline.firings.buckets import Places, open_places, read_bucket
from pipeline.firings.store import BUCKET_FEATURES, n_buckets_of
from pipeline.lake import Lake, Published
from pipeline.progress import progress
from pipeline.tables import TABLES
from pipeline.tables.sql import parameters_of, relations_read, sql_text
from pipeline.tables.stages import CORPUS_TOKENS, FIRINGS, STAGES


def write_feature_table(lake: Lake, table: str, sae: str) -> Published:
    """Make one of an SAE's feature tables by its SQL. Raises LakeError if an input is not complete."""
    lake.require(*STAGES[table].inputs, sae=sae)
    begin = _first_by_bucket(table)
    published = lake.run_stage(table, sae=sae) if begin is None else _run_by_bucket(lake, table, sae, begin)
    return Published(table, published.path, published.n_rows, feature_figures(lake, table, sae))


def write_selected_features(lake: Lake, sae: str) -> Published:
    """Name the wanted features of an SAE, as `selection` in the config says.

    Raises:
        ConfigError: The feature list or the condition in the config does not work.
        LakeError: An input is not complete.
    """
    lake.require(*STAGES["selected_features"].inputs, sae=sae)
    with lake.connect(sae) as connection:
        rows = select_features(lake, connection, sae)
        published = lake.write("selected_features", rows.to_arrow_reader(), sae=sae)
    figures = feature_figures(lake, "selected_features", sae)
    if listed := read_feature_list(lake.config):
        figures["list_rows_without_feature"] = len(listed.odd_rows)
    return Published(published.table, published.path, published.n_rows, figures)


def select_features(lake: Lake, connection: duckdb.DuckDBPyConnection, sae: str) -> duckdb.DuckDBPyRelation:
    """The rows of `selected_features`. Raises ConfigError if the list or the condition does not work."""
    quotas = lake.config.selection.quotas
    create_wanted_features(connection, lake.config.selection, read_feature_list(lake.config))
    return lake.select(
        connection,
        "selected_features",
        sae=sae,
        quota_routes=None if quotas is None else list(quotas),
        quota_sizes=None if quotas is None else list(quotas.values()),
    )


def feature_figures(lake: Lake, table: str, sae: str, batch: int | None = None) -> dict[str, float | int | str]:
    """The few numbers of a feature table that matter: name and value by `sql/figures/<table>.sql`."""
    rows = lake.query(f"figures/{table}", sae=sae, batch=batch)
    return dict(rows.iter_rows())


def _first_by_bucket(table: str) -> int | None:
    """The place of the first of a stage's SQL files that runs some buckets of features at a time."""
    for place, name in enumerate(STAGES[table].steps):
        if name == FIRINGS or "first_feature" in parameters_of(sql_text(name)):
            return place
    return None


def _run_by_bucket(lake: Lake, table: str, sae: str, begin: int) -> Published:
    """Run a stage's SQL files before `begin` once, and the others some buckets of features at a time."""
    names = STAGES[table].steps
    with lake.connect(sae) as connection, ExitStack() as stack:
        for name in names[:begin]:
            if name != CORPUS_TOKENS:  # it grows with the corpus, and is what the places are
                lake.create_temporary(connection, name, sae=sae)
        places = stack.enter_context(open_places(lake, connection)) if FIRINGS in names else None
        rows = _bucket_rows(lake, connection, [name for name in names[begin:] if name != FIRINGS], sae, places)
        return lake.write(table, pa.RecordBatchReader.from_batches(TABLES[table].schema, rows), sae=sae)


def _bucket_rows(
    lake: Lake, connection: duckdb.DuckDBPyConnection, names: Sequence[str], sae: str, places: Places | None
) -> Iterator[pa.RecordBatch]:
    """The rows of the last of some SQL files, some buckets of features at a time.

    What the files before it give is a table in memory, by SQL or from arrays; SQL sees those that it reads.
    """
    last, n_buckets = names[-1], n_buckets_of(lake.config.sae(sae).n_features)
    by_sql = [name for name in names if name not in COUNTED and name not in DRAWN]
    read = {table for name in by_sql for table in relations_read(name)}
    counted = [name for name in names if name in COUNTED and name in {last, *read}]
    with progress(n_buckets, f"{last} of {sae}", "buckets") as bar:
        for bucket in range(0, n_buckets, STAGES[last].buckets_at_once):
            buckets = range(bucket, min(bucket + STAGES[last].buckets_at_once, n_buckets))
            first, end = buckets[0] * BUCKET_FEATURES, (buckets[-1] + 1) * BUCKET_FEATURES
            given = {"sae": sae, "first_feature": first, "end_feature": end}
            made = {} if places is None else _count_buckets(lake, sae, buckets, places, counted)
            draws = None if places is None else Draws(made, range(first, end), places, lake.config.sampling)
            for name in names:
                if draws and name in DRAWN:
                    made[name] = DRAWN[name](draws)
                elif name in by_sql:
                    made[name] = lake.select(connection, name, **given).to_arrow_table()
                if name in made and name in read:
                    connection.register(name, made[name])
            yield from _with_name(made[last], sae).cast(TABLES[last].schema).to_batches()
            bar.update(len(buckets))


def _count_buckets(
    lake: Lake, sae: str, buckets: Sequence[int], places: Places, names: Sequence[str]
) -> dict[str, pa.Table]:
    """The rows of SQL files that count, over some buckets; the firings of one at a time are in memory."""
    parts: dict[str, list[pa.Table]] = {name: [] for name in names}
    for bucket in buckets:
        counts = Counts(read_bucket(lake, sae, bucket), places, lake.config.heuristics)
        for name in names:
            parts[name].append(COUNTED[name](counts))
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}


def _with_name(rows: pa.Table, sae: str) -> pa.Table:
    """The rows with the SAE's name, if they have none."""
    if "sae" in rows.schema.names:
        return rows
    return rows.add_column(0, "sae", pa.DictionaryArray.from_arrays(np.zeros(len(rows), np.int8), [sae]))
