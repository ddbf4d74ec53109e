"""A site: the explorer's pages of some features as plain files, for any web host or to open from disk.

The pages use the server's templates, with relative links, a style sheet beside them and no script. Whatever needs
a server (search, the SQL box, a reader's own text, ratings) is left out, and so are the requests.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.explore.catalog import Catalog
from pipeline.explore.feature import feature_page
from pipeline.explore.links import SiteLinks, list_file
from pipeline.explore.pages import FOLDER, STYLE, Pages
from pipeline.explore.run import run_page
from pipeline.explore.search import PAGE_ROWS, Search, features_page
from pipeline.lake import whole_folder
from pipeline.progress import progress

_MARK = ".latentlake-site"
"""An empty file that marks a folder as a site, which the next one may replace."""

_ORDERS = ("explained", "score")
"""The orders in which the list of features is written."""


class Site(NamedTuple):
    """What was written: the folder, the number of features, and the number and bytes of its files."""

    folder: Path
    n_features: int
    n_files: int
    n_bytes: int


def write_site(config: Config, folder: Path, where: str | None = None) -> Site:
    """Write the pages of some features into a folder, in place of an earlier site.

    Args:
        config: The experiment.
        folder: The folder to write; created if it does not exist.
        where: A SQL condition on `feature_index` (sql/explore/feature_index.sql). By default the features that
            have an explanation or, if none has one, the selected ones.

    Raises ConfigError if the folder holds something else, or if the condition is invalid or matches no feature.
    """
    if folder.exists() and not (folder / _MARK).is_file():
        raise ConfigError(f"'{folder}' already exists and is not a site; choose another folder with OUT= (--out)")
    catalog = Catalog(config)
    written = _features(catalog, where)
    with whole_folder(folder) as temporary:
        for path, text in _pages(catalog, written):
            file = temporary / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        shutil.copy(STYLE, temporary)
        shutil.copy(FOLDER / "icon.svg", temporary)
        (temporary / _MARK).touch()
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Site(folder, len(written), len(sizes), sum(sizes))


def _features(catalog: Catalog, where: str | None) -> list[tuple[str, int]]:
    with catalog.reading() as reader:
        try:
            if where:
                found = reader.features_where(where)
            else:
                found = reader.features_where("explanation_id is not null") or [
                    (row["sae"], row["feature"]) for row in reader.rows("selected_of_site")
                ]
        except duckdb.Error as error:
            words = " ".join(str(error).partition("LINE")[0].split())
            raise ConfigError(f"the condition '{where}' is not valid: {words}") from None
    if not found:
        raise ConfigError(
            f"no feature of '{catalog.folder}' matches '{where}'"
            if where
            else f"no feature of '{catalog.folder}' is explained or selected yet; WHERE= (--where) chooses some"
        )
    return found


def _pages(catalog: Catalog, written: list[tuple[str, int]]) -> Iterator[tuple[str, str]]:
    """The path, relative to the folder, and the text of every page."""
    pages = Pages(catalog.config.name)
    top = SiteLinks(frozenset(written), "")
    yield "run.html", pages.text("run", catalog.misfits(), links=top, **run_page(catalog))
    n_pages = -(-len(written) // PAGE_ROWS)
    for search in (Search(sort=sort, page=page) for sort in _ORDERS for page in range(1, n_pages + 1)):
        with catalog.reading() as reader:
            reader.list_only(written)
            listed = features_page(reader, search, [])
        misfits = catalog.misfits({row["sae"] for row in listed["rows"]})
        yield list_file(search), pages.text("features", misfits, links=top, orders=_ORDERS, **_NO_SEARCH, **listed)
    links = SiteLinks(top.written, "../../")
    misfits_of = {sae: catalog.misfits([sae]) for sae in catalog.config.sae_names}
    with progress(len(written), "pages", "features") as bar:
        for number, (sae, feature) in enumerate(written):
            with catalog.reading() as reader:
                found = feature_page(reader, catalog.vocabulary(), sae, feature)
            assert found is not None  # a listed feature has statistics
            found["card"] |= {
                "previous_feature": _same_sae(sae, written[max(0, number - 1) : number]),
                "next_feature": _same_sae(sae, written[number + 1 : number + 2]),
            }
            text = pages.text("feature", misfits_of[sae], links=links, sae=sae, feature=feature, **found)
            yield f"features/{sae}/{feature}.html", text
            bar.update()


def _same_sae(sae: str, features: list[tuple[str, int]]) -> int | None:
    return next((feature for name, feature in features if name == sae), None)


_NO_SEARCH: dict[str, Any] = {"error": "", "is_loading": False, "no_meaning": ""}
