"""The list of features: what its address asks for, and what is found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self
from urllib.parse import urlencode

from pipeline.explore.catalog import Reader, Row

PAGE_ROWS = 50

SORTS = {
    "explained": "Explained first, by number",
    "score": "Score, best first",
    "lowest_score": "Score, worst first",
    "density": "Density, densest first",
    "rarest": "Density, rarest first",
    "activation": "Largest activation first",
    "number": "Feature number",
}
_MOST_CHARACTERS = 200
_MOST_WORDS = 8


@dataclass(frozen=True)
class Search:
    """What is searched for. The names are those of the address's parameters; an empty one asks for nothing."""

    words: str = ""
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
        """The search that an address names; what cannot be read in it is left out."""
        texts = ("words", "token", "sae", "route", "explainer", "scorer")
        numbers = ("least_score", "most_score", "least_density", "most_density")
        given: dict[str, Any] = {name: parameters.get(name, "")[:_MOST_CHARACTERS] for name in texts}
        given |= {name: _number(parameters.get(name, "")) for name in numbers}
        sort, page = parameters.get("sort", "explained"), parameters.get("page", "1")
        return cls(
            **given,
            explained=parameters.get("explained") == "1",
            sort=sort if sort in SORTS else "explained",
            page=int(page) if page.isdecimal() and 0 < int(page) < 1_000_000 else 1,
        )

    @property
    def is_feature_number(self) -> bool:
        """Whether the words are a feature's number: who types one wants to go there."""
        return self.words.strip().isdecimal() and len(self.words.strip()) < 9

    @property
    def has_filters(self) -> bool:
        """Whether anything narrows the list."""
        return replace(self, sort="explained", page=1) != Search()

    @property
    def uses_more(self) -> bool:
        """Whether any of the less used filters is set."""
        ranges = (self.least_score, self.most_score, self.least_density, self.most_density)
        return any(value is not None for value in ranges) or bool(self.explainer or self.scorer)

    def address(self, **changes: Any) -> str:
        """The address of this search with some changes; what is as it is by default is left out."""
        changed, default = asdict(replace(self, **changes)), asdict(Search())
        parts = {name: value for name, value in changed.items() if value != default[name]}
        if "explained" in parts:
            parts["explained"] = 1
        return f"/features?{urlencode(parts)}" if parts else "/features"

    def values(self) -> dict[str, Any]:
        """The parameters of `found_features.sql`."""
        return {
            "words": self.words.lower().split()[:_MOST_WORDS],
            "token": self.token.strip(" ").lower() or None,
            "sae": self.sae or None,
            "route": self.route or None,
            "explainer": self.explainer or None,
            "scorer": self.scorer or None,
            "least_score": self.least_score,
            "most_score": self.most_score,
            "least_density": self.least_density,
            "most_density": self.most_density,
            "is_explained": self.explained,
            "sort": self.sort,
            "page_rows": PAGE_ROWS,
            "first_row": (self.page - 1) * PAGE_ROWS,
        }


def features_page(reader: Reader, search: Search, values: Sequence[Row]) -> dict[str, Any]:
    """What the list's template shows; `values` are those that can be filtered by (`filter_values.sql`)."""
    rows = reader.rows("found_features", **search.values())
    filters: dict[str, list[Row]] = {}
    for row in values:
        filters.setdefault(row["filter"], []).append(row)
    n_found = rows[0]["n_found"] if rows else 0
    return {
        "search": search,
        "rows": rows,
        "filters": filters,
        "sorts": SORTS,
        "n_found": n_found,
        "n_pages": -(-n_found // PAGE_ROWS),
        "first": (search.page - 1) * PAGE_ROWS + 1,
        "scorers": sorted({(row["scorer"], row["metric"]) for row in rows if row["value"] is not None}),
    }


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e30 else None
