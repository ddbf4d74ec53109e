"""On which tokens a feature's activation lies: the rows of two SQL files by Polars, from `feature_tokens`.

Polars sorts the tokens of each feature by themselves; DuckDB's windows over all of them take some three times the
CPU time. A test compares each function with the SQL file of its name.
"""

from collections.abc import Callable

import polars as pl
import pyarrow as pa

from pipeline.config import HeuristicsConfig


def feature_masses(tokens: pl.LazyFrame, heuristics: HeuristicsConfig) -> pa.Table:
    """`sql/feature_masses.sql`, from rows of `feature_tokens` by feature."""
    mass = pl.col("sum_activation")
    # Tokens of the same mass may change places: how many come before a share of it is the same.
    mass_before = mass.sort(descending=True).cum_sum().shift(1, fill_value=0)
    counts = tokens.group_by("feature", maintain_order=True).agg(
        n_active_train=pl.col("n_active").sum(),
        n_top_tokens=(pl.col("n_top") > 0).sum().cast(pl.Int64),
        n_mass_tokens=(mass_before < heuristics.top_share * mass.sum()).sum().cast(pl.Int64),
    )
    return counts.collect().to_arrow()


def heaviest_tokens(tokens: pl.LazyFrame, heuristics: HeuristicsConfig) -> pa.Table:
    """`sql/heaviest_tokens.sql`, from rows of `feature_tokens` by feature and token."""
    columns = pl.struct("token_id", "n_active", "sum_activation")
    heaviest = columns.sort_by("sum_activation", descending=True, maintain_order=True).head(heuristics.top_tokens)
    rows = tokens.group_by("feature", maintain_order=True).agg(heaviest.alias("token"))
    rows = rows.with_columns(place=pl.int_ranges(1, pl.col("token").list.len() + 1)).explode("token", "place")
    return rows.unnest("token").collect().to_arrow()


FROM_TOKENS: dict[str, Callable[[pl.LazyFrame, HeuristicsConfig], pa.Table]] = {
    function.__name__: function for function in (feature_masses, heaviest_tokens)
}
"""SQL files whose rows come from here, by name."""
