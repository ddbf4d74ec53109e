"""The figures of the report: each is a query, and a function that draws its rows with matplotlib."""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from pipeline.show.panels import (
    COLOURS,
    GREY,
    INK,
    STYLE,
    Labels,
    draw_by_layer,
    draw_chance,
    draw_legend,
    draw_line,
    look_of,
    panels_of,
    parts_by,
    reach_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FigureOf(NamedTuple):
    """A figure of the report.

    Attributes:
        name: The name of its SQL file and of its own files.
        title: What it shows.
        reading: How to read it.
        missing: What is missing if its query has no rows.
        draw: Draws rows, given the labels of explainers.
    """

    name: str
    title: str
    reading: str
    missing: str
    draw: Callable[[pl.DataFrame, Labels], "Figure"]


class Picture(NamedTuple):
    """A drawn figure, on white."""

    svg: str
    png: bytes


def draw(figure: FigureOf, rows: pl.DataFrame, labels: Labels) -> Picture:
    """Draw a figure. The same rows give the same bytes."""
    import matplotlib as mpl

    svg, png = io.BytesIO(), io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": figure.name}):
        drawn = figure.draw(rows, labels)
        drawn.savefig(svg, format="svg", metadata={"Date": None})
        drawn.savefig(png, format="png", dpi=110)
    return Picture(svg.getvalue().decode(), png.getvalue())


def inline(figure: FigureOf, picture: Picture) -> str:
    """The picture as part of a page: no background, the page's text colour, ids that are unique in the page."""
    text = picture.svg[picture.svg.index("<svg") :].replace(INK, "currentColor").replace("#ffffff", "none")
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{figure.name}-", text)
    return text.replace("<svg", f'<svg role="img" aria-labelledby="title-{figure.name}"', 1)


def _routes(rows: pl.DataFrame, _labels: Labels) -> "Figure":
    figure, panels = panels_of(rows, ["sae"], height=0.32, by="route")
    for (sae,), part, axes in panels:
        part = part.sort("n_features")
        routes, counts = part["route"].to_list(), part["n_features"].to_list()
        bars = axes.barh(routes, counts, color=COLOURS[0], alpha=0.45)
        axes.barh(routes, part["n_selected"].to_list(), color=COLOURS[0], label="selected to be explained")
        words = [f"{count:,} ({share:.1%})" for count, share in zip(counts, part["share"], strict=True)]
        axes.bar_label(bars, words, padding=3)
        axes.set_xlim(0, max(counts) * 1.35)
        axes.set_xlabel("features")
        axes.set_title(sae)
        axes.legend(loc="lower right")
    return figure


def _explainers(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = panels_of(rows, ["sae", "scorer"], height=0.3, by="explainer", of=("explainer", "route"))
    for key, part, axes in panels:
        metric = part["metric"][0]
        for y, row in enumerate(part.iter_rows(named=True)):
            colour = GREY if row["is_control"] else COLOURS[0]
            axes.plot([row["p10"], row["p90"]], [y, y], color=colour, alpha=0.3, linewidth=5)
            face = "none" if row["is_control"] else colour
            axes.errorbar(
                row["mean"], y, xerr=reach_of(row), fmt="o", color=colour, markerfacecolor=face, capsize=2.5
            )
        names = [_with_features(row, labels) for row in part.iter_rows(named=True)]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        draw_chance(axes, metric)
        axes.set_xlabel(_words_of(metric))
        axes.set_title(", ".join(key))
    return figure


def _with_features(row: dict[str, Any], labels: Labels) -> str:
    """An explainer and a route, the number of features with a score, and the share explained unless it is all."""
    share = row["explained_share"]
    of = "" if share in (None, 1) else f"; {share:.0%} of {row['n_asked_features']} explained"
    return f"{labels.get(row['explainer'], row['explainer'])}, {row['route']} ({row['n_features']}{of})"


def _strata(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = panels_of(rows, ["sae", "scorer"], height=2.6)
    for key, part, axes in panels:
        for number, (name, own) in enumerate(parts_by(part, "explainer")):
            shift = (number - part["explainer"].n_unique() / 2) * 0.09
            look = look_of(name, labels, own["is_control"][0])
            for side in (own.filter(pl.col("stratum_order") < 0), own.filter(pl.col("stratum_order") > 0)):
                beside = side.with_columns(pl.col("stratum_order") + shift)
                draw_line(axes, beside, "stratum_order", "mean", look)
        axes.axvline(0, color=GREY, linewidth=0.8)
        kinds = ["random", "neighbour", "same token"]
        axes.set_xticks([*range(-3, 0), *range(1, 11)], [*kinds, *map(str, range(1, 11))], rotation=90)
        axes.set_xlim(-3.7, 10.7)
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel("share of right answers")
        axes.set_title(", ".join(key))
    draw_legend(figure)
    words = "silent windows by kind | activating windows by decile of their peak (10: strongest)"
    figure.supxlabel(words, fontsize=9)
    return figure


def _words_of(metric: str) -> str:
    return metric.replace("_", " ").replace("auroc", "AUROC")


def _pairs(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = panels_of(rows, ["sae", "scorer", "other_scorer"], height=2.6)
    for key, part, axes in panels:
        for name, own in parts_by(part, "explainer"):
            look = look_of(name, labels)
            axes.plot(own["value"].to_list(), own["other_value"].to_list(), look.marker, color=look.colour,
                      label=look.label, alpha=0.6, markersize=4, linestyle="none")  # fmt: skip
        r, low, high = (part[name][0] for name in ("correlation", "correlation_low", "correlation_high"))
        words = "too few for r" if r is None else f"r {r:.2f}"
        words += "" if low is None else f" ({low:.2f} to {high:.2f})"
        axes.set_title(f"{key[0]}\n{words}, {part.height} explanation{'s' if part.height != 1 else ''}")
        axes.set_xlabel(key[1])
        axes.set_ylabel(key[2])
    draw_legend(figure)
    return figure


def _distributions(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = panels_of(rows, ["sae", "scorer"], height=2.3)
    for key, part, axes in panels:
        for name, own in parts_by(part, "explainer"):
            look = look_of(name, labels, own["is_control"][0])
            style = ("--", ":")[look.number % 2] if look.is_control else "-"
            axes.ecdf(own["value"].sort().to_list(), color=look.colour, linestyle=style, label=look.label)
        draw_chance(axes, part["metric"][0])
        axes.set_xlabel(_words_of(part["metric"][0]))
        axes.set_ylabel("share of explanations")
        axes.set_title(", ".join(key))
    draw_legend(figure)
    return figure


def _neighbours(rows: pl.DataFrame, labels: Labels) -> "Figure":
    figure, panels = panels_of(rows, ["sae"], height=2.6)
    for (sae,), part, axes in panels:
        for name, own in parts_by(part, "explainer"):
            draw_line(axes, own, "rank", "mean", look_of(name, labels, own["is_control"][0]))
        axes.set_xlabel("rank of the neighbour (1: nearest)")
        axes.set_ylabel("share of right answers")
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(sae)
    draw_legend(figure)
    return figure


def _positional(rows: pl.DataFrame, _labels: Labels) -> "Figure":
    words = {"score": "our score, corrected and normalised", "information": "the post's: raw information (nats)"}
    figure, panels = panels_of(rows, ["measure"], height=2.4)
    for (measure,), part, axes in panels:
        draw_by_layer(axes, part, "share")
        axes.set_ylabel("share of features")
        axes.set_ylim(0, max([0.01, *(1.1 * share for share in part["share"].to_list())]))
        axes.set_title(words[measure])
    draw_legend(figure)
    return figure


def _independence(rows: pl.DataFrame, _labels: Labels) -> "Figure":
    figure, [(_, part, axes)] = panels_of(rows.with_columns(all=pl.lit("all")), ["all"], height=2.8)
    draw_by_layer(axes, part, "share_of_candidates")
    axes.set_ylabel("share of unigram candidates")
    axes.set_ylim(-0.03, 1.03)
    draw_legend(figure)
    return figure


def _costs(rows: pl.DataFrame, _labels: Labels) -> "Figure":
    rows = rows.filter(pl.col("prompt_tokens").is_not_null())
    figure, [(_, part, axes)] = panels_of(
        rows.with_columns(all=pl.lit("all")), ["all"], height=0.42, by="purpose", of=("purpose", "model")
    )
    rows_of_axis = range(part.height)
    for shift, name, colour in ((0.19, "prompt", COLOURS[0]), (-0.19, "completion", COLOURS[1])):
        tokens = part[f"{name}_tokens_a_feature"].to_list()
        words = "answers" if name == "completion" else "prompts"
        bars = axes.barh([row + shift for row in rows_of_axis], tokens, height=0.36, color=colour, label=words)
        axes.bar_label(bars, [f"{value:,.0f}" for value in tokens], padding=3)
    names = [f"{purpose}, {model}" for purpose, model in part.select("purpose", "model").iter_rows()]
    axes.set_yticks(rows_of_axis, names)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("tokens per feature")
    axes.margins(x=0.2)
    draw_legend(figure)
    return figure


FIGURES = (
    FigureOf(
        "report_routes",
        "Where the features went",
        "Every feature of an SAE has one route, the first that applies. Only selected features are explained.",
        "no feature has a route yet",
        _routes,
    ),
    FigureOf(
        "report_explainers",
        "Scores by explainer and sampling, with the controls",
        "A row is an explainer on the features of one route (their number in brackets). The dot is their mean "
        "with its interval (Student's; none under 3 features), the bar behind it the middle 80% of features. "
        "Features that an explainer failed to explain are left out; mean_failed_at_chance in the numbers counts "
        "them at chance. Controls are grey: an explanation that does not score above another feature's is worth "
        "nothing. The dotted line is chance.",
        "no explanation has a score yet",
        _explainers,
    ),
    FigureOf(
        "report_strata",
        "Right answers by decile of the activation, and by kind of silent window",
        "Means over features of all routes, each counting alike, with their intervals (none under 3 features). On "
        "the left are windows in which the "
        "feature is silent: random ones, those where a neighbour fires, and those with one of its own tokens. In "
        "the post, weak firings (decile 1) are harder than strong ones (10).",
        "no scorer has answered questions about windows by decile",
        _strata,
    ),
    FigureOf(
        "report_scorer_pairs",
        "Scorers against each other",
        "A dot is an explanation that both scorers judged (detection and fuzzing, for example, or simulation if "
        "it was run); r is Pearson's over features, with Fisher's interval. Controls are left out.",
        "no explanation was judged by two scorers yet",
        _pairs,
    ),
    FigureOf(
        "report_distributions",
        "Distribution of scores",
        "The share of explanations with a score up to each value; dashed grey: controls. A curve further to "
        "the right is better. Generation scores appear if the config names that scorer.",
        "no explanation has a score yet",
        _distributions,
    ),
    FigureOf(
        "report_neighbours",
        "Right answers about a feature's neighbours, by their distance",
        "How often the scorer is right that a feature is silent in a window of its neighbour, by the neighbour's "
        "rank. Means over features with their intervals.",
        "no answers by the scorer neighbours; add it to scoring.scorers in the config",
        _neighbours,
    ),
    FigureOf(
        "report_positional",
        "Positional features, at several thresholds",
        "Shares of all features with at least 100 firings. No feature is left out, so there is no interval.",
        "no feature has 100 firings",
        _positional,
    ),
    FigureOf(
        "report_independence",
        "Context-independent features, at several thresholds",
        "The share of unigram candidates that still fire in at least that share of texts of random tokens "
        "around one of their own, with its interval.",
        "no unigram candidate was verified among random tokens",
        _independence,
    ),
    FigureOf(
        "method_costs",
        "Tokens, time and price by method",
        "The mean per feature, over the requests behind its explanations and answers; other spending is in the "
        "run card. Time and price are in the numbers below; the price is per million features, at the prices when "
        "the answers were recorded (0 for models in this process).",
        "no model was asked, or none that reports tokens",
        _costs,
    ),
)
"""The figures in the order of the report."""
