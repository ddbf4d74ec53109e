"""The distribution of a feature's activation over tokens: the rows of two SQL files by Polars, from
`feature_tokens`.

Polars sorts each feature's tokens separately; DuckDB's windows over all of them take some three times the
CPU time. A test compares each function with the SQL file of its name.
"""

import polars as pl
import pyarrow as pa

from pipeline.compiled.inputs import Inputs


def feature_masses(inputs: Inputs) -> pa.Table:
    """`sql/compiled/feature_masses.sql`."""
    mass, top_share = pl.col("sum_activation"), inputs.lake.config.heuristics.top_share
    # Tokens of equal mass may come in any order: the number before a share of it is the same.
    mass_before = mass.sort(descending=True).cum_sum().shift(1, fill_value=0)
    counts = _feature_tokens(inputs).group_by("feature", maintain_order=True)
    rows = counts.agg(
        n_active_train=pl.col("n_active").sum(),
        n_top_tokens=(pl.col("n_top") > 0).sum().cast(pl.Int64),
        n_mass_tokens=(mass_before < top_share * mass.sum()).sum().cast(pl.Int64),
    )
    return rows.collect().to_arrow()


def heaviest_tokens(inputs: Inputs) -> pa.Table:
    """`sql/compiled/heaviest_tokens.sql`."""
    columns = pl.struct("token_id", "n_active", "sum_activation")
    n_tokens = inputs.lake.config.heuristics.top_tokens
    # Tokens of equal mass stay in the order of the table, by token.
    heaviest = columns.sort_by("sum_activation", descending=True, maintain_order=True).head(n_tokens)
    rows = _feature_tokens(inputs).group_by("feature", maintain_order=True).agg(heaviest.alias("token"))
    rows = rows.with_columns(place=pl.int_ranges(1, pl.col("token").list.len() + 1)).explode("token", "place")
    return rows.unnest("token").collect().to_arrow()


def _feature_tokens(inputs: Inputs) -> pl.LazyFrame:
    """The rows of `feature_tokens` for these features, by feature and token."""
    tokens = pl.scan_parquet(inputs.lake.path("feature_tokens", sae=inputs.sae))
    return tokens.filter(pl.col("feature").is_between(inputs.features.start, inputs.features.stop - 1))
