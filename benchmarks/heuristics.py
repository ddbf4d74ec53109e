"""Precision and recall of the heuristics on planted features, by number of firings and noise.

Each planted feature has a share of its firings off its pattern. The negatives are all features with the same
number of firings and without the pattern: those that fire anywhere, and those with other patterns. Every point is
a separate figure; a mean over them would depend on how many features of each kind were planted.
"""

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks.figures import Figure, publish
from benchmarks.synthetic import SAE, Plan, Size, open_synthetic, plan_of, write_corpus, write_shard
from pipeline.firings.store import write_activations
from pipeline.make_table import make_table

N_FIRINGS = (30, 100, 300, 1000, 3000, 10_000)
NOISE = (0.0, 0.05, 0.1, 0.2, 0.3)
PLANTED = 20
"""Number of features per kind, number of firings and noise."""

BACKGROUND = 400
"""Number of features that fire anywhere, per number of firings."""

KINDS = ("unigram", "token_set", "previous_token", "positional")


class Heuristic(NamedTuple):
    """A condition on feature_stats (SQL), and the kinds that it should find."""

    name: str
    flag: str
    finds: tuple[str, ...]


HEURISTICS = (
    Heuristic("unigram", "is_unigram", ("unigram", "token_set")),
    Heuristic("unigram_without_minimum", "n_active_train > 0 and n_top_tokens <= 20", ("unigram", "token_set")),
    Heuristic("token_rule", "route = 'rule'", ("unigram", "token_set")),
    Heuristic("previous_token", "is_previous_token", ("previous_token",)),
    Heuristic("positional", "n_active_train >= 100 and position_score > 0.05", ("positional",)),
    Heuristic("positional_raw", "is_positional", ("positional",)),
)


class Grid(NamedTuple):
    """The features: kind, firings and noise of each, [n_features]."""

    kind: list[str]
    n_firings: list[int]
    noise: list[float]


def main() -> None:
    """Plant the features, run the pipeline's statistics over them, and publish every point."""
    grid = planted_grid()
    size = Size("heuristics", n_tokens=1_000_000, n_features=len(grid.kind), firings_per_token=0, shards=2)
    folder = Path(tempfile.mkdtemp(prefix="latentlake-bench-"))
    try:
        flags = _flags(size, _plan(size, grid), folder)
    finally:
        shutil.rmtree(folder)
    features = pl.DataFrame(grid._asdict()).with_columns(flags)
    publish("heuristics", [figure for heuristic in HEURISTICS for figure in curves(features, heuristic)])


def planted_grid() -> Grid:
    """Every kind with every number of firings and noise, and background features of each number of firings."""
    rows = [(kind, n, noise) for kind in KINDS for n in N_FIRINGS for noise in NOISE for _ in range(PLANTED)]
    rows += [("background", n, 1.0) for n in N_FIRINGS for _ in range(BACKGROUND)]
    return Grid(*(list(column) for column in zip(*rows, strict=True)))


def curves(features: pl.DataFrame, heuristic: Heuristic) -> list[Figure]:
    """Recall by number of firings and noise; precision by number of firings, over all noise levels."""
    is_found = pl.col("kind").is_in(heuristic.finds)
    flagged = features.filter(pl.col(heuristic.name))
    figures = []
    for n in N_FIRINGS:
        here = flagged.filter(pl.col("n_firings") == n)
        if len(here):
            precision = here.select(is_found.mean()).item()
            note = f"of {len(here)} flagged, {n:,} firings, any noise"
            figures.append(Figure(f"{heuristic.name}_precision_n{n}", precision, "", better="higher", note=note))
        for noise in NOISE:
            planted = features.filter(is_found, pl.col("n_firings") == n, pl.col("noise") == noise)
            recall = planted[heuristic.name].mean()
            note = f"of {len(planted)} planted, {n:,} firings, {noise:.0%} off the pattern"
            name = f"{heuristic.name}_recall_n{n}_noise{round(100 * noise)}"
            figures.append(Figure(name, float(str(recall)), "", better="higher", note=note))
    return figures


def _plan(size: Size, grid: Grid) -> Plan:
    n_firings = np.array(grid.n_firings, dtype=float)
    return plan_of(size, np.array(grid.kind), n_firings, np.array(grid.noise), np.random.default_rng(3))


def _flags(size: Size, plan: Plan, folder: Path) -> list[pl.Series]:
    """One boolean column per heuristic, in the order of the features."""
    lake = open_synthetic(size, folder)
    write_corpus(lake, size)
    for shard in range(size.shards):
        write_shard(lake, plan, shard)
    write_activations(lake, SAE)
    for table in ("feature_tokens", "feature_stats", "feature_rules", "feature_routes"):
        make_table(lake, table, sae=SAE)
    columns = ", ".join(f"coalesce({each.flag}, false) as {each.name}" for each in HEURISTICS)
    with lake.connect(SAE) as connection:
        rows = connection.sql(
            f"select {columns} from feature_stats join feature_routes using (sae, feature) order by feature"
        )
        flags: pl.DataFrame = rows.pl()
    return flags.get_columns()


if __name__ == "__main__":
    main()
