"""`make run` as a user meets it: its exit code, what it prints, and what it leaves behind."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tiny import ANIMAL, hand_set_entry, rows_of, unfinished_batches, write_experiment

from assets.command import run_command
from assets.graph.lakes import forget_lakes
from pipeline.commands.sql import answer_statements
from pipeline.config import load_config
from pipeline.sources import recorded_lake

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]


class Result(NamedTuple):
    """What a user sees of a run."""

    exit_code: int
    stdout: str
    stderr: str


RunHere = Callable[[Path], Result]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which Dagster keeps its history, as a run makes it: one for all."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "assets" / "dagster.yaml", folder)
    return folder


def run(config: Path, home: Path) -> Result:
    """Run the command in a process of its own."""
    environment = {**os.environ, "DAGSTER_HOME": str(home), "COLUMNS": "140", "MAKELEVEL": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "assets.command", "run", str(config)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def run_here(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Run the command in this process, which has imported everything already."""
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "140")

    def run(config: Path) -> Result:
        exit_code = run_command(["run", str(config)])
        return Result(exit_code, *capsys.readouterr())

    return run


def write_prepared(tmp_path: Path, subject: Path, prepared: Path, **sections: dict[str, Any]) -> Path:
    """The config of an experiment whose lake is prepared already, and that lake."""
    shutil.copytree(prepared / "lake", tmp_path / "lake")
    return write_experiment(
        tmp_path,
        subject={"model": str(subject)},
        saes=[hand_set_entry(prepared / "sae")],
        corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
        **sections,
    )


def test_a_run_makes_every_table_and_says_what_to_do_next(
    tmp_path: Path, tiny_subject: Path, home: Path, run_here: RunHere
) -> None:
    path = write_experiment(tmp_path, subject={"model": str(tiny_subject)})
    first = run(path, home)
    assert first.exit_code == 0, first.stderr
    said = "where its features went", "how well explanations predict", "explanations: default 1"
    for words in (*said, "make sql CONFIG=", "make dev CONFIG="):
        assert words in first.stdout
    assert "SAE 'hand-set' at 'embed_tokens' " in first.stdout
    assert first.stdout.index("caching: ") < first.stdout.index("cache 00000")
    assert "asking: at most " in first.stdout and "Stopped" not in first.stdout
    config = load_config(path)
    lake = recorded_lake(config)
    assert all(lake.is_complete(table) for table in ("activations", "feature_routes", "example_index"))
    stamp = lake.path("activations", sae="hand-set").stat().st_mtime_ns
    second = run_here(path)
    assert second.exit_code == 0
    assert "prepare hand-set: selected_features, estimate\n" in second.stdout
    assert "activation_shards" not in second.stdout and "caching: " not in second.stdout
    assert lake.path("activations", sae="hand-set").stat().st_mtime_ns == stamp


def test_a_run_whose_budget_is_spent_ends_well_and_says_what_to_raise(
    tmp_path: Path, tiny_subject: Path, prepared: Path, run_here: RunHere
) -> None:
    path = write_prepared(
        *(tmp_path, tiny_subject, prepared),
        budget={"max_requests": 3},
    )
    result = run_here(path)
    assert result.exit_code == 0, result.stderr
    words = " ".join(result.stdout.split())
    assert "Stopped: Budget: 3 of 3 requests are spent (budget.max_requests)." in words
    assert "raise the budget in the config and run again" in words


def test_a_run_after_a_changed_setting_says_what_it_makes_again_and_sql_why_rows_are_not_there(
    tmp_path: Path, tiny_subject: Path, prepared: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle = {"provider": "oracle", "n_examples": 20}, {"provider": "oracle", "n_questions": 20}
    path = write_prepared(tmp_path, tiny_subject, prepared, explaining=oracle[0], scoring=oracle[1])
    first = run_here(path)
    assert first.exit_code == 0 and "Made again: predictions" not in first.stdout
    text = path.read_text()
    changed = yaml.safe_load(text)
    changed["scoring"] |= {"provider": "openai", "model": "mini", "n_questions": 10}
    changed["endpoints"] = {"scorer": {"base_url": "http://127.0.0.1:9/v1", "max_attempts": 1}}
    path.write_text(yaml.safe_dump(changed))
    failed = run_here(path)
    assert failed.exit_code == 1 and "http://127.0.0.1:9/v1" in failed.stderr
    (said,) = (line for line in failed.stdout.splitlines() if line.startswith("Made again: "))
    assert "predictions, scores, " in said and "feature_routes" not in said
    assert "scoring.n_questions (10, was default)" in said and 'scoring.provider ("openai", was "oracle")' in said
    assert answer_statements(str(path), "select count(*) as n from summary") == 0
    seen = capsys.readouterr()
    assert (
        "Without rows until a run makes them again: predictions, " in seen.err
        and "scoring.n_questions (10" in seen.err
    )

    path.write_text(text)
    forget_lakes()  # as another process
    again = run_here(path)
    assert again.exit_code == 0 and "Made again" not in again.stdout
    assert answer_statements(str(path), "select count(*) as n from summary") == 0
    assert "Without rows" not in capsys.readouterr().err


def test_a_run_that_leaves_batches_says_which_key_takes_more(
    tmp_path: Path, tiny_subject: Path, prepared: Path, run_here: RunHere
) -> None:
    path = write_prepared(
        *(tmp_path, tiny_subject, prepared),
        explaining={"provider": "oracle", "n_examples": 20},
        scoring={"provider": "oracle", "n_questions": 20},
        selection={"batch_size": 1, "quotas": None},
    )
    result = run_here(path)
    assert result.exit_code == 0, result.stderr
    n_left = len(unfinished_batches(load_config(path)))
    assert n_left > 0
    words = " ".join(result.stdout.split())
    assert f"{n_left} more batches of features are selected; a run makes the first of each SAE" in words
    assert "selection.batches_per_run" in words


def test_a_list_is_explained_in_one_run_which_says_what_it_leaves_out(
    tmp_path: Path, tiny_subject: Path, prepared: Path, run_here: RunHere
) -> None:
    (tmp_path / "list.csv").write_text("sae,feature\nhand-set,0\nhand-set,2\nhand-set,4\n")
    path = write_prepared(
        *(tmp_path, tiny_subject, prepared),
        explaining={"provider": "oracle", "n_examples": 20},
        scoring={"provider": "oracle", "n_questions": 20},
        selection={"batch_size": 1, "features": str(tmp_path / "list.csv")},
    )
    result = run_here(path)
    assert result.exit_code == 0, result.stderr
    assert not unfinished_batches(load_config(path))
    words = " ".join(result.stdout.split())
    assert "more batches" not in words
    assert "1 of the 3 listed features of hand-set is left out, firing in fewer than 2 slots" in words
    assert "1 of the 3 listed features of hand-set has a rule, so no model explains it" in words


def test_a_run_with_the_oracle_rehearses_everything_and_says_so(
    tmp_path: Path, tiny_subject: Path, prepared: Path, run_here: RunHere
) -> None:
    path = write_prepared(
        *(tmp_path, tiny_subject, prepared),
        explaining={"provider": "oracle", "n_examples": 20},
        scoring={"provider": "oracle", "n_questions": 20, "oracle": {"false_positive_rate": 0}},
        budget={"max_usd": 0},
    )
    result = run_here(path)
    assert result.exit_code == 0, result.stderr
    name = "oracle (false negative 0.1)"
    words = " ".join(result.stdout.split())
    said = f"the explainer is an oracle and the scorer is an {name}. These are not a model's answers"
    assert words.index(said) < words.index("asking: at most ") < words.rindex(said)
    assert "0.00 USD" not in words and f" {ANIMAL} default " in words
    assert "Stopped" not in words
    config = load_config(path)
    lake = recorded_lake(config)
    models = rows_of(lake, "select distinct purpose, model, resolved_model, status, cost_usd from llm_requests")
    by_purpose = {row["purpose"]: row["model"] for row in models}
    assert by_purpose == {"explain": "oracle", "detection": name, "fuzzing": name}
    assert all(row["resolved_model"] == row["model"] and row["cost_usd"] == 0 for row in models)
    assert {row["model"] for row in rows_of(lake, "from estimate")} == {"oracle", name}
    [own] = rows_of(
        lake,
        "select count(*) as n, avg((prediction = label)::int) filter (not label) as specificity, "
        "avg(prediction::int) filter (label) as recall from predictions "
        "join explanations using (explanation_id) where explainer in ('default', 'rule')",
    )
    assert own["n"] > 100 and own["specificity"] == 1 and 0.8 < own["recall"] < 1


def refuses(result: Result, words: str) -> None:
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"routing": {"dens": 0.2}}, "unknown key 'routing.dens'; nearest known: 'dense'"),
        ({"corpus": {"sources": [{"kind": "text", "path": "nowhere"}]}}, "no file at 'nowhere'"),
        ({"machine": {"device": "quantum"}}, "device 'quantum' cannot be used"),
    ],
)
def test_bad_input_stops_with_one_sentence_and_writes_nothing(
    tmp_path: Path, tiny_subject: Path, run_here: RunHere, change: dict[str, object], words: str
) -> None:
    refuses(run_here(write_experiment(tmp_path, subject={"model": str(tiny_subject)}, **change)), words)
    assert not (tmp_path / "lake").exists()


def test_the_exit_code_of_the_process_tells_bad_input(tmp_path: Path, home: Path) -> None:
    refuses(run(tmp_path / "none.yaml", home), "no config file")
