"""The figures of the report: each is a query, and how its rows are drawn.

Drawn with matplotlib. In the SVG its ink becomes the page's own colour (`inline`), so that one picture does in
light and in dark; the data's colours are told apart in both, and markers tell them apart without any.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Labels = Mapping[str, str]
"""What an explainer is called in a figure, by its name, in the config's order; controls go by their names."""

_INK = "#010203"
_COLOURS = ("#3d85d1", "#d9822b", "#2f9e77", "#9a6fd0", "#d05a6e", "#8f8a2f", "#3aa3b5")
_MARKERS = "osD^vP*"
_GREY = "#8a8f98"
_MOST_PANELS = 12
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
    **{f"{part}.color": _INK for part in ("text", "xtick", "ytick")},
    **{f"axes.{part}color": _INK for part in ("edge", "label", "title")},
}


class FigureOf(NamedTuple):
    """A figure of the report.

    Attributes:
        name: Its SQL file, and the name of its own files.
        title: What it shows.
        reading: How to read it.
        missing: What is not there where its query has no rows.
        draw: Draws rows, with what explainers are called.
    """

    name: str
    title: str
    reading: str
    missing: str
    draw: Callable[[pl.DataFrame, Labels], "Figure"]


class Picture(NamedTuple):
    """A figure as it is drawn, on white."""

    svg: str
    png: bytes


def draw(figure: FigureOf, rows: pl.DataFrame, labels: Labels) -> Picture:
    """Draw a figure: the same rows give the same bytes."""
    import matplotlib as mpl

    svg, png = io.BytesIO(), io.BytesIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": figure.name}):
        drawn = figure.draw(rows, labels)
        drawn.savefig(svg, format="svg", metadata={"Date": None})
        drawn.savefig(png, format="png", dpi=110)
    return Picture(svg.getvalue().decode(), png.getvalue())


def inline(figure: FigureOf, picture: Picture) -> str:
    """The picture as a part of a page: without a ground, in the page's ink, its names one over the whole page."""
    text = picture.svg[picture.svg.index("<svg") :].replace(_INK, "currentColor").replace("#ffffff", "none")
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{figure.name}-", text)
    return text.replace("<svg", f'<svg role="img" aria-labelledby="title-{figure.name}"', 1)


def _routes(rows: pl.DataFrame, _labels: Labels) -> "Figure":
    figure, panels = _panels(rows, ["sae"], height=0.32, by="route")
    for (sae,), part, axes in panels:
        part = part.sort("n_features")
        routes, counts = part["route"].to_list(), part["n_features"].to_list()
        bars = axes.barh(routes, counts, color=_COLOURS[0], alpha=0.45)
        axes.barh(routes, part["n_selected"].to_list(), color=_COLOURS[0], label="selected to be explained")
        told = [f"{count:,} ({share:.1%})" for count, share in zip(counts, part["share"], strict=True)]
        axes.bar_label(bars, told, padding=3)
        axes.set_xlim(0, max(counts) * 1.35)
        axes.set_xlabel("features")
        axes.set_title(sae)
        axes.legend(loc="lower right")
    return figure


def _explainers(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = _panels(rows, ["sae", "scorer"], height=0.3, by="explainer", of=("explainer", "route"))
    for key, part, axes in panels:
        metric = part["metric"][0]
        for place, row in enumerate(part.iter_rows(named=True)):
            colour = _GREY if row["is_control"] else _COLOURS[0]
            axes.plot([row["p10"], row["p90"]], [place, place], color=colour, alpha=0.3, linewidth=5)
            face = "none" if row["is_control"] else colour
            axes.errorbar(
                row["mean"], place, xerr=_sides(row), fmt="o", color=colour, markerfacecolor=face, capsize=2.5
            )
        names = [f"{labels.get(name, name)}, {route} ({n})" for name, route, n in
                 part.select("explainer", "route", "n_features").iter_rows()]  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        _at_chance(axes, "x", metric)
        axes.set_xlabel(metric.replace("_", " "))
        axes.set_title(", ".join(key))
    return figure


def _strata(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = _panels(rows, ["sae", "scorer"], height=2.6)
    for key, part, axes in panels:
        for number, (name, own) in enumerate(_by(part, "explainer")):
            is_control = own["is_control"][0]
            shift = (number - part["explainer"].n_unique() / 2) * 0.09
            told = _number(name, labels), labels.get(name, name), is_control, shift
            for side in (own.filter(pl.col("place") < 0), own.filter(pl.col("place") > 0)):
                _line(axes, side, "place", "mean", *told)
        axes.axvline(0, color=_GREY, linewidth=0.8)
        kinds = ["random", "neighbour", "same token"]
        axes.set_xticks([*range(-3, 0), *range(1, 11)], [*kinds, *map(str, range(1, 11))], rotation=90)
        axes.set_xlim(-3.7, 10.7)
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel("share of right answers")
        axes.set_title(", ".join(key))
    _legend(figure)
    words = "silent windows by kind | activating windows by decile of their peak (10: strongest)"
    figure.supxlabel(words, fontsize=9)
    return figure


def _pairs(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = _panels(rows, ["sae", "scorer", "other_scorer"], height=2.6)
    for key, part, axes in panels:
        for name, own in _by(part, "explainer"):
            number = _number(name, labels)
            axes.plot(own["value"].to_list(), own["other_value"].to_list(), _MARKERS[number % len(_MARKERS)],
                      color=_COLOURS[number % len(_COLOURS)], label=labels.get(name, name), alpha=0.6,
                      markersize=4, linestyle="none")  # fmt: skip
        r, low, high = (part[name][0] for name in ("correlation", "correlation_low", "correlation_high"))
        told = "too few to tell r" if r is None else f"r {r:.2f}"
        told += "" if low is None else f" ({low:.2f} to {high:.2f})"
        axes.set_title(f"{key[0]}\n{told}, {part.height} explanations")
        axes.set_xlabel(key[1])
        axes.set_ylabel(key[2])
    _legend(figure)
    return figure


def _distributions(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = _panels(rows, ["sae", "scorer"], height=2.3)
    for key, part, axes in panels:
        for name, own in _by(part, "explainer"):
            values = own["value"].sort().to_list()
            number, is_control = _number(name, labels), own["is_control"][0]
            axes.ecdf(values, color=_GREY if is_control else _COLOURS[number % len(_COLOURS)],
                      linestyle=("--", ":")[number % 2] if is_control else "-",
                      label=labels.get(name, name))  # fmt: skip
        _at_chance(axes, "x", part["metric"][0])
        axes.set_xlabel(part["metric"][0].replace("_", " "))
        axes.set_ylabel("share of explanations")
        axes.set_title(", ".join(key))
    _legend(figure)
    return figure


def _neighbours(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = _panels(rows, ["sae"], height=2.6)
    for (sae,), part, axes in panels:
        for name, own in _by(part, "explainer"):
            number, is_control = _number(name, labels), own["is_control"][0]
            _line(axes, own, "rank", "mean", number, labels.get(name, name), is_control)
        axes.set_xlabel("rank of the neighbour (1: nearest)")
        axes.set_ylabel("share of right answers")
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(sae)
    _legend(figure)
    return figure


def _positional(rows: pl.DataFrame, _labels: Labels) -> "Figure":
    words = {"score": "our score, corrected and normalised", "information": "the post's: raw information (nats)"}
    figure, panels = _panels(rows, ["measure"], height=2.4)
    for (measure,), part, axes in panels:
        _by_layer(axes, part, "share")
        axes.set_ylabel("share of features")
        axes.set_ylim(0, max([0.01, *(1.1 * share for share in part["share"].to_list())]))
        axes.set_title(words[measure])
    _legend(figure)
    return figure


def _independence(rows: pl.DataFrame, _labels: Labels) -> "Figure":
    figure, [(_, part, axes)] = _panels(rows.with_columns(all=pl.lit("all")), ["all"], height=2.8)
    _by_layer(axes, part, "share_of_candidates")
    axes.set_ylabel("share of unigram candidates")
    axes.set_ylim(-0.03, 1.03)
    _legend(figure)
    return figure


def _costs(rows: pl.DataFrame, _labels: Labels) -> "Figure":
    rows = rows.filter(pl.col("prompt_tokens").is_not_null())
    figure, [(_, part, axes)] = _panels(
        rows.with_columns(all=pl.lit("all")), ["all"], height=0.42, by="purpose", of=("purpose", "model")
    )
    places = range(part.height)
    for shift, name, colour in ((0.19, "prompt", _COLOURS[0]), (-0.19, "completion", _COLOURS[1])):
        tokens = part[f"{name}_tokens_a_feature"].to_list()
        words = "answers" if name == "completion" else "prompts"
        bars = axes.barh([place + shift for place in places], tokens, height=0.36, color=colour, label=words)
        axes.bar_label(bars, [f"{value:,.0f}" for value in tokens], padding=3)
    names = [f"{purpose}, {model}" for purpose, model in part.select("purpose", "model").iter_rows()]
    axes.set_yticks(places, names)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("tokens a feature")
    axes.margins(x=0.2)
    _legend(figure)
    return figure


FIGURES = (
    FigureOf(
        "report_routes",
        "Where the features went",
        "Every feature of an SAE has one route, the first that applies. Only selected ones are explained.",
        "no feature is routed yet",
        _routes,
    ),
    FigureOf(
        "report_explainers",
        "Scores by explainer and sampling, beside the controls",
        "Dots are means over features (their number in brackets) with the interval of the mean (Student; "
        "none under 3 features); bars behind are the middle 80 % of features. In grey the controls: an "
        "explanation that does not beat another feature's says nothing. The dotted line is chance.",
        "no explanation has a score yet",
        _explainers,
    ),
    FigureOf(
        "report_strata",
        "Right answers by decile of the activation, and by kind of silent window",
        "Weak firings (decile 1) are harder than strong ones (10), as in the post. To the left: windows in "
        "which the feature is silent, of which those with one of its own tokens are the hardest. Means over "
        "features.",
        "no scorer has answered questions about windows by decile",
        _strata,
    ),
    FigureOf(
        "report_scorer_pairs",
        "Scorers against each other",
        "A dot is an explanation that both scorers judged (detection against fuzzing, and simulation where "
        "it is there); r is Pearson's over features, with Fisher's interval. Controls are left out.",
        "no explanation was judged by two scorers",
        _pairs,
    ),
    FigureOf(
        "report_distributions",
        "Distribution of scores",
        "The share of explanations with a score up to each value; dashed grey: controls. A curve further to "
        "the right is better. Generation scores are among them where that scorer is configured.",
        "no explanation has a score yet",
        _distributions,
    ),
    FigureOf(
        "report_neighbours",
        "Telling a feature from its neighbours, by their distance",
        "How often the scorer says rightly that a feature is silent in a window of its neighbour, by the "
        "neighbour's rank. Means over features with their intervals.",
        "the scorer neighbours has no answers here",
        _neighbours,
    ),
    FigureOf(
        "report_positional",
        "Positional features, at several thresholds",
        "Shares of the features with at least 100 firings. Every one is counted, so that there is no interval.",
        "no feature has 100 firings",
        _positional,
    ),
    FigureOf(
        "report_independence",
        "Context-independent features, at several thresholds",
        "Of unigram candidates that were put among random tokens, the share that still fires in at least "
        "that share of the texts, with its interval.",
        "no unigram candidate was verified among random tokens",
        _independence,
    ),
    FigureOf(
        "method_costs",
        "Tokens, time and price by method",
        "Of a feature on average, over all requests about it; time and price are in the numbers, the price "
        "a million features at the prices when the answers were recorded (0 for models in this process).",
        "no model was asked, or none that counts tokens",
        _costs,
    ),
)
"""The figures in the order of the report."""


def _panels(
    rows: pl.DataFrame, keys: list[str], *, height: float, by: str | None = None, of: tuple[str, ...] = ()
) -> tuple["Figure", list[tuple[tuple[str, ...], pl.DataFrame, "Axes"]]]:
    """A figure with a panel for each value of some columns, the first 12: key, rows, axes.

    Args:
        rows: What is drawn.
        keys: The columns; all text.
        height: Of a panel in inches; of a line in it where `by` is given.
        by: A column whose values are lines of a panel, one below another.
        of: The columns that a line stands for, where there are several.
    """
    from matplotlib.figure import Figure

    parts = [(key, part) for key, part in rows.group_by(keys, maintain_order=True)][:_MOST_PANELS]
    n_columns = 1 if len(parts) == 1 else 2 if by or len(parts) in {2, 4} else min(3, len(parts))
    n_lines = max(part.select(of or by).n_unique() for _, part in parts) if by else 1
    n_rows = -(-len(parts) // n_columns)
    size = (9 if n_columns > 1 else 6.4, n_rows * (height * n_lines + 0.9) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False).flat
    for unused in list(grid)[len(parts) :]:
        unused.set_visible(False)
    axes = figure.axes
    return figure, [(tuple(map(str, key)), part, axes[number]) for number, (key, part) in enumerate(parts)]


def _number(explainer: str, labels: Labels) -> int:
    """The place of an explainer in the config, by which it has its colour; a control's is behind them."""
    return list(labels).index(explainer) if explainer in labels else len(labels) + (explainer != "empty")


def _by(rows: pl.DataFrame, column: str) -> Iterator[tuple[str, pl.DataFrame]]:
    for (key,), part in rows.group_by([column], maintain_order=True):
        yield str(key), part


def _sides(row: dict[str, Any]) -> list[list[float]] | None:
    """How far an interval reaches to either side of the mean; None without one."""
    if row["ci_low"] is None:
        return None
    return [[max(0.0, row["mean"] - row["ci_low"])], [max(0.0, row["ci_high"] - row["mean"])]]


def _line(
    axes: "Axes", rows: pl.DataFrame, x: str, y: str, number: int, label: str, is_control: bool = False,
    shift: float = 0.0,
) -> None:  # fmt: skip
    """Points with their intervals, joined; of a control grey and dashed. One without an interval has none."""
    if rows.is_empty():
        return
    colour = _GREY if is_control else _COLOURS[number % len(_COLOURS)]
    places = [place + shift for place in rows[x].to_list()]
    axes.plot(places, rows[y].to_list(), _MARKERS[number % len(_MARKERS)], color=colour, label=label, markersize=4,
              markerfacecolor="none" if is_control else colour,
              linestyle="--" if is_control else "-", linewidth=1)  # fmt: skip
    if "ci_low" in rows.columns:
        axes.vlines(places, rows["ci_low"].fill_null(rows[y]), rows["ci_high"].fill_null(rows[y]), color=colour,
                    alpha=0.6, linewidth=1)  # fmt: skip


def _by_layer(axes: "Axes", rows: pl.DataFrame, y: str) -> None:
    """Lines by threshold over the SAEs; over the thresholds where there are but two SAEs."""
    saes = rows["sae"].unique(maintain_order=True).to_list()
    if len(saes) < 3:
        for number, (sae, own) in enumerate(_by(rows, "sae")):
            _line(axes, own, "threshold", y, number, sae)
        axes.set_xlabel("threshold")
        return
    for number, (threshold, own) in enumerate(_by(rows, "threshold")):
        own = own.with_columns(pl.Series("place", [saes.index(sae) for sae in own["sae"]]))
        _line(axes, own, "place", y, number, f"threshold {float(threshold):g}")
    axes.set_xticks(range(len(saes)), saes, rotation=90)


def _at_chance(axes: "Axes", way: str, metric: str) -> None:
    if metric in {"balanced_accuracy", "auroc"}:
        (axes.axvline if way == "x" else axes.axhline)(0.5, color=_INK, linestyle=":", linewidth=1)


def _legend(figure: "Figure") -> None:
    """One legend for all panels, above them; none for a single line."""
    named = [axes.get_legend_handles_labels() for axes in figure.axes]
    found = {label: line for lines, labels in named for line, label in zip(lines, labels, strict=True)}
    if len(found) > 1:
        figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=min(4, len(found)))
