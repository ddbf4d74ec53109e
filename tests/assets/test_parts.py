"""One experiment made by many workers: each runs `latentlake run CONFIG --job JOB --nth N`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import open_lake, rows_of, write_experiment

from assets.command import run_command
from assets.graph import declare
from assets.run.experiment import missing_steps
from pipeline.config import load_config

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "slurm.md"
ASKED = {"provider": "oracle", "model": "oracle"}
ROWS = ("explanations", "predictions", "scores", "summary")


@pytest.fixture
def experiment(tmp_path, tiny_subject, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    path = write_experiment(
        tmp_path / "a",
        subject={"model": str(tiny_subject)},
        corpus={"shards": 2},
        selection={"batch_size": 4, "batches_per_run": 2},
        explaining={**ASKED, "controls": 2},
        scoring={**ASKED, "scorers": ["detection"], "n_questions": 10},
    )
    yield path
    declare._open_lakes.clear()


def rows(path: Path) -> dict[str, list[dict]]:
    lake = open_lake(load_config(path))
    return {name: rows_of(lake, f"from {name} order by all") for name in ROWS}


def work(path: Path, job: str, nth: int, home: Path) -> subprocess.Popen:
    """A worker with a Dagster history of its own, as on a node of a cluster."""
    code = "import sys; from assets.command import main; main()"
    command = [sys.executable, "-c", code, "run", str(path), "--job", job, "--nth", str(nth)]
    env = {"DAGSTER_HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def test_parts_that_workers_make_side_by_side_are_what_one_run_makes(experiment, tmp_path, capsys):
    jobs: dict[str, int] = {}
    for job in ("corpus", "cache", "prepare", "pilot", "explain_and_score"):
        capsys.readouterr()
        assert run_command(["run", str(experiment), "--job", job, "--list"]) == 0
        jobs[job] = len(capsys.readouterr().out.splitlines())
        if job == "cache":  # at the same time
            workers = [work(experiment, job, nth, tmp_path / f"{job}{nth}") for nth in range(jobs[job])]
            for worker in workers:
                output, _ = worker.communicate()
                assert worker.returncode == 0, output
        else:
            for nth in range(jobs[job]):
                assert run_command(["run", str(experiment), "--job", job, "--nth", str(nth)]) == 0
    assert jobs == {"corpus": 1, "cache": 2, "prepare": 1, "pilot": 1, "explain_and_score": 2}
    assert run_command(["run", str(experiment)]) == 0
    declare._open_lakes.clear()
    assert not [step for step in missing_steps(load_config(experiment)) if step.job == "explain_and_score"]
    made = rows(experiment)
    alone = tmp_path / "b" / experiment.name
    alone.parent.mkdir()
    alone.write_text(experiment.read_text().replace(str(tmp_path / "a" / "lake"), str(tmp_path / "b" / "lake")))
    assert run_command(["run", str(alone)]) == 0
    assert rows(alone) == made and all(made.values())


def test_a_part_that_cannot_be_made_is_told_in_a_sentence(experiment, capsys):
    for arguments, words in [
        (["--job", "explain"], "there is no job 'explain'; the jobs are corpus, cache"),
        (["--nth", "0"], "name it, as in --job cache"),
        (["--job", "cache", "--nth", "7"], "job 'cache' has 2 partitions, numbered from 0; there is no 7"),
        (["--job", "cache", "--nth", "0"], "table 'documents'"),
    ]:
        assert run_command(["run", str(experiment), *arguments]) != 0
        said = capsys.readouterr().err
        assert words in said and "Traceback" not in said


def test_the_page_on_slurm_names_each_job_and_no_option_that_there_is_not():
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"--job (\w+)", text) and set(re.findall(r"--job (\w+)", text)) == {
        "corpus", "cache", "prepare", "pilot", "explain_and_score",
    }
    assert set(re.findall(r"latentlake run \S+ .*?(--\w+)", text)) <= {"--job", "--nth", "--list"}
