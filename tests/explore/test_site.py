"""The site: files whose links lead to each other, and text that stays text."""

import re
from html import unescape
from pathlib import Path

import pytest
from explored import N_FEATURES

from benchmarks.explorer_lake import SAE
from pipeline.config import Config, load_config
from pipeline.errors import ConfigError
from pipeline.explore import search
from pipeline.explore import site as pages_of_site
from pipeline.explore.site import Site, write_site


@pytest.fixture(scope="module")
def site(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site of sixteen of the features, ten on a page of the list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "PAGE_ROWS", 10)
        patch.setattr(pages_of_site, "PAGE_ROWS", 10)
        config = load_config(made / "synthetic.yaml")
        return write_site(config, tmp_path_factory.mktemp("web") / "site", "feature < 16")


def pages(site: Site) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in site.folder.rglob("*.html")}


def test_every_link_leads_to_a_file_of_the_site(site: Site) -> None:
    assert site.n_features == 16 and (site.folder / "index-2.html").is_file()
    linked = set()
    for path, page in pages(site).items():
        for address in re.findall(r'\s(?:href|src|action)="([^"]*)"', page):
            file, _, part = unescape(address).partition("#")
            assert not re.match(r"/|\w+:|\?", file), (path, address)  # under any path of any host
            target = (path.parent / file).resolve() if file else path
            assert target.is_file() and target.is_relative_to(site.folder.resolve()), (path, address)
            assert not part or f'id="{part}"' in target.read_text(encoding="utf-8")
            linked.add(target)
    assert linked | {site.folder / "index.html"} == {
        path for path in site.folder.rglob("*") if path.is_file() and path.name != ".latentlake-site"
    }


def test_a_feature_is_as_the_server_shows_it_but_for_what_takes_one(site: Site) -> None:
    page = (site.folder / "features" / SAE / "8.html").read_text(encoding="utf-8")
    assert page.count('class="window"') > 15 and "other_feature 0.52 on average" in page
    assert "requests behind" not in page and "windows=all" not in page and "<form" not in page
    assert '<a href="../../features/synthetic/7.html">7</a>' in page  # a neighbour with a page
    assert "<span>18</span>" in page  # one without: 8 + 10 * 17 of 24 features
    assert len(pages(site)) == 16 + 2 * 2 + 1


def test_hostile_text_stays_text(site: Site) -> None:
    for page in pages(site).values():
        assert "<script" not in page and not re.search(r'<[a-z][^<>]*\s(?:style|on[a-z]+)="', page)
        assert "default-src 'none'; style-src 'self'" in page
        assert "\x1b" not in page and "\u202e" not in page


def test_a_site_replaces_a_site_and_nothing_else(config: Config, tmp_path: Path) -> None:
    folder = tmp_path / "web"
    assert write_site(config, folder, "route = 'dead'").n_features < N_FEATURES
    assert write_site(config, folder, "feature = 3").n_features == 1
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="already exists and is not a site"):
        write_site(config, tmp_path / "mine", "feature = 3")
    with pytest.raises(ConfigError, match="'colour = 1' is not valid"):
        write_site(config, folder, "colour = 1")
    with pytest.raises(ConfigError, match="no feature of"):
        write_site(config, folder, "feature < 0")
    assert (folder / "features" / SAE / "3.html").is_file()
