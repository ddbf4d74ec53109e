"""Pictures of a finished lake for the README and the docs: `python -m benchmarks.pictures [config/demo.yaml]`.

It writes PNG files to docs/pictures: the explorer's list, a feature's page and the run's page, the report, and the
graph in Dagster's UI, by groups and by tables. It needs Chromium (the variable LATENTLAKE_CHROMIUM names it, by
default `chromium`). Tables that exist are green in the graph if DAGSTER_HOME points at the history of the runs.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from benchmarks.chromium import Page, open_browser
from pipeline.config import Config, load_config
from pipeline.explore.app import create_app
from pipeline.explore.catalog import Catalog
from pipeline.explore.search import Search, features_page
from pipeline.show.report import REPORT_FILE, write_report
from pipeline.sources import recorded_lake
from pipeline.tables import TABLES

_SIZE = (1500, 1100)
_COLOURS = 128
"""Pages have few colours: this takes a third of the bytes without a visible difference."""
_STARTS_SECONDS = 120
_DRAWING_SECONDS = 60
"""Time for the UI to lay out the graph, and to find out which tables exist; on a busy machine 15 are too few."""
_DRAWN = """(() => {
  const {x, y, width, height} = [...document.querySelectorAll("svg")]
    .map(each => each.getBoundingClientRect()).sort((one, other) => other.width - one.width)[0];
  return [x, y, x + width, y + height].map(each => each * devicePixelRatio);
})()"""
"""The rectangle of the graph in Dagster's page, in device pixels: left, top, right, bottom."""


def main() -> None:
    """Write every picture, and print its size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", default="config/demo.yaml")
    parser.add_argument("--folder", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--only", choices=("explorer", "report", "graph"), help="default: all")
    given = parser.parse_args()
    config = load_config(given.config)
    given.folder.mkdir(parents=True, exist_ok=True)
    with open_browser() as page:
        if given.only in (None, "explorer"):
            take_explorer(config, page, given.folder)
        if given.only in (None, "report"):
            take_report(config, page, given.folder)
        if given.only in (None, "graph"):
            take_graph(given.config, page, given.folder)


def take_explorer(config: Config, page: Page, folder: Path) -> None:
    """The list, and the page of the feature on route `llm` with the best score."""
    with Catalog(config).reading() as reader:
        row = features_page(reader, Search(route="llm", explained=True, sort="score"), [])["rows"][0]
    feature = f"/features/{row['sae']}/{row['feature']}"
    pages = {"features": "/features?sort=score", "feature": feature, "run": "/run"}
    with serving(config) as address:
        for name, path in pages.items():
            page.look_like(*_SIZE)
            page.open(address + path)
            take(page, folder / f"{name}.png")


def take_report(config: Config, page: Page, folder: Path) -> None:
    """The top of the report, which is written if it does not exist."""
    path = config.lake_folder / "report" / REPORT_FILE
    if not path.is_file():
        write_report(recorded_lake(config))
    page.look_like(*_SIZE)
    page.open(path.absolute().as_uri())
    take(page, folder / "report.png")


def take_graph(config: str, page: Page, folder: Path) -> None:
    """The graph in Dagster's UI: the groups of tables and their inputs, then every table."""
    with serving_dagster(config) as address:
        page.look_like(1500, 640)
        page.open(f"{address}/asset-groups")
        time.sleep(_DRAWING_SECONDS)
        take(page, folder / "graph.png")
        groups = ",".join(sorted({f"global@global:{table.group}" for table in TABLES.values() if table.group}))
        page.evaluate("localStorage.setItem('asset-graph-direction', JSON.stringify('vertical'))")
        page.look_like(3000, 2400, scale=1.5)  # so that the names can be read
        page.open(f"{address}/asset-groups?expanded={groups},global@global:report")
        time.sleep(_DRAWING_SECONDS)
        take(page, folder / "tables.png", within=tuple(page.evaluate(_DRAWN)))


@contextmanager
def serving_dagster(config: str) -> Iterator[str]:
    """Serve Dagster's UI of an experiment on a free port; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        shutil.copy("assets/dagster.yaml", home)
        server = subprocess.Popen(
            [sys.executable, "-m", "dagster_webserver", "-m", "assets.definitions", "-p", str(port)],
            env={"DAGSTER_HOME": home} | os.environ | {"LATENTLAKE_CONFIG": config},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/server_info")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def take(page: Page, path: Path, within: tuple[float, float, float, float] | None = None) -> None:
    """Write a small PNG of the window, or of a part of it (left, top, right, bottom), and print its size."""
    page.picture(path)
    with Image.open(path) as picture:
        part = picture.crop(within) if within else picture
        part.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:,.0f} kB")


def _wait_for(address: str) -> None:
    """Wait until a server answers. Raises TimeoutError if it does not."""
    until = time.monotonic() + _STARTS_SECONDS
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{address} does not answer after {_STARTS_SECONDS} s")


@contextmanager
def serving(config: Config, token: str = "token") -> Iterator[str]:
    """Serve the explorer of an experiment on a free port; yields its address."""
    import uvicorn

    app = create_app(config, token)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
