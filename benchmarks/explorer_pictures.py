"""Pictures of the explorer's pages on a finished lake, light and dark: `python -m benchmarks.explorer_pictures`.

It needs Chromium (the variable LATENTLAKE_CHROMIUM names it, `chromium` is tried) and writes PNG files.
"""

import argparse
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from pipeline.config import load_config
from pipeline.explore.app import create_app
from pipeline.explore.catalog import Catalog
from pipeline.explore.search import Search

_PORT = 3942
_SIZE = "1500,1100"


def main() -> None:
    """Write features.png and feature.png, and the same in dark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", default="config/demo.yaml")
    parser.add_argument("--folder", type=Path, default=Path("docs/pictures"))
    given = parser.parse_args()
    import uvicorn

    config = load_config(given.config)
    with Catalog(config).reading() as reader:
        best = Search(route="llm", explained=True, sort="score")
        row = reader.rows("found_features", **best.values())[0]
    server = uvicorn.Server(
        uvicorn.Config(create_app(config, "token"), host="127.0.0.1", port=_PORT, log_level="warning")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        given.folder.mkdir(parents=True, exist_ok=True)
        pages = {"features": "/features?sort=score", "feature": f"/features/{row['sae']}/{row['feature']}"}
        for name, address in pages.items():
            take(f"http://localhost:{_PORT}{address}", given.folder / f"{name}.png", is_dark=False)
            take(f"http://localhost:{_PORT}{address}", given.folder / f"{name}-dark.png", is_dark=True)
    finally:
        server.should_exit = True
        thread.join()


def take(address: str, path: Path, *, is_dark: bool) -> None:
    """Have Chromium write a picture of a page."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            os.environ.get("LATENTLAKE_CHROMIUM", "chromium"),
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            f"--user-data-dir={profile}",
            f"--window-size={_SIZE}",
            f"--screenshot={path.absolute()}",
            *(["--blink-settings=preferredColorScheme=0"] if is_dark else []),
            address,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    main()
