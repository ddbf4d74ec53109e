"""What is no bug of ours ends a run with one sentence: a full disk, Ctrl-C, SIGTERM; and odd paths do no harm."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
from tiny import hand_set_entry, write_experiment

from pipeline.errors import LakeError, faults, sentence_of
from pipeline.firings.buckets import TOKEN, _mapped

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "assets" / "dagster.yaml", folder)
    return folder


def start(config: Path, home: Path) -> "subprocess.Popen[str]":
    """The command in a process of its own; its stdout and stderr are one."""
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONUNBUFFERED": "1", "COLUMNS": "140"}
    return subprocess.Popen(
        [sys.executable, "-m", "assets.command", "run", str(config)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(config: Path, home: Path) -> tuple[int, str]:
    process = start(config, home)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


# A full disk ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB, too small for the documents of the tiny experiment."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("a small disk can be made by root alone, where mounting is allowed")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.whole
def test_a_full_disk_is_one_sentence(tmp_path: Path, tiny_subject: Path, home: Path, small_disk: Path) -> None:
    path = write_experiment(
        tmp_path, subject={"model": str(tiny_subject)}, machine={"lake": str(small_disk / "lake")}
    )
    code, said = run(path, home)
    assert code in {1, 2}  # in a table, or before any
    assert "the disk is full" in said or " free; put the lake on a larger disk" in said
    assert "machine.lake or LATENTLAKE_LAKE" in said
    assert "Traceback" not in said


@pytest.mark.whole
def test_a_full_disk_below_dagsters_history_is_one_sentence(
    tmp_path: Path, tiny_subject: Path, home: Path, small_disk: Path
) -> None:
    shutil.copy(home / "dagster.yaml", small_disk)
    code, said = run(write_experiment(tmp_path, subject={"model": str(tiny_subject)}), small_disk)
    assert code == 2
    assert f"Dagster's history in '{small_disk}' cannot be read or written" in said and "DAGSTER_HOME" in said
    assert "Traceback" not in said


def test_a_mapped_file_takes_its_room_before_it_is_written(small_disk: Path) -> None:
    places = _mapped(small_disk / "few", 100, TOKEN)
    assert len(places) == 100 and not places["token_id"].any()
    with pytest.raises(OSError, match="No space left") as caught:
        _mapped(small_disk / "many", 100_000, TOKEN)
    assert "the disk is full" in (sentence_of(caught.value) or "")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/lake"), "cannot be read or written"),
        (duckdb.IOException("IO Error: Could not write file: No space left on device"), "the disk is full"),
        (duckdb.IOException("IO Error: Cannot open file: Input/output error"), "DuckDB: IO Error"),
        (OSError("IO Error: Could not write file: No space left on device"), "the disk is full"),
        (OSError(errno.EFBIG, "File too large", "/lake"), "cannot be read or written"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/lake"), "cannot be read or written"),
        (OSError(errno.ENOLCK, "No locks available"), "does not lock files"),
        (RuntimeError("Could not determine home directory."), "begins with ~"),
        (RuntimeError("Query interrupted"), "stopped"),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate"), "machine.memory_limit"),
        (RuntimeError("cannot cache function 'f': no locator available"), "NUMBA_CACHE_DIR"),
        (duckdb.InvalidInputException("No magic bytes found at end of file '/lake/a.parquet'"), "delete it"),
        (duckdb.IOException('IO Error: "catalog.duckdb" is not a valid DuckDB database file!'), "delete it"),
        (LakeError("a sentence"), "a sentence"),
    ],
)
def test_what_is_no_bug_has_a_sentence(error: Exception, words: str) -> None:
    assert isinstance(error, faults())
    sentence = sentence_of(error)
    assert sentence and words in sentence and "\n" not in sentence


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), duckdb.BinderException("no column"), OSError("x"), RuntimeError("x")]
)
def test_what_may_be_a_bug_has_none(error: Exception) -> None:
    assert sentence_of(error) is None


# Ctrl-C ---------------------------------------------------------------------------------------------------


@pytest.mark.whole
@pytest.mark.parametrize(
    ("number", "when"),
    [(signal.SIGINT, "prepare hand-set"), (signal.SIGTERM, "cache 00000")],
)
def test_a_run_that_is_stopped_says_so(
    tmp_path: Path, tiny_subject: Path, home: Path, number: signal.Signals, when: str
) -> None:
    path = write_experiment(tmp_path, subject={"model": str(tiny_subject)}, budget={"max_requests": 0})
    process = start(path, home)
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if when in line:
            break
    time.sleep(0.3)
    process.send_signal(number)
    said += process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert said.rstrip().endswith("stopped; run again to continue")
    assert "Traceback" not in said and "error:" not in said


COPIED = """
import os, signal, time
import dagster as dg

with dg.DagsterInstance.get() as instance, instance.compute_log_manager.capture_logs(["step"]):
    time.sleep(1)  # until the processes that copy have started
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.killpg(0, signal.SIGINT)
    print("at work", flush=True)
    time.sleep(1)
"""


def test_ctrl_c_in_a_terminal_shows_no_stack_trace_of_what_copies_the_output_of_a_step(home: Path) -> None:
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", COPIED],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    assert done.stdout == "at work\n"
    assert "Traceback" not in done.stderr
    assert (home / "storage" / "step.out").read_text(encoding="utf-8") == "at work\n"


FORGOTTEN = """
import os, signal
from assets.stopping import catch_signals, stops_noted

catch_signals()
try:
    with stops_noted():
        signal.signal({number}, lambda *_: None)  # as Dagster does
        os.kill(os.getpid(), {number})
        print("still at work")
    print("not stopped")
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_not_lost_where_another_handler_takes_it(number: signal.Signals) -> None:
    code = FORGOTTEN.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["still at work", "stopped"]


# Odd paths ------------------------------------------------------------------------------------------------


@pytest.mark.whole
def test_a_lake_in_a_folder_with_brackets_and_stars_works_and_is_named_whole(
    tmp_path: Path, tiny_subject: Path, home: Path, prepared: Path
) -> None:
    folder = tmp_path / "a [bold]b[/] *c"
    shutil.copytree(prepared / "lake", folder / "lake")
    sections: dict[str, Any] = {
        "subject": {"model": str(tiny_subject)},
        "saes": [hand_set_entry(prepared / "sae")],
        "corpus": {"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
        "budget": {"max_requests": 0},
    }
    code, said = run(write_experiment(folder, **sections), home)
    assert code == 0, said
    assert str(folder / "lake" / "tiny") in said.replace("\n", "")
    assert "activation_shards" not in said  # the tables of before are seen
    sections["corpus"]["sources"][0]["path"] = str(folder / "none")
    code, said = run(write_experiment(folder, **sections), home)
    assert (code, f"error: corpus source: no file at '{folder / 'none'}'" in said) == (2, True), said


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")],
    ids=["memory", "device"],
)
def test_too_little_memory_is_one_sentence_that_says_what_to_change(error: BaseException) -> None:
    assert isinstance(error, faults())
    assert "too little memory" in str(sentence_of(error)) and "smaller model" in str(sentence_of(error))
