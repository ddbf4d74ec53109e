"""The Dagster UI as a person has it: webserver and daemon, asked by GraphQL for a batch of features."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tiny import hand_set_entry, rows_of, write_experiment

from pipeline.config import load_config
from pipeline.lake import Lake
from pipeline.lake.sources import open_sources

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 240
"""On a busy machine; on a quiet one it is all done in a quarter of it."""

LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""


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
    """The address of the UI on the experiment, which `latentlake dev` opens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "assets" / "dagster.yaml", home)
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", "dev", "-m", "assets.definitions", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(home), "LATENTLAKE_CONFIG": str(experiment), "PYTHONPATH": str(ROOT)},
        stdout=(tmp_path / "ui.log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    yield f"http://127.0.0.1:{port}/graphql"
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        pass
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ask(url: str, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 (our own)
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        said = json.loads(answer.read())
    assert "errors" not in said, said
    found: dict[str, Any] = said["data"]
    return found


def when_up(url: str) -> list[str]:
    """The tables in the graph, once it is there."""
    for _ in range(PATIENCE_SECONDS):
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if nodes := ask(url, "{ assetNodes { assetKey { path } } }")["assetNodes"]:
                return [node["assetKey"]["path"][-1] for node in nodes]
        time.sleep(1)
    raise TimeoutError(f"no graph at {url}")


@pytest.mark.whole
def test_a_batch_that_is_launched_in_the_ui_is_run_by_the_daemon_and_its_rows_are_there(
    ui: str, experiment: Path
) -> None:
    assert {"documents", "activations", "explanations", "scores", "report"} <= {*when_up(ui)}
    [place] = ask(ui, "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }")[
        "repositoriesOrError"
    ]["nodes"]
    selector = {"repositoryName": place["name"], "repositoryLocationName": place["location"]["name"]}
    automations = ask(
        ui,
        "query ($of: RepositorySelector!) { repositoryOrError(repositorySelector: $of) { ... on Repository "
        "{ sensors { name sensorState { status } } schedules { name scheduleState { status } } } } }",
        of=selector,
    )["repositoryOrError"]
    states = {each["name"]: each["sensorState"]["status"] for each in automations["sensors"]}
    states |= {each["name"]: each["scheduleState"]["status"] for each in automations["schedules"]}
    assert states == {
        "new_documents": "STOPPED",
        "default_automation_condition_sensor": "STOPPED",
        "next_feature_batches": "STOPPED",
    }
    params = {
        "selector": {**selector, "jobName": "explain_and_score"},
        "mode": "default",
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "00000|hand-set"}]},
    }
    launched = ask(ui, LAUNCH, params=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    status = "QUEUED"
    for _ in range(PATIENCE_SECONDS):
        status = ask(ui, query, id=launched["run"]["runId"])["runOrError"]["status"]
        if status in {"SUCCESS", "FAILURE", "CANCELED"}:
            break
        time.sleep(1)
    assert status == "SUCCESS"
    config = load_config(experiment)
    lake = Lake(config, open_sources(config))
    scored = rows_of(lake, "select distinct explainer, scorer, generation from scores")
    assert {row["scorer"] for row in scored} >= {"detection", "fuzzing"}
    assert {row["generation"] for row in scored} == {0}
    assert rows_of(lake, "from summary")
