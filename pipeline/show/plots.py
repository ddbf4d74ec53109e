"""Plots of tables for the Dagster UI."""

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from pipeline.lake import Published

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOUR = "#4c72b0"


def plot_png(published: Published) -> str | None:
    """The plot of a table as a base64-encoded PNG; None if the table has none."""
    draw = _PLOTS.get(published.table)
    if draw is None or not published.path.is_file():
        return None
    rows = pl.read_parquet(published.path, glob=False)
    if rows.is_empty():
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    draw(rows, figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()


def _densities(stats: pl.DataFrame, axes: "Axes") -> None:
    """How often features fire: the histogram that shows an SAE's health at a glance."""
    live = stats.filter(pl.col("n_active") > 0)
    axes.hist(live["density"].log10().to_list(), bins=60, color=_COLOUR)
    axes.set_xlabel("log10 of the share of tokens on which a feature fires")
    axes.set_ylabel("features")
    n_dead = stats.height - live.height
    axes.set_title(f"{live.height:,} features fire, {n_dead:,} never do", fontsize=10)


def _routes(routes: pl.DataFrame, axes: "Axes") -> None:
    """Features by route."""
    counts = routes["route"].value_counts().sort("count")
    bars = axes.barh(counts["route"].to_list(), counts["count"].to_list(), color=_COLOUR)
    axes.bar_label(bars, padding=3)
    axes.set_xlabel("features")


_PLOTS: dict[str, Callable[[pl.DataFrame, "Axes"], None]] = {
    "feature_stats": _densities,
    "feature_routes": _routes,
}
