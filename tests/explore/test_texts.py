"""A reader's own text: which features fire on it."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from explored import client
from starlette.testclient import TestClient
from tiny import ANIMAL, STOP, open_lake

from pipeline.config import Config
from pipeline.explore.texts import MOST_CHARACTERS

TEXT = " the red fox and the blue stop"


def read(browser: TestClient, **parameters: str) -> str:
    """The page of a text, once the model is there."""
    for _ in range(600):
        page = browser.get("/text", params=parameters).text
        if "Loading the subject model" not in page:
            return page
        assert 'http-equiv="refresh"' in page
        time.sleep(0.1)
    raise AssertionError("the model is never there")


@pytest.fixture
def tiny(make_experiment: Callable[..., Config]) -> TestClient:
    config = make_experiment()
    open_lake(config).refresh_catalog()
    return client(config)


def test_features_and_their_tokens_are_shown(tiny: TestClient) -> None:
    page = read(tiny, text=TEXT)
    assert 'data-value="4.00"> stop' in page
    assert f"/features/hand-set/{STOP}" in page and f"/features/hand-set/{ANIMAL}" in page
    [token] = re.findall(r'<button class="t" name="token" value="(\d+)"[^>]*> fox</button>', page)
    page = read(tiny, text=TEXT, token=token)
    assert f"/features/hand-set/{ANIMAL}" in page and f"/features/hand-set/{STOP}" not in page
    assert "fewer than two tokens" in read(tiny, text="s")
    assert read(tiny, text=TEXT, token="99999999").count("<tr>") == 1  # the head alone
    assert "&lt;b&gt;" in read(tiny, text="a <b>\x1b") and r"\x1b" in read(tiny, text="a <b>\x1b")
    page = tiny.get("/text", params={"text": "the stop " * 1000}).text
    assert len(page) < 200_000 and "the stop " * (MOST_CHARACTERS // 9 - 1) in page
    page = tiny.get("/text", params={"text": TEXT}, headers={"sec-fetch-site": "cross-site"}).text
    assert "press Read" in page and "data-value" not in page


def test_a_model_that_cannot_be_loaded_is_told_and_tried_again(
    make_experiment: Callable[..., Config], tmp_path: Path
) -> None:
    config = make_experiment()
    open_lake(config).refresh_catalog()
    sae = tmp_path / "sae" / "cfg.json"
    kept = sae.read_text()
    sae.write_text("{")
    browser = client(config)
    assert 'role="alert"' in read(browser, text=TEXT)
    sae.write_text(kept)
    assert 'data-value="4.00"> stop' in read(browser, text=TEXT)
