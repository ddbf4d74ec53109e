"""`make site`: the explorer's pages of some features as plain files."""

from pathlib import Path

from pipeline.config import load_config
from pipeline.errors import LatentlakeError


def write_pages_of(path: str, out: str | None, where: str | None) -> Path:
    """Write the site of the config at `path`, print its size, and return its folder.

    Args:
        path: The config.
        out: The folder to write; by default `site` in the lake.
        where: A SQL condition that selects features; by default those with an explanation.

    Raises LatentlakeError without the `ui` extra.
    """
    config = load_config(path)
    try:
        from pipeline.explore.site import write_site
    except ModuleNotFoundError as error:
        raise LatentlakeError(f"a site needs '{error.name}'; install latentlake with its extra 'ui'") from None
    site = write_site(config, Path(out).absolute() if out else config.lake_folder / "site", where)
    size = f"{site.n_bytes / 1e6:,.1f} MB, {site.n_bytes / site.n_features / 1e3:,.0f} kB per feature"
    print(f"{site.n_features:,} features in {site.n_files:,} files ({size}): {site.folder}/index.html")
    return site.folder
