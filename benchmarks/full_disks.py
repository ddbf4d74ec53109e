"""A whole run whose disk fills at random moments, restarted with more space until it finishes.

The lake and Dagster's history are on a tmpfs. At a random moment, its free space is cut to a small random number
of bytes. Each time, the run has to end with one sentence and no stack trace. In the end, the tables must equal
those of an undisturbed run, row for row, and no temporary files may remain. It needs root to mount the tmpfs.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import Figure, publish
from benchmarks.kills import REPOSITORY, tables_that_differ, write_config

FULL_DISKS = 20
_ROOMY = "512m"
_MOST_LEFT_BYTES = 200_000
"""Maximum space left on a disk that fills: a few of the tiny experiment's files."""
_SENTENCES = ("the disk is full", "cannot be written", "cannot be read or written", "free; put the lake on")
_TRACES = ("Traceback", "Stack Trace")


class Outcome(NamedTuple):
    """The outcome for one lake: the full disks, unclear messages, and what is not as it should be."""

    full: int
    unclear: list[str]
    differ: list[str]
    left_over: list[str]


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=FULL_DISKS, help="number of full disks")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("full_disks needs root to mount small disks: not measured")
        return
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_config(folder, "small")
        (folder / "quiet").mkdir()
        started = time.monotonic()
        process = _start(config, folder / "quiet")
        process.join()
        assert process.exitcode == 0, (folder / "quiet" / "log").read_text(encoding="utf-8")
        quiet_s = time.monotonic() - started
        while (left := given.times - sum(outcome.full for outcome in outcomes)) > 0:
            seed = len(outcomes)
            with _small_disk(folder / f"disk-{seed}") as disk:
                started = time.monotonic()
                outcomes.append(_run_until_done(config, folder / "quiet", disk, seed, left, quiet_s))
            if not outcomes[-1].full:  # it finished before that moment, because the machine is faster now
                quiet_s = min(quiet_s, time.monotonic() - started)
            print(outcomes[-1], flush=True)
    publish(
        "full_disks",
        [
            Figure(
                "full_disks",
                sum(outcome.full for outcome in outcomes),
                "times",
                given.times,
                "higher",
                note=f"at random moments of {len(outcomes)} runs of {quiet_s:.0f} s, which it ended",
            ),
            Figure("full_disks_without_a_sentence", sum(len(each.unclear) for each in outcomes), "times", 0),
            Figure("tables_that_differ", sum(len(each.differ) for each in outcomes), "tables", 0),
            Figure("temporary_files_left", sum(len(each.left_over) for each in outcomes), "files", 0),
        ],
    )


def _run_until_done(config: Path, quiet: Path, disk: Path, seed: int, most_full: int, quiet_s: float) -> Outcome:
    """One lake from start to finish, with full disks on the way, compared with the quiet one."""
    draw = random.Random(seed)
    log = disk.with_suffix(".log")
    full, n_lives = 0, 0
    unclear: list[str] = []
    while True:
        n_lives += 1
        assert n_lives < 5 * FULL_DISKS, "the run does not end"
        _resize(disk, _ROOMY)
        process = _start(config, disk, log)
        is_to_fill = full < most_full
        process.join(draw.uniform(0.2, quiet_s) if is_to_fill else None)
        if process.is_alive():
            left = draw.randrange(_MOST_LEFT_BYTES)
            _resize(disk, str(shutil.disk_usage(disk).used + left))
            process.join()
        said = log.read_text(encoding="utf-8", errors="replace")
        if process.exitcode == 0:
            break
        full += 1
        if not any(words in said for words in _SENTENCES) or any(words in said for words in _TRACES):
            unclear.append(f"seed {seed}, life {n_lives}: {said[-2000:]}")
    differ = tables_that_differ(quiet, disk)
    left_over = [str(path.relative_to(disk)) for path in disk.rglob(".tmp/*")]
    return Outcome(full, unclear, differ, left_over)


def _start(config: Path, home: Path, log: Path | None = None) -> Any:
    """Start a run in a separate process whose output goes to a file."""
    context: Any = multiprocessing.get_context("forkserver")
    # Processes forked from one that has imported everything start in milliseconds.
    preload = ["assets.run.experiment", "pipeline.preflight", "pipeline.explainers.write", "pipeline.pilot.write"]
    context.set_forkserver_preload(preload)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *sys.path])
    process = context.Process(target=_live, args=(str(config), str(home), str(log or home / "log")))
    process.start()
    return process


def _live(config: str, home: str, log: str) -> None:
    os.environ |= {"LATENTLAKE_LAKE": f"{home}/lake", "DAGSTER_HOME": f"{home}/dagster", "COLUMNS": "140"}
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from assets.command import main as run_command

    sys.argv = ["latentlake", "run", config]
    run_command()


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A resizable file system mounted in a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOMY}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _resize(disk: Path, size: str) -> None:
    """Resize a disk; it refuses a size below what it holds at that moment."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=False, capture_output=True)


if __name__ == "__main__":
    main()
