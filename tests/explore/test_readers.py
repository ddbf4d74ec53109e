"""Ratings: who may give one, where it is kept, and what is made of them."""

import json
import re

import pytest
from explored import TOKEN, client
from starlette.testclient import TestClient

from pipeline.config import Config
from pipeline.explore.readers import keep_rating
from pipeline.lake import Lake
from pipeline.tables.versions import SourceHashes

OWN = {"origin": "http://localhost:3001", "sec-fetch-site": "same-origin"}
NEXT = "/readers/next"


def enter(config: Config) -> TestClient:
    """A browser that has been given the token."""
    browser = client(config)
    answer = browser.get("/readers", params={"token": TOKEN})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    return browser


def shown(browser: TestClient, rater: str) -> str:
    """The explanation_id that a reader is shown."""
    [found] = re.findall(r'name="explanation_id" value="(\w+)"', browser.get(NEXT, params={"rater": rater}).text)
    return str(found)


def ratings(config: Config) -> list[dict[str, str]]:
    path = config.lake_folder / "readers" / "ratings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def given(shown_id: str, **changes: str) -> dict[str, str]:
    return {"rater": "Ada", "verdict": "too_broad", "explanation_id": shown_id} | changes


def test_a_rating_is_one_line_and_the_next_explanation_comes(config: Config) -> None:
    browser = enter(config)
    first = shown(browser, "Ada")
    answer = browser.post(NEXT, data=given(first), headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/readers/next?rater=Ada")
    [rating] = ratings(config)
    assert {name: rating[name] for name in ("explanation_id", "rater", "verdict", "is_blind")} == {
        "explanation_id": first, "rater": "Ada", "verdict": "too_broad", "is_blind": True,
    }
    assert shown(browser, "Ada") != first
    assert shown(browser, "Grace") == first  # all go through them in one order
    assert "Too broad" in browser.get("/readers").text


def test_a_reader_is_not_told_who_explained_what(config: Config) -> None:
    page = enter(config).get(NEXT, params={"rater": "Ada"}).text
    main = page[page.index("<main") :]
    for word in ("keywords", "rule", "default", "other_feature", "empty", "/features/", "0."):
        assert word not in re.sub(r'data-value="[^"]*"|<span class="unseen"> Fires on.*?</span></p>', "", main)
    assert "It fires here" in page and 'data-value="' in page


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8888"},
        {"origin": "https://localhost:3001"},
        {"origin": "http://localhost:3001", "sec-fetch-site": "same-site"},
        {"origin": "http://localhost:3001", "sec-fetch-site": "cross-site"},
    ],
)
def test_another_site_cannot_rate(config: Config, headers: dict[str, str]) -> None:
    browser = enter(config)
    assert browser.post(NEXT, data=given("a"), headers=headers).status_code == 403
    assert ratings(config) == []


@pytest.mark.parametrize("cookie", [None, "", "another token"])
def test_rating_needs_the_token(config: Config, cookie: str | None) -> None:
    browser = client(config)
    if cookie is not None:
        browser.cookies.set("latentlake_token", cookie)
    assert browser.post(NEXT, data=given("a"), headers=OWN).status_code == 403
    assert browser.get(NEXT, params={"rater": "Ada"}).headers["location"] == "/readers"
    assert browser.get("/readers", params={"token": "guessed"}).status_code == 403
    assert ratings(config) == []


@pytest.mark.parametrize(
    "changes", [{"verdict": "great"}, {"rater": " \n "}, {"explanation_id": "../x"}, {"verdict": ""}]
)
def test_a_rating_that_is_none_is_refused(config: Config, changes: dict[str, str]) -> None:
    assert enter(config).post(NEXT, data=given("a", **changes), headers=OWN).status_code == 400
    assert ratings(config) == []


def test_a_rating_of_no_explanation_of_the_lake_is_refused(config: Config) -> None:
    answer = enter(config).post(NEXT, data=given("deadbeef"), headers=OWN)
    assert answer.status_code == 400 and "no such explanation" in answer.text
    assert ratings(config) == []


def test_a_form_of_megabytes_is_refused(config: Config) -> None:
    answer = enter(config).post(NEXT, data=given("a", rater="x" * 1_000_000), headers=OWN)
    assert answer.status_code == 413


def test_nothing_else_can_be_posted_to(config: Config) -> None:
    browser = enter(config)
    for address in ("/features", "/sql", "/text", "/readers", "/run"):
        assert browser.post(address, headers=OWN).status_code == 405


def test_ratings_are_in_no_version_and_outlive_a_cleaning(config: Config) -> None:
    lake = Lake(config, SourceHashes("made", {"synthetic": "made"}, "float32"))
    before = lake.folder("scores", "synthetic")
    keep_rating(config.lake_folder, "a", "Ada", "fits")
    with (config.lake_folder / "readers" / "ratings.jsonl").open("a") as file:
        file.write('{"explanation_id": "torn')  # a write that was cut off
    keep_rating(config.lake_folder, "b", "Ada", "wrong")
    lake.clean()
    lake.refresh_catalog()
    with lake.connect() as connection:
        rows = connection.sql("select explanation_id, verdict from ratings order by rated_at").fetchall()
    assert rows == [("a", "fits"), ("b", "wrong")]
    assert lake.folder("scores", "synthetic") == before
