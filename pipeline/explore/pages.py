"""The templates, and how values from the lake are written into them.

Everything a template shows is escaped. Text from corpora, models and readers is untrusted: its control characters,
line ends and direction marks are shown as escapes. `{{ … }}` does both by default.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from pipeline.explore import charts
from pipeline.explore.links import ServerLinks
from pipeline.explore.search import Search
from pipeline.show.terminal import printable

FOLDER = Path(__file__).parent
STYLE = FOLDER / "style.css"
_NONE = "\N{EN DASH}"


class Pages:
    """The templates of one experiment's explorer.

    Args:
        experiment: Its name, shown on every page.
    """

    def __init__(self, experiment: str) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            finalize=_spelled,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "count": _count,
            "figure": _figure,
            "percent": _percent,
            "money": _money,
            "as_typed": _as_typed,
            "spelled": _marked_escapes,
            "whole_quotes": whole_quotes,
            "token": _marked_spaces,
        }
        self._environment.globals |= {
            "experiment": experiment,
            "charts": charts,
            "links": ServerLinks(f"{STYLE.stat().st_mtime_ns:x}"),
            "search_of": Search,
        }

    def page(self, name: str, misfits: Sequence[str], status: int = 200, **values: Any) -> HTMLResponse:
        """The page of a template."""
        return HTMLResponse(self.text(name, misfits, **values), status)

    def text(self, name: str, misfits: Sequence[str], **values: Any) -> str:
        """The text of a template's page.

        Args:
            name: The template's name.
            misfits: What the page says of each SAE it shows that does not fit its hookpoint (`Catalog.misfits`).
            values: What the template shows; `links` replaces the server's links.
        """
        return self._environment.get_template(f"{name}.html").render(misfits=misfits, **values)


def _spelled(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _marked_escapes(text: str) -> Markup:
    """A text whose escapes are in `<i>`, to distinguish them from the same characters in the text itself."""
    runs = groupby(text, str.isprintable)
    return Markup().join(
        escape("".join(run)) if prints else Markup("<i>{}</i>").format(printable("".join(run)))
        for prints, run in runs
    )


def _marked_spaces(token: str) -> Markup:
    """A token whose leading and trailing spaces are in `<i class="space">`: ' of' is not 'of'."""
    return Markup(re.sub(r"^ +| +$", r'<i class="space">\g<0></i>', str(_marked_escapes(token))))


def whole_quotes(text: str) -> Markup:
    """An explanation in whose quoted tokens no line breaks: a break at the space of ' of' would hide it."""
    parts = re.split(r"""(?<!\w)('[^']{1,24}'|"[^"]{1,24}")(?!\w)""", printable(text))
    return Markup().join(
        Markup('<span class="quote">{}</span>').format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _as_typed(text: str) -> Markup:
    """A text as it was typed or sent, with line ends and tabs; other control characters are shown as escapes."""
    return Markup("\n").join(escape("\t".join(map(printable, line.split("\t")))) for line in text.splitlines())


def _count(value: int | None) -> str:
    return _NONE if value is None else f"{value:,}"


def _figure(value: float | None, digits: int = 2) -> str:
    return _NONE if value is None else f"{value:,.{digits}f}"


def _percent(share: float | None) -> str:
    """A share in per cent with two significant digits, never in scientific notation."""
    if share is None:
        return _NONE
    if share == 0:
        return "0%"
    digits = 0
    while digits < 6 and abs(share) * 100 * 10**digits < 10:
        digits += 1
    return f"{100 * share:.{digits}f}%"


def _money(usd: float | None) -> str:
    if usd is None:
        return _NONE
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"
