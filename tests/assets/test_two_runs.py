"""Two runs at a time: on one partition one is refused in a sentence, on different ones they go on side by side."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import open_lake, write_experiment

from assets.command import run_command
from pipeline.config import load_config
from pipeline.errors import LakeError

ROOT = Path(__file__).parents[2]
WAITING = """
import sys
from pipeline.config import load_config
from pipeline.lake import Lake
from pipeline.tables.versions import SourceHashes

lake = Lake(load_config(sys.argv[1]), SourceHashes())
with lake.alone("summary", waits=True):
    print("alone", flush=True)
"""


@pytest.fixture
def experiment(tmp_path, tiny_subject):
    return write_experiment(tmp_path, subject={"model": str(tiny_subject)}, corpus={"shards": 2})


def start(*arguments: str, home: Path | None = None) -> "subprocess.Popen[str]":
    """A process with a Dagster history of its own; its stdout and stderr are one."""
    env = {"DAGSTER_HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def start_run(path: Path, nth: int, home: Path) -> "subprocess.Popen[str]":
    """`latentlake run` on one shard."""
    code = "from assets.command import main; main()"
    return start("-c", code, "run", str(path), "--job", "cache", "--nth", str(nth), home=home)


@pytest.mark.whole
def test_on_one_partition_one_is_refused_and_on_different_ones_both_go_on(experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    assert run_command(["run", str(experiment), "--job", "corpus"]) == 0
    lake = open_lake(load_config(experiment))
    with lake.alone("contexts", waits=False, shard=0):  # as a run that is making it
        same, other = (start_run(experiment, nth, tmp_path / f"dagster{nth}") for nth in (0, 1))
        said, _ = same.communicate()
        assert same.returncode == 1 and "Traceback" not in said
        assert f"another run is already making 'contexts shard 0' in '{lake.root}'; wait for it" in said
        said, _ = other.communicate()
        assert other.returncode == 0, said
    assert [lake.has("contexts", shard=shard) for shard in (0, 1)] == [False, True]
    pair = [start_run(experiment, 0, tmp_path / f"again{number}") for number in (0, 1)]
    outcomes = [(process.communicate()[0], process.returncode) for process in pair]
    assert 0 in {code for _, code in outcomes}
    assert all(code == 0 or "another run is already making '" in said for said, code in outcomes)
    assert lake.is_complete("activation_shards")


def test_a_table_over_all_partitions_is_waited_for(experiment):
    lake = open_lake(load_config(experiment))
    with lake.alone("summary", waits=True):
        second = start("-c", WAITING, str(experiment))
        assert second.stdout is not None
        assert "waiting for another run that is making 'summary'" in second.stdout.readline()
        time.sleep(0.1)
        assert second.poll() is None
    said, _ = second.communicate()
    assert (said, second.returncode) == ("alone\n", 0)


def test_a_killed_run_holds_nothing_and_another_partition_is_free(experiment):
    lake = open_lake(load_config(experiment))
    holding = WAITING.replace("print", "import time; print").replace("flush=True)", "flush=True); time.sleep(60)")
    first = start("-c", holding, str(experiment))
    assert first.stdout is not None and first.stdout.readline() == "alone\n"
    with pytest.raises(LakeError, match="run is already making 'summary'"), lake.alone("summary", waits=False):
        pass
    with lake.alone("contexts", waits=False, shard=0):
        pass
    first.kill()
    first.communicate()
    with lake.alone("summary", waits=False):
        pass
