"""The LLM half over a real HTTP endpoint: that scores say what is true, and that nothing is paid for twice.

The endpoint is the oracle server; behind it stand brains whose right score is known (`oracles`). The data
half is made once, and each test works on its own copy.
"""

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.dagster_run import DagsterRunStatus
from llm.oracle import Oracle, Reply, last_message
from oracles import ANIMALS_TOLD, coin, is_marked, read_question, scorer, slowly, sometimes
from tiny import (
    ALWAYS,
    ANIMAL,
    COLOUR,
    STOP,
    hand_set_entry,
    open_lake,
    rows_of,
    stored,
    unfinished_batches,
    write_experiment,
)
from waiting import until

from assets.graph.build import build_definitions
from assets.run.steps import missing_steps
from pipeline.asking.batches import BatchAsker
from pipeline.config import Config, load_config
from pipeline.errors import ConfigError
from pipeline.explainers.default import explainer
from pipeline.explainers.write import write_explanations
from pipeline.features.selection import write_selected_features
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.llm.oracle.judges import literal
from pipeline.make_table import make_table
from pipeline.scorers.write import write_predictions
from pipeline.tables import TABLES

pytestmark = pytest.mark.whole

SAE = "hand-set"
BATCH_TABLES = ("examples", "explanations", "predictions", "scores", "score_details")
KEY = "sk-test-0123456789abcdef"
KEY_ENV = "LATENTLAKE_TEST_KEY"

TRUTH = scorer(literal)

TICKS = itertools.count()
RUN_KEYS: set[str | None] = set()

Make = Callable[..., Config]


def copy_of(source: Path, prepared: Path, target: Path, base_url: str, **sections: Any) -> Config:
    """The config of an experiment whose lake is a copy of that below `source`."""
    if (source / "lake").exists() and not (target / "lake").exists():
        shutil.copytree(source / "lake", target / "lake")
    endpoint = {"base_url": base_url, **sections.pop("endpoint", {})}
    given = {
        "subject": {"model": load_config(prepared / "tiny.yaml").subject.model},
        "saes": [hand_set_entry(prepared / "sae")],
        "corpus": {"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
        "endpoints": {"explainer": endpoint, "scorer": endpoint},
        **sections,
        "explaining": {
            **{"provider": "openai", "model": "oracle", "n_examples": 20, "controls": 8},
            **sections.get("explaining", {}),
        },
        "scoring": {
            **{"provider": "openai", "model": "oracle", "n_questions": 10, "questions_per_prompt": 5},
            **sections.get("scoring", {}),
        },
    }
    return load_config(write_experiment(target, **given))


@pytest.fixture
def make(prepared: Path, tmp_path: Path) -> Make:
    """A function that makes an experiment of a copy of the prepared lake, asking at a URL."""

    def made(base_url: str, name: str = "one", source: Path = prepared, **sections: Any) -> Config:
        return copy_of(source, prepared, tmp_path / name, base_url, **sections)

    return made


@pytest.fixture(scope="module")
def told(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Config, Lake, list]]:
    """A run with the oracle that tells the truth, one question a prompt: folder, config, lake and requests."""
    folder = tmp_path_factory.mktemp("told")
    with Oracle(TRUTH) as oracle:
        config = copy_of(prepared, prepared, folder, oracle.base_url, scoring={"questions_per_prompt": 1})
        lake = explain_and_score(config)
        yield folder, config, lake, oracle.requests


def explain_and_score(config: Config, batches: Sequence[int] = (0,)) -> Lake:
    """The batches' tables, one after another."""
    lake = open_lake(config)
    for batch in batches:
        make_table(lake, "examples", sae=SAE, batch=batch)
        make_table(lake, "fuzzing_pairs", sae=SAE, batch=batch)
        write_explanations(lake, SAE, batch)
        judge(lake, batch)
    return lake


def judge(lake: Lake, batch: int = 0) -> None:
    """Predictions and scores of the explanations that are there."""
    write_predictions(lake, SAE, batch)
    make_table(lake, "scores", sae=SAE, batch=batch)
    make_table(lake, "score_details", sae=SAE, batch=batch)


def tables(lake: Lake, *names: str, batch: int = 0) -> dict[str, pl.DataFrame]:
    """The rows of a batch's tables in the order in which they are stored."""
    return {name: stored(lake, name, sae=SAE, batch=batch) for name in names or BATCH_TABLES}


def assert_same_tables(one: dict[str, pl.DataFrame], two: dict[str, pl.DataFrame]) -> None:
    assert one.keys() == two.keys()
    for name, rows in one.items():
        assert rows.height > 0, name
        assert rows.equals(two[name]), name


def llm_scores(lake: Lake) -> list[dict[str, Any]]:
    return rows_of(lake, "from scores where scorer <> 'rule_exact' order by explanation_id, scorer")


def prompts(requests: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(body["messages"]) for body in requests)


def recorded(lake: Lake, asset: str) -> list[dict[str, Any]]:
    """The lines of an asset's ledger that are whole."""
    lines = []
    for path in sorted((lake.root / LEDGER_FOLDER / asset).rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return lines


# Scores whose right value is known ------------------------------------------------------------------------


def test_a_scorer_that_goes_by_a_true_explanation_is_right_about_everything(told: Any) -> None:
    _, _, lake, _ = told
    own = [row for row in llm_scores(lake) if row["explainer"] in {"default", "rule"}]
    assert {(row["feature"], row["scorer"]) for row in own} == {
        (feature, name) for feature in (STOP, COLOUR, ANIMAL) for name in ("detection", "fuzzing")
    }
    for row in own:
        figures = [row[name] for name in ("balanced_accuracy", "precision", "recall", "f1", "auroc")]
        assert figures == [1.0] * 5, row
        assert (row["average_precision"], row["coverage"], row["n_scored"]) == (1.0, 1.0, 20)
        assert row["ci_low"] < 1 and row["ci_high"] == pytest.approx(1)


def test_a_scorer_that_goes_by_the_words_is_at_chance_with_an_empty_or_foreign_explanation(told: Any) -> None:
    _, _, lake, _ = told
    controls = [row for row in llm_scores(lake) if row["explainer"] in {"empty", "other_feature"}]
    assert len(controls) == 12
    for row in controls:
        assert row["ci_low"] <= 0.5 <= row["ci_high"], row
        if row["explainer"] == "empty":
            assert (row["balanced_accuracy"], row["recall"]) == (0.5, 0.0)


@pytest.mark.parametrize("says_yes", [True, False])
def test_one_answer_to_everything_is_worth_one_half(make: Make, says_yes: bool) -> None:
    with Oracle(scorer(lambda *_: says_yes)) as oracle:
        lake = explain_and_score(make(oracle.base_url))
    rows = llm_scores(lake)
    assert len(rows) == 18
    for row in rows:
        assert row["balanced_accuracy"] == 0.5
        assert row["recall"] == float(says_yes)
        assert row["precision"] == (0.5 if says_yes else None)
        assert row["auroc"] is None  # a list of answers has no probabilities
        assert row["reason"] == (None if says_yes else "no precision: every answer was negative")


def test_a_coin_has_one_half_in_its_intervals(make: Make) -> None:
    with Oracle(scorer(coin)) as oracle:
        rows = llm_scores(explain_and_score(make(oracle.base_url)))
    inside = [row["ci_low"] <= 0.5 <= row["ci_high"] for row in rows]
    assert sum(inside) >= 0.85 * len(rows)
    assert abs(sum(row["balanced_accuracy"] for row in rows) / len(rows) - 0.5) < 0.1


def test_an_answer_that_cannot_be_used_is_no_answer(make: Make) -> None:
    replies = {
        (ANIMALS_TOLD, False): (Reply(fault="refuse"), "refused"),
        (ANIMALS_TOLD, True): (Reply(fault="truncate"), "truncated"),
        ("the token is ' stop'", False): (Reply("I would say that some of them do."), "unparsed"),
        ("the token is ' stop'", True): (Reply("[1, 0]"), "unparsed"),  # of five
        ("", False): (Reply(fault="status", status=400), "http_error"),
        ("", True): (Reply(fault="filter"), "refused"),
    }

    def brain(body: dict[str, Any]) -> str | Reply:
        asked = read_question(body)
        return replies.get((asked.explanation, is_marked(asked)), (TRUTH(body),))[0] if asked else TRUTH(body)

    with Oracle(brain) as oracle:
        lake = explain_and_score(make(oracle.base_url))
    statuses = {
        (row["explanation"], row["scorer"] == "fuzzing"): row
        for row in rows_of(
            lake,
            "select explanation, p.scorer, list(distinct p.status) as statuses, count(prediction) as n, "
            "count(probability) as n_probabilities "
            "from predictions as p join explanations as e using (explanation_id) group by all",
        )
    }
    for key, (_, status) in replies.items():
        row = statuses[key]
        assert (row["statuses"], row["n"], row["n_probabilities"]) == ([status], 0, 0), key
    rows = rows_of(lake, "from scores join explanations using (explanation_id) where scorer <> 'rule_exact'")
    failed = [row for row in rows if (row["explanation"], row["scorer"] == "fuzzing") in replies]
    assert len(failed) > 10
    for row in failed:
        figures = [row[name] for name in ("balanced_accuracy", "ci_low", "ci_high", "precision", "recall", "f1")]
        assert figures == [None] * 6
        assert (row["n_scored"], row["n_unscored"], row["coverage"]) == (0, 20, 0.0)
        assert (row["balanced_accuracy_all_wrong"], row["balanced_accuracy_all_right"]) == (0.0, 1.0)
        assert row["reason"] == "coverage 0.00 is under 0.80"


@pytest.mark.parametrize(
    "failure, status",
    [
        (Reply("[EXPLANATION]: animals", fault="refuse"), "refused"),
        (Reply("[EXPLANATION]: animals", fault="truncate"), "truncated"),
        (Reply("animals, I think"), "unparsed"),
        (Reply(f"[EXPLANATION]: {explainer.own_texts()[0].splitlines()[1]}"), "echoed"),
    ],
)
def test_an_explainer_that_fails_gives_no_explanation(make: Make, failure: Reply, status: str) -> None:
    with Oracle(lambda body: failure) as oracle:
        lake = open_lake(make(oracle.base_url))
        make_table(lake, "examples", sae=SAE, batch=0)
        make_table(lake, "fuzzing_pairs", sae=SAE, batch=0)
        write_explanations(lake, SAE, 0)
        judge(lake)
    [failed] = rows_of(lake, "from explanations where explainer = 'default'")
    assert (failed["status"], failed["explanation"]) == (status, None)
    assert not rows_of(lake, f"from scores where explanation_id = '{failed['explanation_id']}'")
    assert not [row for row in rows_of(lake, "from explanations") if row["explanation"] is None and row != failed]


def test_an_echo_is_asked_again_and_told_from_the_raw_answer_at_each_replay(make: Make, tmp_path: Path) -> None:
    echo = f"[EXPLANATION]: {explainer.own_texts()[0].splitlines()[1]}"
    replies = [echo, f"[EXPLANATION]: {ANIMALS_TOLD}"]
    with Oracle(lambda body: replies[min(oracle.n_requests, 2) - 1]) as oracle:
        lake = open_lake(make(oracle.base_url, explaining={"max_draws": 3}))
        make_table(lake, "examples", sae=SAE, batch=0)
        write_explanations(lake, SAE, 0)
        assert oracle.n_requests == 2
        first = tables(lake, "explanations")
        again = open_lake(make(oracle.base_url, "again", source=tmp_path / "one", explaining={"max_draws": 3}))
        write_explanations(again, SAE, 0)
        assert oracle.n_requests == 2
    assert_same_tables(first, tables(again, "explanations"))
    [row] = rows_of(lake, "from explanations where explainer = 'default'")
    assert (row["status"], row["explanation"]) == ("ok", ANIMALS_TOLD)
    [drawn] = rows_of(lake, f"from llm_requests where request_id = '{row['request_id']}'")
    assert drawn["draw"] == 1


def test_some_faults_lower_the_coverage_and_leave_the_rest_right(make: Make) -> None:
    faults = (Reply(fault="refuse"), Reply(fault="truncate"), Reply("perhaps"))
    with Oracle(sometimes(TRUTH, *faults, every=5)) as oracle:
        lake = explain_and_score(make(oracle.base_url, scoring={"questions_per_prompt": 2, "min_coverage": 0.3}))
    own = [row for row in llm_scores(lake) if row["explainer"] in {"default", "rule"}]
    assert {row["status"] for row in rows_of(lake, "from predictions")} > {"ok"}
    assert any(row["coverage"] < 1 for row in own)
    for row in own:
        assert row["coverage"] == pytest.approx(row["n_scored"] / 20) and row["n_scored"] + row["n_unscored"] == 20
        assert row["balanced_accuracy"] == 1.0
        assert row["balanced_accuracy_all_right"] == pytest.approx(1.0)
        assert (row["balanced_accuracy_all_wrong"] < 1) == (row["coverage"] < 1)


# What was answered is not asked again ---------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_gives_equal_tables(told: Any, make: Make) -> None:
    folder, _, lake, _ = told
    with Oracle(TRUTH) as oracle:
        again = make(oracle.base_url, source=folder, scoring={"questions_per_prompt": 1})
        second = explain_and_score(again)
        assert oracle.n_requests == 0
    assert_same_tables(tables(lake), tables(second))


def without_batches(config: Config) -> Config:
    """The same, after what is made by batch was removed from its lake, as another size of batches asks."""
    for name in (name for name, table in TABLES.items() if table.partition == "sae_batch"):
        shutil.rmtree(config.lake_folder / name, ignore_errors=True)
    return config


def test_another_batch_size_buys_nothing_again(told: Any, make: Make) -> None:
    folder, _, first, before = told
    with Oracle(TRUTH) as oracle:
        sections = {"source": folder, "selection": {"batch_size": 2}, "scoring": {"questions_per_prompt": 1}}
        config = make(oracle.base_url, "same questions", explaining={"controls": 0}, **sections)
        write_selected_features(open_lake(without_batches(config)), SAE)
        second = explain_and_score(config, (0, 2))
        assert oracle.n_requests == 0
        # Which other feature is a control depends on the batch: its questions are new, and only they.
        config = make(oracle.base_url, "other controls", **sections)
        write_selected_features(open_lake(without_batches(config)), SAE)
        lake = open_lake(config)
        make_table(lake, "examples", sae=SAE, batch=0)
        make_table(lake, "fuzzing_pairs", sae=SAE, batch=0)
        write_explanations(lake, SAE, 0)
        write_predictions(lake, SAE, 0)
        assert not prompts(oracle.requests) & prompts(before)
    # A feature's place is one in its batch.
    sql = "select * exclude (place) from scores where explainer in ('default', 'rule') order by all"
    assert rows_of(second, sql) == rows_of(first, sql)


def test_a_rerun_asks_again_only_what_failed_on_its_way(make: Make, tmp_path: Path) -> None:
    faults = (Reply(fault="refuse"), Reply(fault="status", status=400), Reply("perhaps"), Reply(fault="truncate"))
    with Oracle(sometimes(TRUTH, *faults)) as oracle:
        config = make(oracle.base_url)
        lake = explain_and_score(config)
        first = prompts(oracle.requests)
        assert unfinished_batches(config)
    failed = {row["request_id"] for row in rows_of(lake, "from predictions where status = 'http_error'")}
    others = rows_of(lake, "from predictions where status <> 'http_error' order by question_id")
    assert failed and {row["status"] for row in others} == {"ok", "refused", "unparsed", "truncated"}
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url, source=tmp_path / "one")
        lake = explain_and_score(config)
        assert oracle.n_requests == len(failed)
        assert not prompts(oracle.requests) - first
        assert not unfinished_batches(config)
    assert not rows_of(lake, "from predictions where status = 'http_error'")
    kept = {row["question_id"] for row in others}
    after = rows_of(lake, "from predictions order by question_id")
    assert [row for row in after if row["question_id"] in kept] == others


@pytest.mark.parametrize("made", [("scores",), ()])
def test_a_batch_that_was_stopped_while_it_was_made_again_is_unfinished(make: Make, made: tuple[str, ...]) -> None:
    """Its first scores are there, of the answers before."""
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url)
        lake = explain_and_score(config)
        assert not unfinished_batches(config)
        before = tables(lake)
        write_explanations(lake, SAE, 0)
        write_predictions(lake, SAE, 0)
        for table in made:
            make_table(lake, table, sae=SAE, batch=0)
        assert unfinished_batches(config)
        make_table(lake, "scores", sae=SAE, batch=0)
        make_table(lake, "score_details", sae=SAE, batch=0)
        assert not unfinished_batches(config)
    assert_same_tables(before, tables(lake))


@pytest.mark.parametrize("explaining", [{"max_features": 1}, {"max_features": 0}])
def test_a_batch_is_done_with_features_that_no_explainer_explains(make: Make, explaining: Any) -> None:
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url, explaining={"explainers": ["default"], "controls": 0, **explaining})
        lake = open_lake(config)
        assert unfinished_batches(config)
        explain_and_score(config)
    statuses = Counter(row["status"] for row in rows_of(lake, "from explanations"))
    assert statuses["not_asked"] == 3 - statuses["ok"] > 0
    assert not unfinished_batches(config)


def test_after_a_kill_amid_the_predictions_a_run_goes_on_where_it_was(
    make: Make, tmp_path: Path, told: Any
) -> None:
    _, _, quiet, _ = told
    code = (
        "import sys; from pipeline.config import load_config; from pipeline.sources import recorded_lake\n"
        "from pipeline.scorers.write import write_predictions\n"
        "config = load_config(sys.argv[1])\n"
        f"write_predictions(recorded_lake(config), {SAE!r}, 0)"
    )
    one = {"questions_per_prompt": 1}
    with Oracle(slowly(TRUTH, 0.02)) as oracle:
        config = make(oracle.base_url, scoring=one, explaining={"controls": 0}, endpoint={"max_concurrent": 4})
        lake = open_lake(config)
        make_table(lake, "examples", sae=SAE, batch=0)
        make_table(lake, "fuzzing_pairs", sae=SAE, batch=0)
        write_explanations(lake, SAE, 0)
        n_before = oracle.n_requests
        root = Path(__file__).parent
        environment = {**os.environ, "PYTHONPATH": f"{root.parent}{os.pathsep}{root}"}
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "one" / "tiny.yaml")], env=environment, cwd=root.parent
        )
        until(lambda: oracle.n_requests >= n_before + 50 or process.poll() is not None, 150)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        time.sleep(0.1)
        asked = oracle.requests[n_before:]
        assert not lake.has("predictions", sae=SAE, batch=0)
        kept = {json.dumps(line["messages"]) for line in recorded(lake, "predictions")}
        assert 40 <= len(kept) <= len(asked) <= len(kept) + 12
        n_before = oracle.n_requests
        oracle.brain = TRUTH
        judge(lake)
        again = prompts(oracle.requests[n_before:])
    assert again and not kept & again.keys()
    assert max(again.values()) == 1
    own = rows_of(quiet, "select explanation_id from explanations where explainer in ('default', 'rule')")
    ids = [row["explanation_id"] for row in own]
    names = ("explanations", "predictions", "scores", "score_details")
    expected = {
        name: rows.filter(pl.col("explanation_id").is_in(ids)) for name, rows in tables(quiet, *names).items()
    }
    assert_same_tables(tables(lake, *names), expected)


# What must not matter -------------------------------------------------------------------------------------


def test_concurrency_order_of_rows_and_a_restart_change_no_row(make: Make, prepared: Path) -> None:
    made = []
    for name, at_once, is_turned in (("one", 1, False), ("sixteen", 16, False), ("turned", 16, True)):
        with Oracle(slowly(TRUTH, 0.002)) as oracle:
            config = make(oracle.base_url, name, endpoint={"max_concurrent": at_once}, explaining={"controls": 2})
            lake = open_lake(config)
            if is_turned:
                for table in ("feature_stats", "feature_routes", "selected_features", "feature_neighbours",
                              "example_index", "feature_rules", "rule_scores"):  # fmt: skip
                    turn(lake, table)
            make_table(lake, "examples", sae=SAE, batch=0)
            make_table(lake, "fuzzing_pairs", sae=SAE, batch=0)
            examples = tables(lake, "examples")
            if is_turned:
                turn(lake, "examples", batch=0)
            write_explanations(lake, SAE, 0)
            explanations = tables(lake, "explanations")
            if is_turned:
                turn(lake, "explanations", batch=0)
            write_predictions(lake, SAE, 0)
            predictions = tables(lake, "predictions")
            if is_turned:
                turn(lake, "predictions", batch=0)
            judged = []
            for table in ("scores", "score_details"):
                make_table(lake, table, sae=SAE, batch=0)
                judged.append(tables(lake, table))
            assert oracle.max_in_flight == 1 if at_once == 1 else oracle.max_in_flight > 1
            made.append(examples | explanations | predictions | judged[0] | judged[1])
    assert_same_tables(made[0], made[1])
    assert_same_tables(made[0], made[2])


def turn(lake: Lake, table: str, **partition: Any) -> None:
    """Store a table's rows in reverse order."""
    for part in lake.parts(table):
        rows = pl.read_parquet(lake.path(table, sae=SAE, part=part, **partition)).reverse().to_arrow()
        lake.write(table, rows.cast(TABLES[table].schema), sae=SAE, part=part, **partition)


def test_one_question_a_prompt_or_five_are_the_same_questions(told: Any, make: Make) -> None:
    _, _, one, _ = told
    with Oracle(TRUTH) as oracle:
        five = explain_and_score(make(oracle.base_url))
    sql = "select explanation_id, question_id, label, prediction from predictions order by question_id"
    assert rows_of(one, sql) == rows_of(five, sql)


# Sequential scoring ---------------------------------------------------------------------------------------

SEQUENTIAL = {"n_questions": 60, "target_half_width": 0.12, "questions_per_prompt": 10}


def test_sequential_scoring_asks_less_where_answers_are_clear_and_reaches_its_width(make: Make) -> None:
    with Oracle(scorer(mostly_literal)) as oracle:
        lake = explain_and_score(make(oracle.base_url, scoring=SEQUENTIAL))
    rows = llm_scores(lake)
    asked = {(row["explanation_id"], row["scorer"]): row["n_scored"] + row["n_unscored"] for row in rows}
    assert min(asked.values()) <= 40 < max(asked.values())
    [whole] = rows_of(lake, "select count(*) as n from predictions")
    assert whole["n"] == sum(asked.values())
    widest = rows_of(
        lake,
        """select explanation_id, scorer, max(ci_high - ci_low) / 4 as half_width from score_details
        where metric in ('recall', 'false_positive_rate') and weighting = 'sample' group by all""",
    )
    of_one_answer = {(row["explanation_id"], row["scorer"]): row["half_width"] for row in widest}
    for row in rows:
        is_narrow = (row["ci_high"] - row["ci_low"]) / 2 <= 0.12
        name = row["explanation_id"], row["scorer"]
        # Fuzzing drops windows without a partner: these are all that there are, or all of one answer.
        assert is_narrow or asked[name] > 50 or of_one_answer[name] > 0.12, row
    fewest = rows_of(lake, "select count(*) as n, label from predictions group by explanation_id, scorer, label")
    assert min(row["n"] for row in fewest) >= 19  # two right windows may share a wrong one


def test_sequential_scoring_replays_from_the_ledger_and_depends_on_no_other_feature(
    make: Make, tmp_path: Path
) -> None:
    alone = {"batch_size": 1}
    with Oracle(scorer(mostly_literal)) as oracle:
        config = make(oracle.base_url, scoring=SEQUENTIAL, explaining={"controls": 0})
        lake = explain_and_score(config)
        n_before = oracle.n_requests
        again = make(oracle.base_url, "again", tmp_path / "one", scoring=SEQUENTIAL, explaining={"controls": 0})
        names = ("predictions", "scores")
        assert_same_tables(tables(lake, *names), tables(explain_and_score(again), *names))
        assert oracle.n_requests == n_before
        # Each feature in a batch of its own: the same questions, all answered.
        single = make(oracle.base_url, "single", tmp_path / "one", scoring=SEQUENTIAL, explaining={"controls": 0},
                      selection=alone)  # fmt: skip
        write_selected_features(open_lake(without_batches(single)), SAE)
        apart = explain_and_score(single, (STOP, COLOUR, ANIMAL))
        assert oracle.n_requests == n_before
    sql = "from predictions order by explanation_id, scorer, question_id"
    assert rows_of(apart, sql) == rows_of(lake, sql)


def test_sequential_scoring_goes_on_after_a_stop_between_its_rounds(make: Make, monkeypatch: Any) -> None:
    with Oracle(scorer(mostly_literal)) as oracle:
        quiet = explain_and_score(make(oracle.base_url, "quiet", scoring=SEQUENTIAL))
        n_quiet, n_before = oracle.n_requests, len(oracle.requests)
        rounds: list[int] = []

        ask = BatchAsker.ask

        def stopping(asker: BatchAsker, role: str, requests: Any) -> Any:
            rounds.append(len(requests))
            if len(rounds) == 3:  # the first asks for explanations
                raise KeyboardInterrupt
            return ask(asker, role, requests)

        config = make(oracle.base_url, "stopped", scoring=SEQUENTIAL)
        lake = open_lake(config)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(BatchAsker, "ask", stopping)
            explain_and_score(config)
        assert len(rounds) == 3 and not lake.has("predictions", sae=SAE, batch=0)
        write_predictions(lake, SAE, 0)
        again = prompts(oracle.requests[n_before:])
        assert max(again.values()) == 1 and again.total() == n_quiet
    assert_same_tables(tables(lake, "predictions"), tables(quiet, "predictions"))


def test_an_unusable_scorer_is_asked_one_round_only(make: Make) -> None:
    def brain(body: dict[str, Any]) -> str | Reply:
        return TRUTH(body) if read_question(body) is None else "I would rather not say."

    with Oracle(brain) as oracle:
        lake = explain_and_score(make(oracle.base_url, scoring=SEQUENTIAL))
    for row in llm_scores(lake):
        assert (row["n_scored"], row["balanced_accuracy"]) == (0, None)
        assert row["n_unscored"] <= 40


def mostly_literal(explanation: str, text: str) -> bool:
    """The truth, but for fuzzing and for one text in four of it."""
    number = hashlib.sha256(f"{explanation}{text}".encode()).digest()[0]
    return literal(explanation, text) != ("<<" in text and number % 4 == 0)


# Secrets --------------------------------------------------------------------------------------------------


def test_no_key_is_in_the_ledger_the_tables_or_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    fault = Reply(fault="status", status=400, message=f"bad request with header Authorization: Bearer {KEY}")
    with Oracle(sometimes(TRUTH, fault), key=KEY) as oracle:
        config = make(oracle.base_url, endpoint={"api_key_env": KEY_ENV})
        lake = explain_and_score(config)
        assert set(oracle.keys) == {KEY}
    errors = {line["error"] for line in recorded(lake, "predictions")} - {None}
    assert errors and all("bad request" in error for error in errors)
    for path in lake.root.rglob("*"):
        if path.is_file():
            is_table = path.suffix == ".parquet"
            text = str(pl.read_parquet(path).to_dicts()) if is_table else path.read_text("latin-1")
            assert KEY not in text, path
            assert "Bearer sk" not in text, path


def test_no_key_is_in_dagsters_logs_and_metadata(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    home = tmp_path / "dagster"
    home.mkdir()
    said = f"bad header Authorization: Bearer {KEY}"
    passing = Reply(fault="status", status=400, message=said)
    stopping = Reply(fault="status", status=402, message=said)
    results = []
    for brain in (sometimes(TRUTH, passing), lambda body: stopping):
        with Oracle(brain) as oracle, dg.DagsterInstance.local_temp(str(home)) as instance:
            config = make(oracle.base_url, f"run {len(results)}", endpoint={"api_key_env": KEY_ENV})
            open_lake(config)
            job = build_definitions(config).resolve_job_def("explain_and_score")
            result = job.execute_in_process(instance=instance, partition_key=f"00000|{SAE}", raise_on_error=False)
            results.append(result.success)
    assert results == [True, False]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    for text in [*(path.read_bytes().decode("latin-1") for path in files), *capfd.readouterr()]:
        assert KEY not in text and KEY[:16] not in text
    assert any("no credit left" in path.read_bytes().decode("latin-1") for path in files)


def test_a_refused_key_is_not_repeated_in_the_error(
    make: Make, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)
    with Oracle(TRUTH, key="sk-another-key") as oracle:
        config = make(oracle.base_url, endpoint={"api_key_env": KEY_ENV})
        with pytest.raises(ConfigError) as raised:
            explain_and_score(config)
    assert KEY_ENV in str(raised.value)
    assert KEY not in str(raised.value) + "".join(capfd.readouterr())


# What is in the tables ------------------------------------------------------------------------------------


def test_a_chosen_rule_has_an_exact_score_whatever_the_route(told: Any) -> None:
    _, _, lake, _ = told
    chosen = {row["feature"] for row in rows_of(lake, "select feature from feature_rules where is_chosen")}
    selected = {row["feature"] for row in rows_of(lake, "select feature from selected_features")}
    rows = rows_of(lake, "from scores where scorer = 'rule_exact'")
    assert {row["feature"] for row in rows} == chosen & selected == {STOP, COLOUR, ANIMAL}
    assert {row["explainer"] for row in rows} == {"rule"}
    assert {row["feature"]: row["f1"] for row in rows if row["feature"] != ANIMAL} == {STOP: 1.0, COLOUR: 1.0}
    assert ALWAYS not in selected


def test_controls_are_there_for_the_first_features_only(told: Any, make: Make, tmp_path: Path) -> None:
    _, _, lake, _ = told
    rows = rows_of(lake, "from explanations")
    words = {(row["feature"], row["explainer"]): row["explanation"] for row in rows}
    for feature in (STOP, COLOUR, ANIMAL):
        assert words[feature, "empty"] == ""
        own = words.get((feature, "default")) or words[feature, "rule"]
        others = {text for (of, by), text in words.items() if of != feature and by in {"default", "rule"}}
        assert words[feature, "other_feature"] in others - {own}
    assert words[ANIMAL, "default"] == ANIMALS_TOLD
    with Oracle(TRUTH) as oracle:
        lake = open_lake(make(oracle.base_url, explaining={"controls": 1}))
        make_table(lake, "examples", sae=SAE, batch=0)
        make_table(lake, "fuzzing_pairs", sae=SAE, batch=0)
        write_explanations(lake, SAE, 0)
    assert len(rows_of(lake, "from explanations where explainer = 'empty'")) == 1


def test_the_explainer_sees_train_and_test_judges(told: Any) -> None:
    _, _, lake, requests = told
    roles = {row["example_id"]: row["role"] for row in rows_of(lake, "select example_id, role from examples")}
    [shown] = [row for row in rows_of(lake, "from explanations") if row["explainer"] == "default"]
    assert len(shown["example_ids"]) == 20
    assert {roles[example] for example in shown["example_ids"]} == {"train"}
    assert {roles[row["example_id"]] for row in rows_of(lake, "from predictions")} == {"test"}
    documents = {row["doc_id"]: row["role"] for row in rows_of(lake, "select doc_id, role from documents")}
    assert all(documents[row["doc_id"]] == row["role"] for row in rows_of(lake, "from examples"))
    # What the questions show is not in what the explainer was shown.
    [explaining] = [last_message(body) for body in requests if read_question(body) is None]
    plain = explaining.replace("<<", "").replace(">>", "")
    for body in requests:
        asked = read_question(body)
        if asked:
            assert all(text.replace("<<", "").replace(">>", "") not in plain for text in asked.texts)


def test_fuzzing_marks_are_right_or_on_tokens_that_do_not_fire(told: Any) -> None:
    _, _, lake, _ = told
    sql = "from predictions join examples using (example_id) where scorer = 'fuzzing'"
    rows = rows_of(lake, f"select label, marked, activations, peak, explanation_id {sql}")
    assert rows
    marks: dict[bool, Counter[tuple[str, tuple[int, ...]]]] = {True: Counter(), False: Counter()}
    for row in rows:
        strengths = [row["activations"][place] for place in row["marked"]]
        assert strengths and (min(strengths) > 0 if row["label"] else max(strengths) == 0)
        marks[row["label"]][row["explanation_id"], tuple(row["marked"])] += 1
    assert marks[True] == marks[False]


def test_llm_requests_has_one_row_a_request_and_outlives_a_torn_line(told: Any, make: Make) -> None:
    folder, _, _, requests = told
    lake = open_lake(make("http://127.0.0.1:9", source=folder, scoring={"questions_per_prompt": 1}))
    rows = rows_of(lake, "from llm_requests order by request_id")
    asked = [row for row in rows if row["purpose"] != "probe"]
    assert len(asked) == len({row["request_id"] for row in asked}) == len(requests) == len(prompts(requests))
    assert Counter(row["purpose"] for row in rows).keys() == {"explain", "detection", "fuzzing", "probe"}
    [path] = (lake.root / LEDGER_FOLDER / "predictions" / SAE).glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"request_id":"0123","purpose":"detection","mess')
    assert rows_of(lake, "from llm_requests order by request_id") == rows
    judge(lake)  # everything is replayed, nobody listens at the address
    assert rows_of(lake, "from llm_requests order by request_id") == rows


# Schedule and runs ----------------------------------------------------------------------------------------


def tick(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance, *, whole: bool = False
) -> tuple[list[str | None], str | None]:
    """The partitions that the schedule asks for at the next tick, and why it skips.

    `whole`: as the daemon does it, with the run requests resolved, which takes seconds.
    """
    [schedule] = repository.schedule_defs
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=10 * next(TICKS))
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=now, repository_def=repository)
    if whole:
        data = schedule.evaluate_tick(context)
        requests, reason = list(data.run_requests or []), data.skip_message
    else:
        given: list[Any] = list(schedule(context))
        requests = [each for each in given if isinstance(each, dg.RunRequest)]
        reason = next((each.skip_message for each in given if isinstance(each, dg.SkipReason)), None)
    # Dagster wants keys where there are several runs, and launches a key once ever: with the partition alone
    # as the key, a failed batch would never be tried again.
    keys = {request.run_key for request in requests}
    assert len(keys) == len(requests) and not keys & RUN_KEYS
    RUN_KEYS.update(keys - {None})
    return [request.partition_key for request in requests], reason


def add_run(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, partition: str, status: DagsterRunStatus
) -> None:
    job = repository.get_job("explain_and_score")
    instance.create_run_for_job(job, status=status, tags={**job.run_tags, "dagster/partition": partition})


def test_the_schedule_goes_on_with_the_next_batches_and_parks_what_fails(make: Make, tmp_path: Path) -> None:
    first, second, third = (f"{feature:05d}|{SAE}" for feature in (STOP, COLOUR, ANIMAL))
    with Oracle(TRUTH) as oracle, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        config = make(oracle.base_url, selection={"batch_size": 1})
        write_selected_features(open_lake(config), SAE)
        repository = build_definitions(config).get_repository_def()
        assert tick(repository, instance) == ([first, second], None)
        add_run(instance, repository, first, DagsterRunStatus.STARTED)
        assert tick(repository, instance) == ([second], None)  # two are under way at most
        for _ in range(2):
            add_run(instance, repository, second, DagsterRunStatus.FAILURE)
        assert tick(repository, instance) == ([second], None)
        add_run(instance, repository, second, DagsterRunStatus.FAILURE)
        assert tick(repository, instance) == ([third], None)
        add_run(instance, repository, third, DagsterRunStatus.STARTING)
        asked, reason = tick(repository, instance)
        assert not asked
        assert reason == f"3 batches are unfinished, 2 under way, 1 parked after 3 failures: {second}"
        add_run(instance, repository, second, DagsterRunStatus.SUCCESS)
        assert tick(repository, instance)[1] == "3 batches are unfinished, 2 under way, 0 parked after 3 failures"


def test_batches_that_a_run_left_unfinished_let_the_others_go_first(make: Make, tmp_path: Path) -> None:
    first, second, third = (f"{feature:05d}|{SAE}" for feature in (STOP, COLOUR, ANIMAL))
    with Oracle(TRUTH) as oracle, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        config = make(oracle.base_url, selection={"batch_size": 1})
        write_selected_features(open_lake(config), SAE)
        repository = build_definitions(config).get_repository_def()
        for partition in (first, second):
            add_run(instance, repository, partition, DagsterRunStatus.SUCCESS)
        assert tick(repository, instance) == ([third, first], None)


def test_the_schedule_skips_finished_batches_and_says_when_all_is_done(make: Make, tmp_path: Path) -> None:
    with Oracle(TRUTH) as oracle, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        config = make(oracle.base_url, selection={"batch_size": 1})
        write_selected_features(open_lake(config), SAE)
        repository = build_definitions(config).get_repository_def()
        explain_and_score(config, (STOP,))
        assert tick(repository, instance, whole=True)[0] == [f"{COLOUR:05d}|{SAE}", f"{ANIMAL:05d}|{SAE}"]
        explain_and_score(config, (COLOUR, ANIMAL))
        asked, reason = tick(repository, instance)
        assert not asked and reason and reason.startswith("0 batches are unfinished")


def test_a_run_explains_and_scores_and_leaves_only_the_selection(make: Make) -> None:
    with Oracle(TRUTH) as oracle, dg.DagsterInstance.ephemeral() as instance:
        config = make(oracle.base_url)
        open_lake(config)
        definitions = build_definitions(config)
        steps = [step for step in missing_steps(config) if step.job == "explain_and_score"]
        assert [step.partition for step in steps] == [f"00000|{SAE}"]
        result = definitions.resolve_job_def("explain_and_score").execute_in_process(
            instance=instance, partition_key=steps[0].partition
        )
        assert result.success and all(each.passed for each in result.get_asset_check_evaluations())
        assert list(missing_steps(config)) == [("prepare", SAE, ("selected_features", "estimate"))]
        assert not unfinished_batches(config)
    lake = open_lake(config)
    rows = rows_of(lake, "from summary")
    means = {(row["route"], row["explainer"], row["scorer"]): row["mean"] for row in rows}
    assert means["llm", "default", "detection"] == means["rule", "rule", "fuzzing"] == 1.0
    assert means["llm", "empty", "fuzzing"] == 0.5
