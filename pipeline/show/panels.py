"""Parts that the report's figures share: style, panels, lines with intervals, legends.

The ink becomes the page's own text colour (`figures.inline`), so that one picture works in light and dark mode.
The colours are distinguishable in both, and the markers without any colour.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Labels = Mapping[str, str]
"""The label of each explainer in figures, by its name, in the config's order; controls keep their names."""

INK = "#010203"
COLOURS = ("#3d85d1", "#d9822b", "#2f9e77", "#9a6fd0", "#d05a6e", "#8f8a2f", "#3aa3b5")
MARKERS = "osD^vP*"
GREY = "#8a8f98"
_MOST_PANELS = 12
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick")},
    **{f"axes.{part}color": INK for part in ("edge", "label", "title")},
}


def panels_of(
    rows: pl.DataFrame, keys: list[str], *, height: float, by: str | None = None, of: tuple[str, ...] = ()
) -> tuple["Figure", list[tuple[tuple[str, ...], pl.DataFrame, "Axes"]]]:
    """A figure with a panel for each value of some columns, at most 12, as (key, rows, axes).

    Args:
        rows: The data.
        keys: The columns; all text.
        height: The height of a panel in inches or, if `by` is given, of one line in it.
        by: A column whose values are the lines of a panel, one below another.
        of: The columns that identify a line, if there are several.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    parts = [(key, part) for key, part in rows.group_by(keys, maintain_order=True)][:_MOST_PANELS]
    n_columns = 1 if len(parts) == 1 else 2 if by or len(parts) in {2, 4} else min(3, len(parts))
    n_lines = max(part.select(of or by).n_unique() for _, part in parts) if by else 1
    n_rows = -(-len(parts) // n_columns)
    size = (9 if n_columns > 1 else 6.4, n_rows * (height * n_lines + 0.9) + 0.4)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.08))
    grid = figure.subplots(n_rows, n_columns, squeeze=False).flat
    for unused in list(grid)[len(parts) :]:
        unused.set_visible(False)
    axes = figure.axes
    return figure, [(tuple(map(str, key)), part, axes[number]) for number, (key, part) in enumerate(parts)]


class Look(NamedTuple):
    """How a line or a cloud of points is drawn: its label, and by its number its colour and marker.

    A control is grey and hollow.
    """

    label: str
    number: int
    is_control: bool = False

    @property
    def colour(self) -> str:
        """Its colour."""
        return GREY if self.is_control else COLOURS[self.number % len(COLOURS)]

    @property
    def marker(self) -> str:
        """Its marker."""
        return MARKERS[self.number % len(MARKERS)]


def look_of(explainer: str, labels: Labels, is_control: bool = False) -> Look:
    """The look of an explainer, by its index in the config; controls come after all explainers."""
    known = list(labels)
    number = known.index(explainer) if explainer in labels else len(known) + (explainer != "empty")
    return Look(labels.get(explainer, explainer), number, is_control)


def parts_by(rows: pl.DataFrame, column: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """The rows of each value of a column, with the value as text."""
    for (key,), part in rows.group_by([column], maintain_order=True):
        yield str(key), part


def reach_of(row: dict[str, Any]) -> list[list[float]] | None:
    """The distances of an interval's ends from the mean; None without an interval."""
    if row["ci_low"] is None:
        return None
    return [[max(0.0, row["mean"] - row["ci_low"])], [max(0.0, row["ci_high"] - row["mean"])]]


def draw_line(axes: "Axes", rows: pl.DataFrame, x: str, y: str, look: Look) -> None:
    """Points joined by a line, dashed for a control, with their intervals if they have any."""
    if rows.is_empty():
        return
    xs = rows[x].to_list()
    axes.plot(xs, rows[y].to_list(), look.marker, color=look.colour, label=look.label, markersize=4,
              markerfacecolor="none" if look.is_control else look.colour,
              linestyle="--" if look.is_control else "-", linewidth=1)  # fmt: skip
    if "ci_low" in rows.columns:
        axes.vlines(xs, rows["ci_low"].fill_null(rows[y]), rows["ci_high"].fill_null(rows[y]), color=look.colour,
                    alpha=0.6, linewidth=1)  # fmt: skip


def draw_by_layer(axes: "Axes", rows: pl.DataFrame, y: str) -> None:
    """One line per threshold over the SAEs; with fewer than three SAEs, one line per SAE over the thresholds."""
    saes = rows["sae"].unique(maintain_order=True).to_list()
    if len(saes) < 3:
        for number, (sae, own) in enumerate(parts_by(rows, "sae")):
            draw_line(axes, own, "threshold", y, Look(sae, number))
        axes.set_xlabel("threshold")
        return
    for number, (threshold, own) in enumerate(parts_by(rows, "threshold")):
        own = own.with_columns(pl.Series("sae_number", [saes.index(sae) for sae in own["sae"]]))
        draw_line(axes, own, "sae_number", y, Look(f"threshold {float(threshold):g}", number))
    axes.set_xticks(range(len(saes)), saes, rotation=90)


def draw_chance(axes: "Axes", metric: str) -> None:
    """A dotted vertical line at chance, for a metric whose chance level is 0.5."""
    if metric in {"balanced_accuracy", "auroc"}:
        axes.axvline(0.5, color=INK, linestyle=":", linewidth=1)


def draw_legend(figure: "Figure") -> None:
    """One legend above all panels; none if there is a single line."""
    named = [axes.get_legend_handles_labels() for axes in figure.axes]
    found = {label: line for lines, labels in named for line, label in zip(lines, labels, strict=True)}
    if len(found) > 1:
        figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=min(4, len(found)))
