"""A whole run killed at random moments and restarted until it finishes: what is lost, incomplete or left over?

`latentlake run` with the oracle, from the corpus to the summary, runs in a separate process. SIGKILL goes to all
of its processes, or to one of them, at random moments: in the middle of the work, and sometimes during start-up.
In the end, the tables must equal those of an undisturbed run, row for row, except for the times and attempts of
requests.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
import yaml

import pipeline
from benchmarks.figures import Figure, publish, scale_parser
from pipeline.models.precision import fast_dtype

SCALES = ("small", "large")

REPOSITORY = Path(__file__).parent.parent
_KILLS = {"small": 10, "large": 100}
_MOST_SECONDS = {"small": 8.0, "large": 45.0}
"""Maximum working time before a kill: longer than the longest step, so that there is progress."""

_IN_START_UP = 0.15
_START_UP_SECONDS = 8.0
"""The share of lives killed during start-up, and within how many seconds."""

_LOOK_SECONDS = 0.1
_A_STEP = re.compile(rb"^(?:corpus|cache|prepare|pilot|explain_and_score)\b.*:", re.MULTILINE)
"""What a run prints when its work begins."""
_OF_THE_ATTEMPT = ("attempts", "duration_ms", "requested_at", "n_attempts")
"""Columns about the attempts at a request, not about its answer."""


class Moment(NamedTuple):
    """When a life ends: a number of seconds after its start, or after its work begins."""

    seconds: float
    in_start_up: bool
    spares_parent: bool


class Outcome(NamedTuple):
    """The outcome for one lake: its kills, runs that failed by themselves, and what is not as it should be."""

    kills: int
    failed: list[str]
    differ: list[str]
    left_over: list[str]


def main() -> None:
    """Measure and publish."""
    parser = scale_parser("kills", __doc__)
    parser.add_argument("--kills", type=int, default=None, help="number of kills; default: the scale's")
    words = "where lakes are kept, so that a stopped benchmark continues after its last complete run"
    parser.add_argument("--folder", type=Path, default=None, help=words)
    given = parser.parse_args()
    scale = given.scale
    kills = given.kills or _KILLS[scale]
    with tempfile.TemporaryDirectory() as name:
        folder = (given.folder or Path(name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "kept.json"
        if not kept.exists():
            started = time.monotonic()
            config = write_config(folder, scale)
            code = _live(config, folder / "quiet", None)
            assert code == 0, (folder / "quiet" / "log").read_text(encoding="utf-8")
            kept.write_text(json.dumps([str(config), time.monotonic() - started, []]), encoding="utf-8")
        config_path, quiet_s, found = json.loads(kept.read_text(encoding="utf-8"))
        outcomes = [Outcome(*each) for each in found]
        while (left := kills - sum(outcome.kills for outcome in outcomes)) > 0:
            seed = len(outcomes)
            outcomes.append(_run_with_kills(Path(config_path), folder, seed, left, _MOST_SECONDS[scale]))
            kept.write_text(json.dumps([config_path, quiet_s, outcomes]), encoding="utf-8")
            print(outcomes[-1], flush=True)
    done = sum(outcome.kills for outcome in outcomes)
    note = f"{len(outcomes)} runs of {quiet_s:.0f} s"
    publish(
        "kills",
        [
            Figure("graph_kills", done, "kills", kills, "higher", note=f"SIGKILL at random moments; {note}"),
            Figure("graph_tables_that_differ", sum(len(each.differ) for each in outcomes), "tables", 0),
            Figure("temporary_files_left", sum(len(each.left_over) for each in outcomes), "files", 0),
            Figure(
                "runs_that_failed",
                sum(len(each.failed) for each in outcomes),
                "runs",
                0,
                note="by themselves, with all of their processes alive",
            ),
        ],
        scale,
    )


def write_config(folder: Path, scale: str) -> Path:
    """The config: the demo's at scale large, a tiny subject model and SAE at small; an oracle answers in both."""
    asked = {"provider": "oracle", "model": "oracle"}
    scoring = {**asked, "scorers": ["detection", "fuzzing"], "n_questions": 20, "questions_per_prompt": 5}
    if scale == "small":
        sys.path.insert(0, str(REPOSITORY / "tests"))
        from tiny import write_experiment  # type: ignore[import-not-found]

        path: Path = write_experiment(folder, explaining=asked, scoring=scoring, corpus={"shards": 3})
        return path
    said: dict[str, Any] = yaml.safe_load((REPOSITORY / "config" / "demo.yaml").read_text(encoding="utf-8"))
    said["saes"][0]["source"] = str(REPOSITORY / said["saes"][0]["source"])
    explaining = {"explainers": ["rule", "keywords", "default"], "controls": 16, **asked}
    dtype = fast_dtype(torch.device("cpu"))  # of all lakes alike
    subject = {**said["subject"], "dtype": dtype}
    path = folder / "demo.yaml"
    content = {**said, "subject": subject, "explaining": explaining, "scoring": scoring}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _run_with_kills(config: Path, folder: Path, seed: int, most_kills: int, most_seconds: float) -> Outcome:
    """One lake from start to finish, killed on the way, compared with the quiet one."""
    draw = random.Random(seed)
    home = folder / "killed"
    shutil.rmtree(home, ignore_errors=True)
    kills, failed = 0, []
    while True:
        in_start_up = draw.random() < _IN_START_UP
        seconds = draw.uniform(0, _START_UP_SECONDS if in_start_up else most_seconds)
        spares_parent = draw.random() < 0.25
        moment = Moment(seconds, in_start_up, spares_parent) if kills < most_kills else None
        code = _live(config, home, moment)
        if code == 0:
            break
        if code is None:
            kills += 1
        else:
            failed.append(f"seed {seed}: ended with {code}")
            assert len(failed) < 5, (failed, (home / "log").read_text(encoding="utf-8")[-3000:])
    differ = tables_that_differ(folder / "quiet", home)
    left = [str(path.relative_to(home)) for path in home.rglob(".tmp/*")]
    shutil.rmtree(home)
    return Outcome(kills, failed, differ, left)


def _live(config: Path, home: Path, moment: Moment | None) -> int | None:
    """Run the experiment in `home`; returns its exit code, or None if it was killed at the given moment.

    If the parent is spared, one of its children is killed, if it has any, and it may run as long again.
    """
    home.mkdir(exist_ok=True)
    own = {"LATENTLAKE_LAKE": str(home / "lake"), "DAGSTER_HOME": str(home / "dagster")}
    code = "import sys; from assets.command import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "run", str(config)]
    with (home / "log").open("ab") as log:
        begins = log.tell()
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True
        )
        if moment and not moment.in_start_up:
            while process.poll() is None and not _A_STEP.search((home / "log").read_bytes()[begins:]):
                time.sleep(_LOOK_SECONDS)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(moment and moment.seconds)
        assert moment
        children = psutil.Process(process.pid).children(recursive=True)
        if moment.spares_parent and children:
            children[0].kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment.seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return None


def tables_that_differ(one: Path, two: Path) -> list[str]:
    """The names of the tables whose rows differ, in whatever order the rows are.

    `estimate` is left out, because it shows what was still to be sent when the last run began.
    """
    folders = [next((home / "lake").glob("*/catalog.duckdb")).parent for home in (one, two)]
    lakes = [pipeline.open_lake(folder) for folder in folders]
    views = "select view_name from duckdb_views() where not internal"
    names = [set(lake.sql(views)["view_name"]) for lake in lakes]
    differ = sorted(names[0] ^ names[1])
    for name in sorted((names[0] & names[1]) - {"estimate"}):
        columns = [each for each in lakes[0].sql(f"from {name} limit 0").columns if each not in _OF_THE_ATTEMPT]
        rows = f"select hash({', '.join(columns)}) as row_hash from {name}"
        query = f"select count(*), bit_xor(row_hash), sum(row_hash::hugeint) from ({rows})"
        if lakes[0].sql(query).rows() != lakes[1].sql(query).rows():
            differ.append(name)
    return differ


if __name__ == "__main__":
    main()
