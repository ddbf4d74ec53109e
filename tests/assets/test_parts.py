"""One experiment made by many workers: each runs `latentlake run CONFIG --job JOB --nth N`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import open_lake, rows_of, write_experiment

from assets.command import run_command
from assets.graph.lakes import forget_lakes
from assets.run.steps import missing_steps
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
    return path


def rows(path: Path) -> dict[str, list[dict]]:
    lake = open_lake(load_config(path))
    return {name: rows_of(lake, f"from {name} order by all") for name in ROWS}


SBATCH = """#!/bin/bash
# Runs the tasks of a job at the same time, when the jobs that it depends on are done, and says its number.
tasks=0
for argument in "$@"; do
    case $argument in
        --array=0-*) last=${argument#--array=0-}; tasks=$(seq 0 "${last%%%*}") ;;
        --dependency=after*) grep -qx "${argument##*:}" jobs || exit 3 ;;
    esac
done
job=$(($(wc -l < jobs) + 1))
for task in $tasks; do
    SLURM_JOB_ID=$job$task SLURM_ARRAY_TASK_ID=$task bash -c "${!#}" >> "output of $job" 2>&1 &
    workers="$workers $!"
done
for worker in $workers; do wait $worker || { cat "output of $job" >&2; exit 4; }; done
echo $job | tee -a jobs
"""
LATENTLAKE = f"""#!/bin/bash
exec {sys.executable} -c 'from assets.command import main; main()' "$@"
"""


def submit(page: str, script: int, path: Path, folder: Path) -> None:
    """Run a script of the page in a folder, where `sbatch` and `latentlake` are programs of `bin`."""
    text = re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```$", page, re.DOTALL | re.MULTILINE)[script]
    env = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    text = text.replace("/tmp/", f"{folder}/").replace("block=1000", "block=1")
    command = ["bash", "-c", text, "slurm.sh", str(path)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_scripts_of_the_page_on_slurm_make_what_one_run_makes(experiment, tmp_path):
    (tmp_path / "jobs").touch()
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("latentlake", LATENTLAKE)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    page = PAGE.read_text(encoding="utf-8")
    submit(page, 0, experiment, tmp_path)
    assert len((tmp_path / "jobs").read_text().split()) == 4  # corpus, cache, prepare and pilot
    submit(page, 1, experiment, tmp_path)
    assert len((tmp_path / "jobs").read_text().split()) == 4 + 2  # two blocks of one batch
    assert len(list(tmp_path.glob("dagster-*"))) == 1 + 2 + 1 + 1 + 2  # a history for each worker
    assert run_command(["run", str(experiment)]) == 0
    forget_lakes()
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
        (["--nth", "0"], "need a job, for example --job cache"),
        (["--job", "cache", "--nth", "7"], "job 'cache' has 2 partitions, numbered from 0; there is no 7"),
        (["--job", "cache", "--nth", "0"], "table 'documents'"),
    ]:
        assert run_command(["run", str(experiment), *arguments]) != 0
        said = capsys.readouterr().err
        assert words in said and "Traceback" not in said
