"""A Ray cluster as `latentlake run --on` sees it, without one: addresses, what runs ask for, how many fit."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assets.command import run_command
from assets.run.ray import checked_address, connecting
from assets.run.ray.resources import Need, Node, room_for, what_a_run_needs
from pipeline.config import Config
from pipeline.errors import ConfigError, LakeError

HEAD, SMALL, LARGE, WITH_GPUS = Node(0, 0), Node(4, 0), Node(16, 0), Node(8, 4)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is found, whether it is here or not."""
    monkeypatch.setattr(connecting, "find_spec", lambda name: name)


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.usefixtures("installed")
def test_an_address_is_one_that_ray_takes_and_at_which_something_listens(port: int) -> None:
    for address in (f"ray://127.0.0.1:{port}", f"http://localhost:{port}", f"127.0.0.1:{port}", "auto"):
        assert checked_address(address) == address
    assert checked_address("ray://auto") == "auto"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("given", ["ray", "ray://head", "tcp://head:1", "ray://head:port", "head:1/x", ""])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=f"'{given}' is not a Ray cluster address; give ray://HOST:10001"):
        checked_address(given)


@pytest.mark.usefixtures("installed")
def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "_PATIENCE_SECONDS", 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"ray://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(LakeError, match=f"no Ray cluster answers at '{address}' .*Connection refused"):
            checked_address(address)
    with pytest.raises(LakeError, match="there cannot be a Ray cluster at"):
        checked_address(f"ray://127.0.0.1:{10**30}")


@pytest.mark.usefixtures("installed")
def test_a_head_that_is_just_starting_is_asked_again_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connecting, "_LOOK_AGAIN_SECONDS", 0.01)
    with socket.socket() as starting:
        starting.bind(("127.0.0.1", 0))
        threading.Timer(0.1, starting.listen).start()
        address = f"ray://127.0.0.1:{starting.getsockname()[1]}"
        assert checked_address(address) == address
    assert capsys.readouterr().err.count(f"the Ray cluster at '{address}' does not answer (") == 1


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs latentlake\[ray\]; install it here"):
        checked_address("auto")


def test_an_address_is_looked_at_before_anything_is_written(
    tmp_path: Path, make_experiment: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_experiment()
    assert run_command(["run", str(tmp_path / "tiny.yaml"), "--on", "nowhere"]) == 2
    assert "'nowhere' is not a Ray cluster address" in capsys.readouterr().err
    assert not config.lake_folder.exists()


def test_what_runs_the_subject_model_gets_a_gpu_if_there_is_one(make_experiment: Callable[..., Config]) -> None:
    config = make_experiment(machine={"device": "auto"})
    nodes = [HEAD, SMALL, WITH_GPUS]
    for job in ("corpus", "cache", "prepare"):  # they run the subject model
        assert what_a_run_needs(config, job, nodes) == Need(1, 1)
    assert what_a_run_needs(config, "cache", [HEAD, SMALL, LARGE]) == Need(4, 0)
    on_cpus = make_experiment(machine={"device": "cpu"})
    assert what_a_run_needs(on_cpus, "cache", nodes) == Need(4, 0)


def test_a_batch_asks_for_a_gpu_where_a_model_of_this_process_is_asked(
    make_experiment: Callable[..., Config],
) -> None:
    asked = {"provider": "oracle", "model": "oracle"}
    nodes, auto = [SMALL, WITH_GPUS], {"device": "auto"}
    by_oracle = make_experiment(machine=auto, explaining=asked, scoring=asked)
    by_a_model = make_experiment(machine=auto, explaining=asked)
    for job in ("pilot", "explain_and_score"):
        assert what_a_run_needs(by_oracle, job, nodes) == Need(1, 0)
        steering = make_experiment(machine=auto, explaining=asked, scoring={**asked, "scorers": ["intervention"]})
        assert what_a_run_needs(steering, job, nodes) == Need(1, 1)
        assert what_a_run_needs(by_a_model, job, nodes) == Need(1, 1)


def test_a_cluster_without_a_cpu_is_refused(make_experiment: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match="no node of the Ray cluster has a CPU"):
        what_a_run_needs(make_experiment(), "corpus", [HEAD])


@pytest.mark.parametrize(
    ("need", "nodes", "n"),
    [
        (Need(1, 0), [HEAD, SMALL, WITH_GPUS], 12),
        (Need(4, 0), [SMALL, LARGE, WITH_GPUS], 7),
        (Need(1, 1), [SMALL, WITH_GPUS, WITH_GPUS], 8),
        (Need(1, 1), [Node(2, 4)], 2),
        (Need(1, 1), [SMALL], 0),
    ],
)
def test_as_many_runs_are_sent_as_fit_on_the_nodes(need: Need, nodes: list[Node], n: int) -> None:
    assert room_for(need, nodes) == n
