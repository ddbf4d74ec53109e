"""The pool of the steps that ask an LLM: its limit holds over processes, and a killed one gives its slot back."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import dagster as dg
import pytest
from waiting import until

from assets.graph.build import build_definitions
from assets.processes import PROCESS_TAG, end_dead_runs, process_tag, tag_own_run
from pipeline.config import load_config

ROOT = Path(__file__).parents[2]

ASKING = """
import os, sys, time
from pathlib import Path
import dagster as dg
from assets.processes import end_dead_runs, process_tag

@dg.asset(pool="llm")
def asking() -> None:
    inside = Path(os.environ["DAGSTER_HOME"], f"inside-{os.getpid()}")
    inside.touch()
    time.sleep(float(sys.argv[1]))
    inside.unlink()

with dg.DagsterInstance.get() as instance:
    end_dead_runs(instance)
    job = dg.Definitions(assets=[asking], executor=dg.in_process_executor).resolve_implicit_global_asset_job_def()
    sys.exit(not job.execute_in_process(instance=instance, tags=process_tag()).success)
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """DAGSTER_HOME as a run makes it."""
    shutil.copy(ROOT / "assets" / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get():
        pass  # two processes that make its tables at once would be in each other's way
    return tmp_path


def start(seconds):
    command = [sys.executable, "-c", textwrap.dedent(ASKING), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)


def test_the_assets_that_ask_an_llm_and_no_others_are_in_the_pool():
    definitions = build_definitions(load_config(ROOT / "config" / "demo.yaml"))
    asking = {asset.key.path[-1] for asset in definitions.assets if asset.op.pool}
    assert asking == {"explanations", "predictions", "scorer_rhos"}


@pytest.mark.whole
def test_a_second_run_gets_no_slot_beside_the_first_and_gets_it_when_that_was_killed(home):
    first = start(60)
    until(lambda: any(home.glob("inside-*")))
    with dg.DagsterInstance.get() as instance:
        slots = instance.event_log_storage
        assert not slots.claim_concurrency_slot("llm", "another run", "asking").is_claimed
        assert end_dead_runs(instance) == []
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert not slots.check_concurrency_claim("llm", "another run", "asking").is_claimed
        [ended] = end_dead_runs(instance)  # as `make run` does
        assert instance.get_run_by_id(ended).status == dg.DagsterRunStatus.FAILURE
        assert slots.claim_concurrency_slot("llm", "another run", "asking").is_claimed


def test_only_a_run_whose_process_is_gone_is_ended(home):
    """Whatever its host is called, and whatever its pid is there: so no other machine's run is taken for dead."""
    hold = "from assets.processes import process_tag; print(*process_tag().values(), flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    tags = {
        "this process": process_tag()[PROCESS_TAG],
        "another process": other.stdout.readline().strip(),
        "of another home": "0a1b.lock",
        "of a version before": f"{socket.gethostname()} 4194303 1.00",
    }
    with dg.DagsterInstance.get() as instance:

        @dg.job
        def nothing():
            pass

        runs = {
            name: instance.create_run_for_job(
                nothing, status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: tag}
            ).run_id
            for name, tag in tags.items()
        }
        for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.CANCELING):  # killed at once, or late
            run = instance.create_run_for_job(nothing, status=status, tags={PROCESS_TAG: tags["another process"]})
            runs[f"another process, {status}"] = run.run_id
        assert end_dead_runs(instance) == []
        other.kill()
        other.communicate()
        of_it = {run_id for name, run_id in runs.items() if name.startswith("another process")}
        assert {*end_dead_runs(instance)} == of_it
        assert [path.name for path in (home / "processes").iterdir()] == [tags["this process"]]


def test_a_slot_of_a_run_that_ended_without_giving_it_back_is_freed(home):
    """The daemon marks a killed run of the UI as failed, and leaves its slot."""
    with dg.DagsterInstance.get() as instance:

        @dg.job
        def nothing():
            pass

        run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
        tag_own_run(instance, run)
        assert instance.get_run_by_id(run.run_id).tags[PROCESS_TAG] == process_tag()[PROCESS_TAG]
        slots = instance.event_log_storage
        slots.initialize_concurrency_limit_to_default("llm")
        assert slots.claim_concurrency_slot("llm", run.run_id, "explanations").is_claimed
        instance.report_run_failed(run)
        assert not slots.claim_concurrency_slot("llm", "another run", "asking").is_claimed
        assert end_dead_runs(instance) == []
        assert slots.claim_concurrency_slot("llm", "another run", "asking").is_claimed
