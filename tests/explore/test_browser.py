"""Hostile text in a real browser: nothing of it runs. `LATENTLAKE_CHROMIUM` names a Chromium."""

import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from explored import TOKEN

from benchmarks.explorer_lake import SAE
from pipeline.config import load_config
from pipeline.explore.app import create_app

CHROMIUM = os.environ.get("LATENTLAKE_CHROMIUM")
PORT = 3917

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="LATENTLAKE_CHROMIUM names no Chromium"),
]


@pytest.fixture(scope="module")
def served(made: Path) -> str:
    server = uvicorn.Server(
        uvicorn.Config(create_app(load_config(made / "synthetic.yaml"), TOKEN), port=PORT, log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://localhost:{PORT}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("address", ["/features", f"/features/{SAE}/8?windows=all", f"/features/{SAE}/8/requests"])
def test_nothing_of_a_hostile_corpus_becomes_part_of_a_page(served: str, address: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
            "--enable-logging=stderr", "--dump-dom", served + address,
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )
    page = done.stdout
    assert "</main>" in page
    assert "<script" not in page and not re.search(r"<[a-z][^<>]*\sonmouseover=", page)
    assert "Content Security Policy" not in done.stderr  # the page itself asks for nothing that is refused
