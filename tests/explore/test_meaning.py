"""Search by meaning: what is found first, and what is read how often."""

import re
from collections.abc import Sequence

import numpy as np
import pytest
from explored import N_FEATURES, TOKEN
from starlette.testclient import TestClient
from waiting import loaded

from pipeline.config import Config
from pipeline.explore.app import create_app


class LastToken:
    """Embeddings by which texts are alike whose last tokens have numbers near to each other."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def load(self, _config: Config) -> "LastToken":
        return self

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        angles = np.array([int((re.findall(r"\bt(\d+)", text) or ["0"])[-1]) for text in texts]) / 3000
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def search(config: Config, embedder: LastToken | None, query: str) -> str:
    """The list of a search, once the meanings are there."""
    app = create_app(config, TOKEN, embedder.load if embedder else None)
    browser = TestClient(app, base_url="http://localhost:3001")
    return loaded(browser, f"/features?by=meaning&{query}")


def similarities(page: str) -> list[float]:
    return [float(each) for each in re.findall(r"similarity (-?\d\.\d\d)", page)]


def test_the_nearest_comes_first_and_each_explanation_is_read_once(config: Config) -> None:
    embedder = LastToken()
    page = search(config, embedder, "words=t700&explainer=keywords")
    shown = [int(each.split("t")[-1]) for each in re.findall(r'<a class="explanation"[^>]*>([^<]*)</a>', page)]
    assert len(shown) == N_FEATURES and shown == sorted(shown, key=lambda number: abs(number - 700))
    assert similarities(page) == sorted(similarities(page), reverse=True) and "Nearest in meaning first" in page
    read = [text for text in embedder.texts if text not in {"", "t700"}]
    assert len(read) == len(set(read)) > 2 * N_FEATURES
    again = LastToken()
    assert similarities(search(config, again, "words=t700&explainer=keywords")) == similarities(page)
    assert set(again.texts) == {"", "t700"}  # what the lake keeps is not read again


def test_a_search_by_meaning_keeps_filters_and_order(config: Config) -> None:
    page = search(config, LastToken(), "words=t700&route=rule&sort=score")
    assert set(re.findall(r'<span class="route (\w+)">', page)) == {"rule"}
    scores = re.findall(r'<span class="number">(\d\.\d\d)</span>', page)
    assert scores == sorted(scores, reverse=True) and similarities(page)


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"model": "package:not_installed"}, "package &#39;not_installed&#39;"),
        ({"provider": "openai", "model": "of-a-server"}, "uses a server"),
    ],
)
def test_without_the_model_words_are_searched_and_it_is_said_why(
    config: Config, keys: dict[str, str], words: str
) -> None:
    own = config.scoring.embedding.model_copy(update=keys)
    bare = config.model_copy(update={"scoring": config.scoring.model_copy(update={"embedding": own})})
    app = create_app(bare, TOKEN)
    browser = TestClient(app, base_url="http://localhost:3001")
    page = browser.get("/features?words=t1").text
    assert words in page and 'name="by"' not in page
    answer = browser.get("/features?words=t1&by=meaning")
    assert 'role="alert"' in answer.text and answer.status_code == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the terminal has its trace
def test_a_fault_of_the_model_is_told_and_the_page_does_not_wait_for_ever(config: Config) -> None:
    class Faulty(LastToken):
        def __call__(self, texts: Sequence[str]) -> np.ndarray:
            raise KeyError(texts[0])

    assert "KeyError" in search(config, Faulty(), "words=t700")


@pytest.mark.embedded
def test_the_pinned_model_finds_like_words(config: Config) -> None:
    found = similarities(search(config, None, "words=the+token+t12"))
    assert len(found) == N_FEATURES and -1 <= min(found) < max(found) <= 1
