"""The Dagster UI as a person has it: the webserver and its daemon, by GraphQL and in a browser."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny import hand_set_entry, rows_of, write_experiment
from waiting import end_group, until

from benchmarks.chromium import Page, open_browser
from pipeline.config import load_config
from pipeline.sources import recorded_lake

ROOT = Path(__file__).parents[2]
patiently = partial(until, seconds=240, every=0.5)
"""Waits on a busy machine; on a quiet one everything here is done in a quarter of it."""

PLACE = """
{ repositoriesOrError { ... on RepositoryConnection { nodes {
    name location { name } sensors { name sensorState { status } } schedules { name scheduleState { status } }
} } } }
"""
LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
} }
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status jobName } } } }"
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

CLICK = """(words, nth) => {
    const buttons = [...document.querySelectorAll("button")].filter(each => words.includes(each.innerText.trim()));
    if (!buttons[nth] || buttons[nth].disabled) return false;
    buttons[nth].click();
    return true;
}"""


@pytest.fixture
def experiment(prepared: Path, tiny_subject: Path, tmp_path: Path) -> Path:
    """The config of an experiment whose features wait to be explained, by the oracle."""
    shutil.copytree(prepared / "lake", tmp_path / "lake")
    return write_experiment(
        tmp_path,
        subject={"model": str(tiny_subject)},
        saes=[hand_set_entry(prepared / "sae")],
        corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
        explaining={"provider": "oracle", "n_examples": 10},
        scoring={"provider": "oracle", "n_questions": 10},
    )


@pytest.fixture
def ui(experiment: Path, tmp_path: Path) -> Iterator[str]:
    """The address of the UI on the experiment, once its graph is there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "assets" / "dagster.yaml", home)
    with (tmp_path / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "assets.command", "dev", str(experiment), "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "DAGSTER_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        patiently(lambda: is_up(url))
        yield url
    finally:
        end_group(process)


def ask(url: str, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/graphql", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        said = json.loads(answer.read())
    assert "errors" not in said, said
    found: dict[str, Any] = said["data"]
    return found


def is_up(url: str) -> bool:
    with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
        return bool(ask(url, "{ assetNodes { id } }")["assetNodes"])
    return False


def ended_run(url: str, job: str) -> dict[str, Any] | None:
    """The last run of a job, if it has ended."""
    runs = [run for run in ask(url, RUNS)["runsOrError"]["results"] if run["jobName"] == job]
    return runs[0] if runs and runs[0]["status"] in ENDED else None


def assert_is_scored(experiment: Path) -> list[dict[str, Any]]:
    """The rows of `scores`, which are there, and their summary."""
    config = load_config(experiment)
    lake = recorded_lake(config)
    scored = rows_of(lake, "from scores")
    assert {row["scorer"] for row in scored} >= {"detection", "fuzzing"}
    assert rows_of(lake, "from summary")
    return scored


def launch(url: str, job: str, partition: str) -> None:
    """Ask for a job on a partition, as the launchpad does, and wait until it has succeeded."""
    [place] = ask(url, PLACE)["repositoriesOrError"]["nodes"]
    params = {
        "selector": {
            "repositoryName": place["name"],
            "repositoryLocationName": place["location"]["name"],
            "jobName": job,
        },
        "mode": "default",
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
    }
    launched = ask(url, LAUNCH, params=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = patiently(lambda: ended_run(url, job))
    assert (run["runId"], run["status"]) == (launched["run"]["runId"], "SUCCESS")


@pytest.mark.whole
def test_a_batch_asked_for_by_graphql_is_run_and_its_rows_are_there(ui: str, experiment: Path) -> None:
    [place] = ask(ui, PLACE)["repositoriesOrError"]["nodes"]
    # By the location, Dagster remembers what is switched on: each experiment has its own.
    assert place["location"]["name"] == load_config(experiment).name
    states = {each["name"]: each["sensorState"]["status"] for each in place["sensors"]}
    states |= {each["name"]: each["scheduleState"]["status"] for each in place["schedules"]}
    assert states == dict.fromkeys(
        ("new_documents", "default_automation_condition_sensor", "next_feature_batches"), "STOPPED"
    )
    launch(ui, "pilot", "hand-set")
    launch(ui, "explain_and_score", "00000|hand-set")
    assert_is_scored(experiment)


@pytest.mark.browser
@pytest.mark.skipif(not os.environ.get("LATENTLAKE_CHROMIUM"), reason="LATENTLAKE_CHROMIUM names no Chromium")
def test_a_person_opens_the_graph_materialises_a_batch_watches_it_and_sees_its_rows(
    ui: str, experiment: Path
) -> None:
    launch(ui, "pilot", "hand-set")
    with open_browser() as page:
        page.look_like(1400, 1000)
        page.open(f"{ui}/asset-groups")
        for group in ("corpus", "cache", "prepare", "explain_and_score"):
            patiently(lambda group=group: group in text_of(page))
        page.open(f"{ui}/locations/{load_config(experiment).name}/jobs/explain_and_score")
        click(page, "Materialize all…")
        click(page, "Confirm")  # what this graph reads was made by another one
        while "1 partition" not in text_of(page):  # they can be chosen once they are loaded
            for dimension in range(2):
                click(page, "All", nth=dimension)
        click(page, "Launch run", "Launch 1 run", "Launch backfill")
        run = patiently(lambda: ended_run(ui, "explain_and_score"))
        assert run["status"] == "SUCCESS"
        page.open(f"{ui}/runs/{run['runId']}")
        patiently(lambda: "Success" in text_of(page))
        name = load_config(experiment).name
        page.open(f"{ui}/assets/{name}/scores?view=overview")
        n_rows = len(assert_is_scored(experiment))
        patiently(lambda: f"Row count\n{n_rows}\n" in text_of(page))


def text_of(page: Page) -> str:
    return str(page.evaluate("document.body.innerText"))


def click(page: Page, *words: str, nth: int = 0) -> None:
    """Click the button that says one of these words, once it is there and enabled."""
    patiently(lambda: page.evaluate(f"({CLICK})({json.dumps(words)}, {nth})"))
