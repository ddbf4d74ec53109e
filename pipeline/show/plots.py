"""Plots of tables for the Dagster UI."""

import base64
import io
from collections.abc import Callable

import polars as pl

from pipeline.lake import Lake, Published


def plot_png(lake: Lake, published: Published) -> str | None:
    """The plot of a table as a base64-encoded PNG; None if the table has none."""
    draw = _PLOTS.get(published.table)
    if draw is None or not published.path.is_file():
        return None
    rows = pl.read_parquet(published.path, glob=False)
    if rows.is_empty():
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    draw(lake, rows, figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()


def _densities(_lake: Lake, stats: pl.DataFrame, axes: "object") -> None:
    """How often features fire: the histogram that shows an SAE's health at a glance."""
    live = stats.filter(pl.col("n_active") > 0)
    axes.hist(live["density"].log10().to_list(), bins=60, color="#4c72b0")  # type: ignore[attr-defined]
    axes.set_xlabel("log10 of the share of tokens on which a feature fires")  # type: ignore[attr-defined]
    axes.set_ylabel("features")  # type: ignore[attr-defined]
    n_dead = stats.height - live.height
    axes.set_title(f"{live.height:,} features fire, {n_dead:,} never do", fontsize=10)  # type: ignore[attr-defined]


def _routes(_lake: Lake, routes: pl.DataFrame, axes: "object") -> None:
    """Features by route."""
    counts = routes["route"].value_counts().sort("count")
    bars = axes.barh(counts["route"].to_list(), counts["count"].to_list(), color="#4c72b0")  # type: ignore[attr-defined]
    axes.bar_label(bars, padding=3)  # type: ignore[attr-defined]
    axes.set_xlabel("features")  # type: ignore[attr-defined]


_PLOTS: dict[str, Callable[[Lake, pl.DataFrame, object], None]] = {
    "feature_stats": _densities,
    "feature_routes": _routes,
}
