"""The list of features: the search that its address encodes, and what it finds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self
from urllib.parse import urlencode

from pipeline.explore.catalog import Reader, Row
from pipeline.explore.meaning import NEAR_MEANINGS, Found

PAGE_ROWS = 50

_SORTS = {
    "explained": "Explained first, by number",
    "score": "Score, best first",
    "lowest_score": "Score, worst first",
    "density": "Density, densest first",
    "rarest": "Density, rarest first",
    "activation": "Largest activation first",
    "number": "Feature number",
}
WAYS = {"words": "words", "meaning": "meaning"}
"""How explanations are searched: for the words themselves, or for similar meaning."""

_MOST_CHARACTERS = 200
_MOST_WORDS = 8
_ESCAPE = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u(?!d[89a-f])[0-9a-f]{4})")
"""A control character as pages show it, such as `\\n`; half of a surrogate pair does not count."""


@dataclass(frozen=True)
class Search:
    """What is searched for. The names are those of the address's parameters; an empty one means no restriction."""

    words: str = ""
    by: str = "words"
    token: str = ""
    sae: str = ""
    route: str = ""
    explainer: str = ""
    scorer: str = ""
    least_score: float | None = None
    most_score: float | None = None
    least_density: float | None = None
    most_density: float | None = None
    explained: bool = False
    sort: str = "explained"
    page: int = 1

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> Self:
        """The search that an address encodes; parameters that cannot be read are ignored."""
        texts = ("words", "token", "sae", "route", "explainer", "scorer")
        numbers = ("least_score", "most_score", "least_density", "most_density")
        given: dict[str, Any] = {name: parameters.get(name, "")[:_MOST_CHARACTERS] for name in texts}
        given |= {name: _number(parameters.get(name, "")) for name in numbers}
        by = parameters.get("by", "words")
        sort = parameters.get("sort", "explained")
        return cls(
            **given,
            by=by if by in WAYS else "words",
            explained=parameters.get("explained") == "1",
            sort=sort if sort in _SORTS else "explained",
            page=page_number(parameters.get("page", "")),
        )

    @property
    def is_feature_number(self) -> bool:
        """Whether the words are a feature's number: somebody who types one wants that feature's page."""
        return self.by == "words" and self.words.strip().isdecimal() and len(self.words.strip()) < 9

    @property
    def is_by_meaning(self) -> bool:
        """Whether explanations are searched by meaning."""
        return self.by == "meaning" and bool(self.words.strip())

    @property
    def has_filters(self) -> bool:
        """Whether anything restricts the list."""
        return replace(self, by="words", sort="explained", page=1) != Search()

    @property
    def uses_more(self) -> bool:
        """Whether any of the less used filters is set; they are folded otherwise."""
        ranges = (self.least_score, self.most_score, self.least_density, self.most_density)
        return any(value is not None for value in ranges) or bool(self.explainer or self.scorer)

    def but(self, **changes: Any) -> Self:
        """This search with some changes."""
        return replace(self, **changes)

    def address(self) -> str:
        """The address of this search, without parameters that have their default value."""
        changed, default = asdict(self), asdict(Search())
        parts = {name: value for name, value in changed.items() if value != default[name]}
        if "explained" in parts:
            parts["explained"] = 1
        return f"/features?{urlencode(parts)}" if parts else "/features"

    def values(self) -> dict[str, Any]:
        """The parameters of `found_features.sql`."""
        return {
            "words": [] if self.is_by_meaning else self.words.lower().split()[:_MOST_WORDS],
            "is_by_meaning": self.is_by_meaning,
            "tokens": _spellings(self.token),
            "sae": self.sae or None,
            "route": self.route or None,
            "explainer": self.explainer or None,
            "scorer": self.scorer or None,
            "least_score": self.least_score,
            "most_score": self.most_score,
            "least_density": self.least_density,
            "most_density": self.most_density,
            "is_explained": self.explained,
            "sort": "meaning" if self.is_by_meaning and self.sort == "explained" else self.sort,
            "page_rows": PAGE_ROWS,
            "first_row": (self.page - 1) * PAGE_ROWS,
        }


def _spellings(token: str) -> list[str] | None:
    """What a typed token may mean, literally or as pages show it (`\\n`, `·of`); None if nothing was typed."""
    plain = token.lower().strip(" ")
    bare = plain.strip(" ·")
    read = _ESCAPE.sub(lambda found: found[0].encode("ascii").decode("unicode_escape"), bare)
    return list(dict.fromkeys(each for each in (plain, bare, read) if each)) or None


def features_page(
    reader: Reader, search: Search, values: Sequence[Row], found: Found | None = None
) -> dict[str, Any]:
    """What the list's template shows.

    Args:
        reader: Queries the lake.
        search: What is searched for.
        values: The values that can be filtered by (`filter_values.sql`).
        found: The explanations nearest in meaning, for a search by meaning; None while they are not known yet.
    """
    reader.give("near_meanings", found.near if found else NEAR_MEANINGS.empty_table())
    rows = reader.rows("found_features", **search.values())
    filters: dict[str, list[Row]] = {}
    for row in values:
        filters.setdefault(row["filter"], []).append(row)
    n_found = rows[0]["n_found"] if rows else 0
    return {
        "search": search,
        "rows": rows,
        "filters": filters,
        "sorts": _SORTS | ({"explained": "Nearest in meaning first"} if search.is_by_meaning else {}),
        "ways": WAYS,
        "read": found,
        "n_found": n_found,
        "n_saes": reader.n_saes,
        "n_pages": -(-n_found // PAGE_ROWS),
        "first": (search.page - 1) * PAGE_ROWS + 1,
        "scorers": sorted({(row["scorer"], row["metric"]) for row in rows if row["value"] is not None}),
    }


def page_number(text: str) -> int:
    """The page of a list that an address names, from 1; the first page if it names none."""
    return int(text) if text.isdecimal() and len(text) < 7 and int(text) > 0 else 1


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e30 else None
