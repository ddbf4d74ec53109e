"""Where the pages are: at addresses of the server, or in files beside each other."""

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
        """A page by its name, or a file beside it."""
        return f"/{name}?{self.style_version}" if name == "style.css" else f"/{name}"

    def feature(self, sae: str, feature: int) -> str:
        """A feature's page; empty where there is none."""
        return f"/features/{sae}/{feature}"

    def request(self, sae: str, feature: int, request_id: str | None) -> str:
        """What a model was asked about a feature; empty where none was."""
        return f"/features/{sae}/{feature}/requests?{urlencode({'id': request_id})}" if request_id else ""

    def search(self, search: Search) -> str:
        """The list of what a search finds; empty where there is none."""
        return search.address()


@dataclass(frozen=True)
class SiteLinks:
    """The files of a site, as relative addresses; what is not among them has none.

    Attributes:
        written: The features that have a page, as (SAE, feature).
        up: From the page that links, the way to the site's folder: empty, or `../../`.
    """

    written: Set[tuple[str, int]]
    up: str
    is_site = True

    def page(self, name: str) -> str:
        """A page by its name, or a file beside it."""
        return self.up + {"features": "index.html", "run": "run.html"}.get(name, name)

    def feature(self, sae: str, feature: int) -> str:
        """A feature's page; empty where there is none."""
        return f"{self.up}features/{sae}/{feature}.html" if (sae, feature) in self.written else ""

    def request(self, sae: str, feature: int, request_id: str | None) -> str:
        """Empty: a site has no requests."""
        return ""

    def search(self, search: Search) -> str:
        """The list in one of its orders, or a page of it; empty for every other search."""
        if replace(search, sort="explained", page=1) != Search():
            return ""
        return self.up + list_file(search)


def list_file(search: Search) -> str:
    """The file of a page of the list in one of its orders."""
    order = "index" if search.sort == "explained" else search.sort
    return f"{order}.html" if search.page == 1 else f"{order}-{search.page}.html"
