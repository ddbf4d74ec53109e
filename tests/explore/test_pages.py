"""The pages: what they show, to whom, and what of it could be more than text."""

import re
import unicodedata
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow.parquet as pq
import pytest
from explored import N_FEATURES, TOKEN, client
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient

from benchmarks.explorer_lake import SAE, write_config
from pipeline.config import Config, load_config
from pipeline.explore import catalog
from pipeline.explore.app import create_app
from pipeline.explore.feature import reason_below
from pipeline.explore.pages import whole_quotes
from pipeline.explore.search import Search
from pipeline.lake import Lake, open_catalog
from pipeline.tables.versions import SourceHashes

PAGES = (
    "/features",
    "/features?words=t1",
    f"/features/{SAE}/8",
    f"/features/{SAE}/8?windows=all",
    f"/features/{SAE}/3",
    f"/features/{SAE}/8/requests",
    "/run",
    "/sql",
    "/readers",
    "/text",
)


def rows_of_list(page: str) -> list[int]:
    found = re.findall(rf'<th scope="row" class="n"><a href="/features/{SAE}/(\d+)">', page)
    return [int(number) for number in found]


@pytest.mark.parametrize("address", PAGES)
def test_every_page_is_whole_and_shows_hostile_text_as_text(browser: TestClient, address: str) -> None:
    answer = browser.get(address)
    assert answer.status_code == 200
    page = answer.text
    assert "<main" in page and page.rstrip().endswith("</html>")
    assert "<script" not in page and "</td></table>" not in page
    odd = {each for each in page if unicodedata.category(each) in {"Cc", "Cf", "Zl", "Zp"}} - {"\n"}
    assert odd == set()
    assert not re.search(r'<[a-z][^<>]*\s(?:style|on[a-z]+)="', page)  # an inline style or handler
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")


def test_what_is_hostile_is_spelled(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8?windows=all").text
    for spelled in (
        "&lt;script&gt;alert(1)",
        "&#34;onmouseover=",
        r"\x1b",
        r"\u202e",
        r"\u2066",
        r"\x00",
        r"\r\n",
        "&amp;amp;",
        r"\u200b",
        r"\x85\u2028",
    ):
        assert spelled in page


def test_texts_that_were_written_are_shaded_where_the_feature_fires_and_judged(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8").text
    written = page[page.index('<h2 id="written">') : page.index('<h2 id="changed">')]
    assert "3, from the explanation by default" in written
    fires, misses = written.split("Near misses: it should be silent")
    assert re.findall(r"</span> (right|wrong|repeated)</span>", fires) == ["right", "wrong", "repeated"]
    assert re.findall(r"</span> (right|wrong)</span>", misses) == ["wrong", "right", "right"]
    assert len(re.findall(r'class="t a\d+', written)) == 2  # one token of each of the two in which it fires
    assert "not read" in fires and "&#34;onmouseover=" in fires
    changed = page[page.index('<h2 id="changed">') : page.index("<aside")]
    assert [changed.count(each) for each in ("Raised by 40.0", "Set to 0", "<tr><td>")] == [1, 1, 6]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:3001", "localhost.evil.example", "10.0.0.1"])
def test_a_name_that_was_made_to_point_here_is_refused(browser: TestClient, host: str) -> None:
    assert browser.get("/features", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "localhost:3001", "127.0.0.1:3001"])
def test_this_machine_is_answered(browser: TestClient, host: str) -> None:
    assert browser.get("/features", headers={"host": host}).status_code == 200


def test_the_list_is_filtered_sorted_and_has_an_address_for_each_search(browser: TestClient) -> None:
    assert sorted(rows_of_list(browser.get("/features").text)) == list(range(N_FEATURES))
    by_model = rows_of_list(browser.get("/features?explainer=default").text)
    assert by_model == [0, 8, 16]
    scores = re.findall(r'<span class="number">(\d\.\d\d)</span>', browser.get("/features?sort=score").text)
    assert scores == sorted(scores, reverse=True) and len(set(scores)) > 3
    few = browser.get("/features?sort=score&least_score=0.8").text
    assert all(float(score) >= 0.8 for score in re.findall(r'<span class="number">(\d\.\d\d)</span>', few))
    assert 0 < len(rows_of_list(few)) < N_FEATURES
    routes = re.findall(r'<span class="route (\w+)">', browser.get("/features?route=dead").text)
    assert set(routes) == {"dead"}
    assert "No feature matches" in browser.get("/features?words=nowhere").text
    assert rows_of_list(browser.get("/features?words=SCRIPT%20t&explainer=rule").text) == list(range(N_FEATURES))


def test_a_token_is_found_as_it_is_clicked(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8").text
    [address] = re.findall(r'<a class="token" href="([^"]+)"><i class="space"> </i>t\d+', page)[:1]
    assert 8 in rows_of_list(browser.get(address.replace("&amp;", "&")).text)


def test_a_number_leads_to_its_feature(browser: TestClient) -> None:
    assert browser.get("/features?words=8").headers["location"] == f"/features/{SAE}/8"
    assert browser.get("/").headers["location"] == "/features"


@pytest.mark.parametrize(
    ("typed", "tokens"),
    [
        (" of ", ["of"]),
        ("·of", ["·of", "of"]),
        (r"\n·\t", [r"\n·\t", "\n·\t"]),
        (r"\xa0", [r"\xa0", "\xa0"]),
        (r"\d", [r"\d"]),
        (r"\ud800", [r"\ud800"]),
        ("·", ["·"]),
        ("  ", None),
    ],
)
def test_a_token_is_found_as_it_is_and_as_pages_show_it(typed: str, tokens: list[str] | None) -> None:
    assert Search(token=typed).values()["tokens"] == tokens


@pytest.mark.parametrize(
    "search",
    [
        Search(),
        Search(words="red & green", token='"', sort="score", page=3),
        Search(least_score=0.5, most_density=0.001, explained=True, route="llm", explainer="rule", scorer="x"),
    ],
)
def test_an_address_says_all_that_was_searched_for(search: Search) -> None:
    _, _, query = search.address().partition("?")
    assert Search.of(QueryParams(query)) == search


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=x",
        "least_score=nan",
        "sort=drop",
        "words=%00%ff",
        f"words={'9' * 400}",
        "least_density=1e999",
        "page=99999999999999999999",
    ],
)
def test_what_cannot_be_read_in_an_address_is_left_out(browser: TestClient, query: str) -> None:
    assert browser.get(f"/features?{query}").status_code == 200


def test_a_feature_shows_scores_beside_controls_and_what_was_said_of_each_window(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8?windows=all").text
    assert page.count("✓</span> right") > 10 and page.count("✗</span> wrong") > 3
    assert "○</span> unparsed" in page
    assert "other_feature 0.52 on average" in page
    assert 'href="/features/synthetic/7"' in page and 'href="/features/synthetic/9"' in page
    for caption in ("Strongest", "Decile 5", "Silent, at random", "Silent, with a token"):
        assert caption in page
    for title in re.findall(r'<svg class[^>]* role="img"[^>]*>(?!<title>\w)', page):
        raise AssertionError(f"a picture without a title: {title}")
    [other] = re.findall(r'href="(\?explanation=\w+[^"]*)">keywords', page)
    assert 'aria-current="true">keywords' in browser.get(f"/features/{SAE}/8{other}".replace("&amp;", "&")).text


def test_draws_that_were_not_chosen_are_folded_and_not_found(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8").text
    shown, _, folded = page.partition("1 more draw not chosen")
    assert "default, draw 1" in folded.partition("</details>")[0] and "0.80 on train documents, chosen" in shown
    assert "default, draw" not in shown
    assert rows_of_list(browser.get("/features?explainer=default").text) == [0, 8, 16]  # a row each, not two


def test_a_simulation_is_shown_by_its_correlations(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8").text
    assert "0.61" in page and "correlation, n 40" in page
    assert re.search(r'answer simulated"><i>r</i> <span class="number">0\.9\d</span>', page)
    assert 'answer simulated"><i>r</i> \N{EN DASH}' in page  # a silent window: its activations are all alike
    names = ("simulation", "detection")
    own, others = (page.split(f'<td data-label="{name}">')[1].split("</td>")[0] for name in names)
    assert 'class="chance" x1="0.0"' in own and 'class="chance" x1="60.0"' in others  # 0 by guessing, and a half


def test_the_strongest_windows_are_those_of_the_index(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8").text
    strongest = page.partition("<caption>Strongest")[2].partition("</table>")[0]
    assert re.findall(r'<td class="n">(\d+\.\d)', strongest)[0] == "60.0"  # drawn ones reach 54


def test_features_that_fire_along_are_links(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8").text
    assert 'href="/features/synthetic/7"' in page.partition('id="cofirings"')[2]  # 8 + 23 of 24 features


def test_a_feature_that_no_model_was_asked_about_has_windows_too(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/3").text
    assert page.count('class="window"') > 15 and 'data-value="' in page


def test_a_rule_that_stands_for_a_feature_is_not_repeated_in_the_reason_of_its_route() -> None:
    reason, rule = "it fires where the token is ' a': train F1 0.90", "the token is ' a'"
    assert reason_below(reason, rule, rule) == "it fires where this rule holds: train F1 0.90"
    assert reason_below(reason, "token", rule) == reason, "a model's word, which happens to stand in the reason"
    assert reason_below(reason, "", "") == reason_below(reason, "fires on articles", rule) == reason


def test_a_dead_feature_has_nothing_to_explain(config: Config) -> None:
    with open_catalog(config.lake_folder) as lake:
        firsts = "select route, min(feature) from feature_routes group by route"
        first = dict(lake.execute(firsts).fetchall())
    for path in (config.lake_folder / "explanations").glob("*/*/*"):
        path.unlink()
    browser = client(config)
    assert "there is nothing to explain" in browser.get(f"/features/{SAE}/{first['dead']}").text
    assert "a run explains those that the config selects" in browser.get(f"/features/{SAE}/{first['llm']}").text


def test_the_requests_of_a_feature_are_its_own(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8/requests").text
    assert "<dt>Prompt tokens</dt><dd>300</dd>" in page  # of two requests there is no count
    assert page.count('<details class="request">') == 3 and "8-0" in page and "16-0" not in page
    assert "$0.0003" in page and "come from 2 of them, for $0.0002" in page
    assert page.count("not used by what is shown now") == 1 and page.count("“yes”") == 3
    asked_for = ("default", "default, keywords, rule")
    assert [page.count(f'<span class="who">{who}</span>') for who in asked_for] == [1, 1]
    links = re.findall(r'href="(/features/[^"]+/requests\?id=[^"]+)"', browser.get(f"/features/{SAE}/8").text)
    asked = browser.get(links[0]).text
    assert asked.count('<details class="request"') == 1 and "8-1" in asked and "<dd>3</dd>" in asked
    assert "No such request" in browser.get(f"/features/{SAE}/8/requests?page=2").text
    assert "No request has been sent" in browser.get(f"/features/{SAE}/9/requests").text


def test_the_run_has_its_funnel_scores_cost_and_what_is_left(browser: TestClient) -> None:
    page = browser.get("/run").text
    for words in (
        *("Where the features went", "other feature", "for a million features", "✓ fits", "<th scope"),
        "A run makes 1 of each SAE",
    ):
        assert words in page
    assert "explain" in page and "$100.00" in page  # 0.0001 a request, one a feature
    assert "$200.00 for a million features" in page and "$300" not in page  # a third request is of no table
    assert "These are the 6 requests" in page and "In the lake's lifetime 9 were answered, for $0.0009" in page
    assert re.search(r"Spent<span.*?</dt><dd>\$0\.0009</dd>", page)


@pytest.mark.parametrize(
    "address",
    [
        f"/features/{SAE}/{'9' * 5000}",
        f"/features/{SAE}/{'9' * 5000}/requests",
        f"/features/{SAE}/999",
        "/features/none/1",
        "/nothing",
        "/features/x/y",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(browser: TestClient, address: str) -> None:
    answer = browser.get(address)
    assert answer.status_code == 404 and "Not found" in answer.text and "Traceback" not in answer.text


def test_an_address_of_no_feature_says_which_there_are(browser: TestClient) -> None:
    assert f"its features are 0 to {N_FEATURES - 1}" in browser.get(f"/features/{SAE}/999").text
    assert f"it has {SAE}" in browser.get("/features/none/1").text


def test_what_shades_and_hints_say_is_there_for_a_screen_reader(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8").text
    windows = re.findall(r'<p class="window".*?</p>', page, re.DOTALL)
    shaded = [window for window in windows if "data-value" in window]
    assert shaded and all(
        window.count("data-value") == window.partition('<span class="unseen"> Fires on')[2].count(",") + 1
        for window in shaded
        if "," not in re.sub(r"<[^>]+>", "", window.partition('<span class="unseen"> Fires on')[0])
    )
    assert 'tabindex="0" data-hint="Share of all tokens on which it fires"' in page and "<dt title" not in page


def test_without_a_lake_every_page_says_what_to_do(tmp_path: Path) -> None:
    browser = client(load_config(write_config(tmp_path, 8)))
    for address in ("/features", f"/features/{SAE}/1", "/run", "/readers"):
        answer = browser.get(address)
        assert answer.status_code == 503 and "make run" in answer.text and "<p>There is no lake at" in answer.text
    assert "make run" in browser.get("/sql?q=select+1").text


def test_a_lake_that_a_run_has_just_begun_says_what_is_not_there_yet(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, 8))
    Lake(config, SourceHashes()).refresh_catalog()
    browser = client(config)
    assert "No feature has statistics yet" in browser.get("/features").text
    assert "the run has not reached" in browser.get("/run").text
    assert browser.get(f"/features/{SAE}/1").status_code == 404
    assert "Nothing left to rate" in rating(browser).get("/readers/next?rater=Ada").text


def rating(browser: TestClient) -> TestClient:
    browser.get("/readers", params={"token": TOKEN})
    return browser


def test_what_a_run_writes_is_shown_without_a_restart(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_LOOK_SECONDS", 0.0)
    browser = client(config)
    assert "words of tomorrow" not in browser.get("/features").text
    lake = Lake(config, SourceHashes("made", {SAE: "made"}, "float32"))
    path = lake.path("explanations", sae=SAE, batch=0, part="keywords")
    rows = pq.read_table(path)
    changed = rows.set_column(5, rows.schema.field("explanation"), [["words of tomorrow"] * rows.num_rows])
    lake.write("explanations", changed, sae=SAE, batch=0, part="keywords")
    lake.refresh_catalog()
    for _ in range(200):
        if "words of tomorrow" in browser.get("/features?explainer=keywords").text:
            return
    raise AssertionError("the new explanations are not shown")


def test_pages_are_answered_while_tables_are_replaced(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_LOOK_SECONDS", 0.0)
    lake = Lake(config, SourceHashes("made", {SAE: "made"}, "float32"))
    rows = {name: pq.read_table(lake.path(name, sae=SAE, batch=0)) for name in ("scores", "examples")}
    stop = Event()
    failed: list[Any] = []

    def write() -> None:
        while not stop.is_set():
            for name, table in rows.items():
                lake.write(name, table, sae=SAE, batch=0)
            lake.refresh_catalog()

    writer = Thread(target=write)
    writer.start()
    try:
        browser = client(config)
        for number in range(12):
            answer = browser.get(("/features", f"/features/{SAE}/8", "/run")[number % 3])
            if answer.status_code != 200:
                failed.append(answer.text)
    finally:
        stop.set()
        writer.join()
    assert failed == []


def test_a_fault_of_ours_is_a_page_and_a_trace_in_the_terminal(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pipeline.explore.app.run_page", fails)
    with pytest.raises(ZeroDivisionError):
        client(config).get("/run")  # as the server hears of it
    app = create_app(config, TOKEN)
    answer = TestClient(app, base_url="http://localhost:3001", raise_server_exceptions=False).get("/run")
    assert answer.status_code == 500 and "a bug in latentlake" in answer.text and "Traceback" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_style_and_the_icon_come_from_here(browser: TestClient) -> None:
    page = browser.get("/features").text
    for address in re.findall(r'<link rel="\w+" href="([^"]+)"', page):
        assert address.startswith("/") and browser.get(address).status_code == 200
    assert "http" not in browser.get("/style.css").text


def test_no_line_breaks_within_a_quoted_token(browser: TestClient) -> None:
    page = browser.get(f"/features/{SAE}/8").text
    assert 'one of the tokens <span class="quote">&#34; t8&#34;</span>, <span' in page
    assert str(whole_quotes("it's ' <b>', he's")) == (
        'it&#39;s <span class="quote">&#39; &lt;b&gt;&#39;</span>, he&#39;s'
    )


def test_a_lake_that_is_removed_while_it_is_read_anew_ends_in_no_stack_trace(config: Config) -> None:
    read = catalog.Catalog(config)
    with read.reading():
        (config.lake_folder / catalog.CATALOG_FILE).unlink()
    read._make_beside((("a newer file", 1),))
    assert read.state == ()
