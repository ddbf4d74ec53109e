"""Links between pages: to addresses of the server, or to files of a site."""

from collections.abc import Set
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from pipeline.explore.search import Search


@dataclass(frozen=True)
class ServerLinks:
    """The server's addresses."""

    style_version: str
    is_site = False

    def page(self, name: str) -> str:
        """A page or a static file, by its name."""
        return f"/{name}?{self.style_version}" if name == "style.css" else f"/{name}"

    def feature(self, sae: str, feature: int) -> str:
        """A feature's page; empty if there is none."""
        return f"/features/{sae}/{feature}"

    def request(self, sae: str, feature: int, request_id: str | None) -> str:
        """A request about a feature; empty if no model was asked."""
        return f"/features/{sae}/{feature}/requests?{urlencode({'id': request_id})}" if request_id else ""

    def search(self, search: Search) -> str:
        """The list of features that a search finds; empty if there is none."""
        return search.address()


@dataclass(frozen=True)
class SiteLinks:
    """Relative links between the files of a site; empty for what is not in it.

    Attributes:
        written: The features that have a page, as (SAE, feature).
        up: The path from the linking page to the site's folder: empty, or `../../`.
    """

    written: Set[tuple[str, int]]
    up: str
    is_site = True

    def page(self, name: str) -> str:
        """A page or a static file, by its name."""
        return self.up + {"features": "index.html", "run": "run.html"}.get(name, name)

    def feature(self, sae: str, feature: int) -> str:
        """A feature's page; empty if there is none."""
        return f"{self.up}features/{sae}/{feature}.html" if (sae, feature) in self.written else ""

    def request(self, sae: str, feature: int, request_id: str | None) -> str:
        """Always empty: a site has no requests."""
        return ""

    def search(self, search: Search) -> str:
        """A page of the unfiltered list in one of its orders; empty for every other search."""
        if replace(search, sort="explained", page=1) != Search():
            return ""
        return self.up + list_file(search)


def list_file(search: Search) -> str:
    """The file name of a page of the list in one of its orders."""
    order = "index" if search.sort == "explained" else search.sort
    return f"{order}.html" if search.page == 1 else f"{order}-{search.page}.html"
