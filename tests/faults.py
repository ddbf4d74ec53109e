"""A server at which everything goes wrong, and a pipeline that is killed again and again.

Every request has a right outcome (an answer, a refusal, a cut-off, an answer without logprobs) and faults that
come before it, both by a hash of what is asked. The pipeline runs in a process of its own and is killed with
SIGKILL while requests are in flight. What must hold in the end:

- the tables are those of a run in which nothing went wrong;
- what was in the ledger when a process was killed is never asked again;
- a process pays for a request once, so that what was paid twice was in flight when a process was killed.
"""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from llm.oracle import Oracle, Reply
from oracles import scorer
from runs import materialise_all
from tiny import hand_set_entry, open_lake, stored, write_experiment
from waiting import until

from assets.graph.build import build_definitions
from assets.run.steps import missing_steps
from pipeline.config import Config, load_config
from pipeline.lake import LEDGER_FOLDER
from pipeline.llm.oracle.judges import literal

SAE = "hand-set"
TABLES = ("explanations", "predictions", "scores", "score_details")
IN_FLIGHT = 8
TIMEOUT_SECONDS = 4.0
"""Longer than a busy machine takes for an answer: one that was given and came too late would be paid twice."""

TRANSIENT = (
    Reply(fault="status", status=429, retry_after="0.02"),
    Reply(fault="status", status=500),
    Reply(fault="status", status=503),
    Reply(fault="status", status=529),
    *[Reply(fault="drop"), Reply(fault="break_off")] * 3,
    Reply(fault="garble"),
    Reply(fault="not_an_object"),
    Reply(fault="error_inside"),
    Reply(fault="empty"),
)
SLOW = Reply(delay_seconds=TIMEOUT_SECONDS + 0.3)

Key = str


def key_of(record: dict[str, Any]) -> Key:
    """A request as the server and the ledger both know it."""
    return json.dumps(record["messages"])


@dataclass
class Faulty:
    """A brain that tells the truth in the end; `log` has (request, whether it was answered for good) in turn."""

    seed: int
    transient: bool = True
    log: list[tuple[Key, bool]] = field(default_factory=list)
    _attempts: dict[Key, int] = field(default_factory=dict)

    def __call__(self, body: dict[str, Any]) -> Reply:
        key = key_of(body)
        digest = hashlib.sha256(f"{self.seed} {key}".encode()).digest()
        attempt = self._attempts[key] = self._attempts.get(key, 0) + 1
        n_faults = digest[0] % 3 if self.transient else 0
        self.log.append((key, attempt > n_faults))
        if attempt > n_faults:
            return self._outcome(body, digest[1])
        if digest[2] % 32 == 0:
            return SLOW
        fault = TRANSIENT[digest[2 + attempt] % len(TRANSIENT)]
        # An empty text beside logprobs is an answer, and so is a second one.
        return TRANSIENT[0] if fault.fault == "empty" and ("logprobs" in body or attempt > 1) else fault

    def _outcome(self, body: dict[str, Any], number: int) -> Reply:
        said = scorer(literal)(body)
        assert isinstance(said, str)
        faults = {0: "refuse", 1: "truncate", 2: "no_logprobs"} if "logprobs" in body else {}
        return Reply(said, fault=faults.get(number % 12), delay_seconds=0.01)  # type: ignore[arg-type]


@dataclass
class Outcome:
    """What came of a run that was killed: kills, requests paid twice, attempts at the server, broken promises."""

    kills: int
    repeats: int
    requests: int
    attempts: int
    asked_although_recorded: int
    paid_twice_in_one_life: int
    tables_that_differ: list[str]


def prepare(folder: Path, subject: Path, **sections: Any) -> Path:
    """A folder with an experiment, with sections changed, whose data half is made."""
    config = load_config(write_experiment(folder, subject={"model": str(subject)}, **sections))
    definitions = build_definitions(config)
    with dg.DagsterInstance.ephemeral() as instance:
        for step in missing_steps(config):
            if step.job == "explain_and_score":
                break
            job = definitions.resolve_job_def(step.job)
            assert job.execute_in_process(instance=instance, partition_key=step.partition).success
    return folder


def finish(prepared: Path, folder: Path) -> Path:
    """The config of a copy of a prepared experiment, explained and scored by the oracle, with every table made."""
    shutil.copytree(prepared / "lake", folder / "lake")
    path = write_experiment(
        folder,
        subject={"model": load_config(prepared / "tiny.yaml").subject.model},
        saes=[hand_set_entry(prepared / "sae")],
        corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
        explaining={"provider": "oracle", "explainers": ["rule", "default"], "n_examples": 10},
        scoring={"provider": "oracle", "n_questions": 10},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        materialise_all(load_config(path), instance)
    return path


def run_with_kills(
    prepared: Path, folder: Path, *, seed: int, max_kills: int, every: int, n_questions: int = 10
) -> Outcome:
    """Explain and score with a faulty server, killed after up to `every` attempts of a process, and compare."""
    draw = random.Random(seed)
    quiet = Faulty(seed, transient=False)
    with Oracle(quiet) as oracle:
        path = _experiment(prepared, folder / "quiet", oracle.base_url, n_questions)
        process = _context().Process(target=_explain_and_score, args=(str(path),))
        process.start()
        process.join()
        assert process.exitcode == 0
    brain = Faulty(seed)
    kills, lives, recorded = 0, [], [set[Key]()]
    with Oracle(brain) as oracle:
        path = _experiment(prepared, folder / "killed", oracle.base_url, n_questions)
        while True:
            n_before = len(brain.log)
            process = _context().Process(target=_explain_and_score, args=(str(path),))
            process.start()
            if kills < max_kills and _amid(process, brain, n_before + draw.randint(1, every)):
                time.sleep(draw.random() * 0.02)
                process.kill()
                kills += 1
            process.join()
            until(lambda: not oracle.in_flight)  # what the dead have asked
            lives.append(brain.log[n_before:])
            if process.exitcode == 0:
                break
            assert process.exitcode == -9, f"the run ended by itself with {process.exitcode}"
            recorded.append(_recorded(load_config(path)))
    paid = [[key for key, is_paid in life if is_paid] for life in lives]
    all_paid = [key for life in paid for key in life]
    one, two = _tables(folder / "quiet"), _tables(folder / "killed")
    return Outcome(
        kills=kills,
        repeats=len(all_paid) - len(set(all_paid)),
        requests=len(set(all_paid)),
        attempts=len(brain.log),
        asked_although_recorded=sum(
            key in known for known, life in zip(recorded, lives, strict=True) for key, _ in life
        ),
        paid_twice_in_one_life=sum(len(life) - len(set(life)) for life in paid),
        tables_that_differ=[name for name in TABLES if not one[name].equals(two[name])],
    )


def _context() -> Any:
    """Processes start in milliseconds from one that has everything imported and has done nothing yet."""
    context = multiprocessing.get_context("forkserver")
    preload = ["faults", "pipeline.explainers", "pipeline.scorers", "pipeline.llm.server.client"]
    context.set_forkserver_preload(preload)
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # where that process finds them
    return context


def _explain_and_score(path: str) -> None:
    from pipeline.explainers.write import write_explanations
    from pipeline.llm.server import pacing
    from pipeline.make_table import make_table
    from pipeline.scorers.write import write_predictions

    pacing.FIRST_WAIT_SECONDS = 0.02  # the faults pass as fast
    lake = open_lake(load_config(path))
    if not lake.has("examples", sae=SAE, batch=0):
        make_table(lake, "examples", sae=SAE, batch=0)
        make_table(lake, "fuzzing_pairs", sae=SAE, batch=0)
    write_explanations(lake, SAE, 0)
    write_predictions(lake, SAE, 0)
    make_table(lake, "scores", sae=SAE, batch=0)
    make_table(lake, "score_details", sae=SAE, batch=0)


def _amid(process: Any, brain: Faulty, n_attempts: int) -> bool:
    """Wait until a process has made its attempts; False if it ended before."""
    until(lambda: len(brain.log) >= n_attempts or not process.is_alive(), every=0.002)
    return len(brain.log) >= n_attempts


def _experiment(
    prepared: Path, folder: Path, base_url: str, n_questions: int, endpoint: dict[str, Any] | None = None
) -> Path:
    """The config of an experiment on a copy of the prepared lake that asks at a URL."""
    given = load_config(prepared / "tiny.yaml")
    shutil.copytree(prepared / "lake", folder / "lake")
    endpoint = {
        **(endpoint or {}),
        "base_url": base_url,
        "max_concurrent": IN_FLIGHT,
        "timeout_seconds": TIMEOUT_SECONDS,
        "max_attempts": 12,
    }
    model = {"provider": "openai", "model": "oracle"}
    return write_experiment(
        folder,
        subject={"model": given.subject.model},
        saes=[sae.model_dump(exclude_none=True) for sae in given.saes],
        corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
        endpoints={"explainer": endpoint, "scorer": endpoint},
        explaining={**model, "n_examples": 20, "controls": 8},
        scoring={**model, "n_questions": n_questions, "questions_per_prompt": 1},
    )


def _recorded(config: Config) -> set[Key]:
    """The requests that have an answer in the ledger, read as any reader would: line by line."""
    keys = set()
    for path in (config.lake_folder / LEDGER_FOLDER).rglob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # torn by a kill
            if record["status"] != "http_error":
                keys.add(key_of(record))
    return keys


def _tables(folder: Path) -> dict[str, pl.DataFrame]:
    lake = open_lake(load_config(folder / "tiny.yaml"))
    return {name: stored(lake, name, sae=SAE, batch=0) for name in TABLES}
