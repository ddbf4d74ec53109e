"""Charts drawn by the server as SVG. Each has a text alternative; colours come from the style sheet."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from pipeline.explore.catalog import Row

_WIDTH, _HEIGHT = 120, 18
_BINS = 32


def interval(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    chance: float = 0.5,
    is_control: bool = False,
    beside: Sequence[Row] = (),
) -> Markup:
    """A score from 0 to 1 as a dot with its interval; chance as a dashed line, the controls' means as ticks.

    Values below 0, which correlations may have, are drawn at 0.
    """
    if value is None:
        return Markup()
    parts = [_line(0, _WIDTH, "axis"), _upright(_across(chance), "chance")]
    parts += [_upright(_across(row["mean"]), "control", 4) for row in beside]
    if low is not None and high is not None:
        parts.append(_line(_across(low), _across(high), "whisker"))
    kind = "dot hollow" if is_control else "dot"
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{}" r="4"/>')
    parts.append(dot.format(kind, _across(value), _HEIGHT / 2))
    words = f"{value:.2f}"
    words += f", between {low:.2f} and {high:.2f}" if low is not None and high is not None else ""
    words += "".join(f"; {row['explainer']} {row['mean']:.2f} on average" for row in beside)
    return _picture("interval", _WIDTH, _HEIGHT, words, parts)


def bar(share: float, words: str) -> Markup:
    """A share from 0 to 1 as a bar; `words` is empty where the number is printed beside it."""
    parts = [
        Markup('<rect class="track" width="100" height="8" rx="2"/>'),
        Markup('<rect class="bar" width="{:.1f}" height="8" rx="2"/>').format(100 * max(0.0, min(1.0, share))),
    ]
    return _picture("share", 100, 8, words, parts, stretches=True)


def bars(rows: Sequence[Row], words: str, *, is_of_activations: bool = False) -> Markup:
    """Counts by bin (0 to 31) as vertical bars; those of activations on a log scale, and shaded like tokens."""
    counts = {row["bin"]: row["n"] for row in rows}
    most = max(counts.values(), default=1)
    parts = []
    for number, n in counts.items():
        share = math.log1p(n) / math.log1p(most) if is_of_activations else n / most
        height = max(1.0, 72 * share)
        kind = f"bar a{1 + number * 10 // _BINS}" if is_of_activations else "bar"
        upright = Markup('<rect class="{}" x="{}" y="{:.1f}" width="8" height="{:.1f}"><title>{:,}</title></rect>')
        parts.append(upright.format(kind, number * 10, 72 - height, height, n))
    parts.append(Markup('<line class="axis" x1="0" x2="{0}" y1="72.5" y2="72.5"/>').format(_BINS * 10))
    return _picture("bars", _BINS * 10, 74, words, parts, stretches=True)


def _across(value: float) -> float:
    return _WIDTH * max(0.0, min(1.0, value))


def _line(start: float, end: float, kind: str) -> Markup:
    middle = _HEIGHT / 2
    line = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}"/>')
    return line.format(kind, start, end, y=middle)


def _upright(x: float, kind: str, inset: float = 1) -> Markup:
    return Markup('<line class="{}" x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}"/>').format(
        kind, inset, _HEIGHT - inset, x=x
    )


def _picture(
    kind: str, width: float, height: float, words: str, parts: Sequence[Markup], *, stretches: bool = False
) -> Markup:
    ratio = Markup(' preserveAspectRatio="none"') if stretches else Markup()
    alternative = Markup('role="img"{}><title>{}</title>').format(ratio, words)
    if not words:
        alternative = Markup('aria-hidden="true"{}>').format(ratio)
    return Markup('<svg class="{}" viewBox="0 0 {} {}" {}{}</svg>').format(
        kind, width, height, alternative, Markup().join(parts)
    )
