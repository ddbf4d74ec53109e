"""Ratings: who may give one, where it is kept, and what is made of them."""

import json
import re

import pyarrow.parquet as pq
import pytest
from explored import TOKEN, client
from starlette.testclient import TestClient

from pipeline.config import Config
from pipeline.explore.app import create_app
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


Shown = dict[str, str]
NOTHING = {"explanation_id": "a", "explanation_sha256": "b"}


def shown(browser: TestClient, rater: str) -> Shown:
    """The explanation that a reader is shown, by its id and the hash of its words."""
    page = browser.get(NEXT, params={"rater": rater}).text
    return dict(re.findall(r'type="hidden" name="(explanation_\w+)" value="(\w+)"', page))


def ratings(config: Config) -> list[dict[str, str]]:
    path = config.lake_folder / "readers" / "ratings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def given(explanation: Shown, **changes: str) -> dict[str, str]:
    return {"rater": "Ada", "verdict": "too_broad"} | explanation | changes


def test_a_rating_is_one_line_and_the_next_explanation_comes(config: Config) -> None:
    browser = enter(config)
    first = shown(browser, "Ada")
    answer = browser.post(NEXT, data=given(first), headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/readers/next?rater=Ada")
    [rating] = ratings(config)
    assert rating.pop("rated_at") and rating == given(first) | {"is_blind": True}
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
    assert browser.post(NEXT, data=given(NOTHING), headers=headers).status_code == 403
    assert ratings(config) == []


@pytest.mark.parametrize("cookie", [None, "", "another token"])
def test_rating_needs_the_token(config: Config, cookie: str | None) -> None:
    browser = client(config)
    if cookie is not None:
        browser.cookies.set("latentlake_token_3001", cookie)
    assert browser.post(NEXT, data=given(NOTHING), headers=OWN).status_code == 403
    assert browser.get(NEXT, params={"rater": "Ada"}).headers["location"] == "/readers"
    assert browser.get("/readers", params={"token": "guessed"}).status_code == 403
    assert ratings(config) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "great"},
        {"rater": " \n "},
        {"explanation_id": "../x"},
        {"verdict": ""},
        {"explanation_sha256": ""},
    ],
)
def test_a_rating_that_is_none_is_refused(config: Config, changes: dict[str, str]) -> None:
    assert enter(config).post(NEXT, data=given(NOTHING, **changes), headers=OWN).status_code == 400
    assert ratings(config) == []


def test_a_rating_of_no_explanation_of_the_lake_is_refused(config: Config) -> None:
    answer = enter(config).post(NEXT, data=given(NOTHING), headers=OWN)
    assert answer.status_code == 400 and "has changed or is gone" in answer.text
    assert ratings(config) == []


def test_a_verdict_on_words_that_were_made_anew_does_not_count_and_they_are_shown_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = enter(config)
    first = shown(browser, "Ada")
    assert browser.post(NEXT, data=given(first), headers=OWN).status_code == 303
    lake = Lake(config, SourceHashes("made", {"synthetic": "made"}, "float32"))
    for part in (*config.explaining.explainers, "controls"):
        path = lake.path("explanations", sae="synthetic", batch=0, part=part)
        rows = pq.read_table(path)
        words = [f"{words} anew" for words in rows["explanation"].to_pylist()]
        lake.write("explanations", rows.set_column(5, rows.schema.field("explanation"), [words]),
                   sae="synthetic", batch=0, part=part)  # fmt: skip
    lake.refresh_catalog()
    browser = enter(config)
    page = browser.get("/readers").text
    assert "1 rating is not counted, because the explanation has changed since" in page
    assert "Share that fits" not in page
    again = shown(browser, "Ada")
    assert again["explanation_id"] == first["explanation_id"] and again != first
    refused = browser.post(NEXT, data=given(first), headers=OWN)
    assert refused.status_code == 400 and "has changed or is gone" in refused.text
    assert browser.post(NEXT, data=given(again), headers=OWN).status_code == 303
    page = browser.get("/readers").text
    assert "has changed since" not in page and "Share that fits" in page


def test_ratings_from_before_the_words_were_kept_are_told_and_not_counted(config: Config) -> None:
    browser = enter(config)
    old = shown(browser, "Ada")["explanation_id"]
    line = {"explanation_id": old, "rater": "Ada", "verdict": "fits", "is_blind": True, "rated_at": "2026-01-01"}
    (config.lake_folder / "readers" / "ratings.jsonl").write_text(json.dumps(line) + "\n")
    browser = enter(config)
    assert "1 rating is not counted" in browser.get("/readers").text
    assert shown(browser, "Ada")["explanation_id"] == old


def test_two_explorers_of_one_machine_do_not_log_each_other_out(config: Config) -> None:
    jar = enter(config).cookies
    other = TestClient(create_app(config, "another"), base_url="http://localhost:3002", follow_redirects=False)
    for name, value in jar.items():
        other.cookies.set(name, value)  # a browser keeps one jar for all ports of a host
    assert other.get("/readers", params={"token": "another"}).status_code == 303
    assert {"latentlake_token_3001", "latentlake_token_3002"} == set(other.cookies.keys())
    assert "Your name" in other.get("/readers").text
    browser = client(config)
    for name, value in other.cookies.items():
        browser.cookies.set(name, value)
    assert "Your name" in browser.get("/readers").text


def test_a_form_of_megabytes_is_refused(config: Config) -> None:
    answer = enter(config).post(NEXT, data=given(NOTHING, rater="x" * 1_000_000), headers=OWN)
    assert answer.status_code == 413


def test_nothing_else_can_be_posted_to(config: Config) -> None:
    browser = enter(config)
    for address in ("/features", "/sql", "/text", "/readers", "/run"):
        assert browser.post(address, headers=OWN).status_code == 405


def test_ratings_are_in_no_version_and_outlive_a_cleaning(config: Config) -> None:
    lake = Lake(config, SourceHashes("made", {"synthetic": "made"}, "float32"))
    before = lake.folder("scores", "synthetic")
    keep_rating(config.lake_folder, "a", "a1", "Ada", "fits")
    with (config.lake_folder / "readers" / "ratings.jsonl").open("a") as file:
        file.write('{"explanation_id": "torn')  # a write that was cut off
    keep_rating(config.lake_folder, "b", "b1", "Ada", "wrong")
    lake.clean()
    lake.refresh_catalog()
    with lake.connect() as connection:
        rows = connection.sql("select explanation_id, verdict from ratings order by rated_at").fetchall()
    assert rows == [("a", "fits"), ("b", "wrong")]
    assert lake.folder("scores", "synthetic") == before
