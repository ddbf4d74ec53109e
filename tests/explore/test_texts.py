"""A reader's own text: which features fire on it."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from explored import client
from starlette.testclient import TestClient
from tiny import ANIMAL, STOP, open_lake
from waiting import loaded

from pipeline.config import Config
from pipeline.explore.texts import MOST_CHARACTERS, text_page
from pipeline.show.notebook import TextFirings

TEXT = " the red fox and the blue stop"


def read(browser: TestClient, **parameters: str) -> str:
    """The page of a text, once the model is there."""
    return loaded(browser, "/text", **parameters)


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
    assert f"/features/hand-set/{STOP}" in read(tiny, text=TEXT, token="9" * 5000)  # no token: all of them
    assert "&lt;b&gt;" in read(tiny, text="a <b>\x1b") and r"\x1b" in read(tiny, text="a <b>\x1b")
    page = tiny.get("/text", params={"text": "the stop " * 1000}).text
    assert len(page) < 200_000 and "the stop " * (MOST_CHARACTERS // 9 - 1) in page
    page = tiny.get("/text", params={"text": TEXT}, headers={"sec-fetch-site": "cross-site"}).text
    assert "press Read" in page and "data-value" not in page


def test_a_token_is_as_dark_as_its_share_of_the_maximum_in_the_corpus() -> None:
    rows = {"sae": ["a", "a", "a"], "feature": [3, 3, 4], "token_index": [0, 1, 1], "activation": [2.0, 4.0, 4.0]}
    found = TextFirings(["x", "y"], pl.DataFrame(rows))
    known = [{"feature": 3, "max_activation": 8.0}]
    page = text_page(SimpleNamespace(rows=lambda *_, **__: known), found, None)  # type: ignore[arg-type]
    levels = {row["feature"]: [piece.level for piece in row["pieces"]] for row in page["rows"]}
    assert levels == {3: [2, 5], 4: [0, 10]}  # nothing is known of feature 4: its strongest here is the darkest


def test_of_one_token_the_features_come_by_how_strongly_they_fire_there() -> None:
    rows = {"sae": ["a"] * 3, "feature": [3, 3, 4], "token_index": [0, 1, 1], "activation": [9.0, 1.0, 4.0]}
    found = TextFirings(["x", "y"], pl.DataFrame(rows))
    reader = SimpleNamespace(rows=lambda *_, **__: [])

    def shown(place: int | None) -> list[tuple[int, float]]:
        page = text_page(reader, found, place)  # type: ignore[arg-type]
        assert all(piece.level <= 10 for row in page["rows"] for piece in row["pieces"])
        return [(row["feature"], row["activation"]) for row in page["rows"]]

    assert shown(None) == [(3, 9.0), (4, 4.0)]
    assert shown(1) == [(4, 4.0), (3, 1.0)]


def test_a_text_waits_only_a_while_for_another(tiny: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    read(tiny, text=TEXT)
    monkeypatch.setattr("pipeline.explore.texts._WAIT_SECONDS", 0.1)
    began, go_on = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        began.set()
        go_on.wait(30)

    monkeypatch.setattr("pipeline.show.notebook.TextReader.read", slow)
    first = threading.Thread(target=lambda: tiny.get("/text", params={"text": TEXT}))
    first.start()
    assert began.wait(10)
    try:
        page = tiny.get("/text", params={"text": TEXT}).text
        assert "waiting for another text" in page and 'http-equiv="refresh"' in page and "Cancel" in page
    finally:
        go_on.set()
        first.join()


def test_a_text_of_spaces_is_none_and_comes_from_here(tiny: TestClient) -> None:
    page = tiny.get("/text", params={"text": "   "}).text
    assert "the text is blank" in page and "another site" not in page and "refresh" not in page


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the terminal has its trace
def test_a_fault_while_the_model_is_loaded_is_told_and_the_page_does_not_wait_for_ever(
    tiny: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.show.notebook.TextReader.__init__", lambda *_: {}["nothing"])
    page = read(tiny, text=TEXT)
    assert 'role="alert"' in page and "KeyError" in page and "refresh" not in page
    monkeypatch.undo()
    assert 'data-value="4.00"> stop' in read(tiny, text=TEXT)


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
