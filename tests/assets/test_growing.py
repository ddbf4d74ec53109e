"""What goes on by itself: new documents are taken, and nothing that was paid for is bought again."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from tiny import corpus_texts, hand_set_entry, rows_of, unfinished_batches, write_experiment

from assets.graph import sensors
from assets.graph.build import build_definitions
from assets.graph.history import EndedRuns
from assets.graph.lakes import forget_lakes
from assets.graph.schedules import FAILURES_UNTIL_PARKED
from assets.run.steps import missing_steps
from pipeline.config import Config, load_config
from pipeline.corpus.documents import write_documents
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.preflight import preflight
from pipeline.sources import recorded_lake

KEY = "00000|hand-set"


@pytest.fixture
def explained(finished: Path, prepared: Path, tmp_path: Path) -> Callable[..., Config]:
    """The config of a copy of a finished experiment, with a corpus of its own, which can be loaded changed."""
    shutil.copytree(finished.parent / "lake", tmp_path / "lake")
    shutil.copytree(prepared / "corpus", tmp_path / "corpus")

    def load(**sections: object) -> Config:
        asking = {"explainers": ["rule", "default"], "provider": "oracle", "n_examples": 10}
        path = write_experiment(
            tmp_path,
            subject={"model": load_config(finished).subject.model},
            saes=[hand_set_entry(prepared / "sae")],
            explaining=asking,
            scoring={"provider": "oracle", "n_questions": 10},
            **sections,
        )
        return load_config(path)

    return load


def tick(config: Config, instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    """What the sensor asks for now, or why it asks for nothing."""
    definitions = build_definitions(config)
    context = dg.build_sensor_context(instance, repository_def=definitions.get_repository_def())
    asked = definitions.resolve_sensor_def("new_documents").evaluate_tick(context)
    return list(asked.run_requests) or str(asked.skip_message)


def launch(config: Config, instance: dg.DagsterInstance, job: str, key: str | None, tables: object = None) -> None:
    forget_lakes()  # as in a process of its own
    made = (
        build_definitions(config)
        .resolve_job_def(job)
        .execute_in_process(instance=instance, partition_key=key, asset_selection=tables)
    )
    assert made.success


def add_file(path: Path, text: str) -> None:
    """Writes a file as if long ago: the sensor waits for files that may still be written."""
    path.write_text(text)
    os.utime(path, (0, 0))


def ledger(config: Config) -> int:
    """Lines of the ledger: answers that were paid for."""
    return sum(path.read_bytes().count(b"\n") for path in (config.lake_folder / LEDGER_FOLDER).rglob("*.jsonl"))


def lake_of(config: Config) -> Lake:
    return recorded_lake(config)


@pytest.mark.whole
def test_the_sensor_takes_new_documents_step_by_step_and_buys_nothing(
    explained: Callable[..., Config], tmp_path: Path
) -> None:
    config = explained()
    paid = ledger(config)
    with dg.DagsterInstance.ephemeral() as instance:
        launch(config, instance, "corpus", None, [dg.AssetKey(["tiny", "tokens"])])  # finds the moved corpus
        before = rows_of(lake_of(config), "from scores order by all")
        assert before
        assert tick(config, instance) == "no documents added since generation 0 of the corpus"
        for number, text in enumerate(corpus_texts(n_documents=6, seed=1)):
            add_file(tmp_path / "corpus" / f"new{number}.txt", text)
        asked_for = []
        while not isinstance(requests := tick(config, instance), str):
            for each in requests:
                tables = sorted(key.path[-1] for key in each.asset_selection)
                asked_for.append((each.job_name, each.partition_key, tables))
                launch(config, instance, each.job_name, each.partition_key, each.asset_selection)
        assert requests == "no documents added since generation 1 of the corpus"
        corpus, *shards, prepare = asked_for
        assert corpus == ("corpus", None, ["documents", "slots", "train_words"])
        assert sorted(shards) == [("cache", key, ["activation_shards", "contexts"]) for key in ("00000", "00001")]
        assert prepare[:2] == ("prepare", "hand-set")
        assert {"activations", "feature_stats", "example_index", "selected_features"} <= {*prepare[2]}
        assert not {"feature_logits", "feature_neighbours"} & {*prepare[2]}  # no document is in them
        # What was scored is there, named for what it was made of, and is not open.
        lake = lake_of(config)
        assert rows_of(lake, "from scores order by all") == before
        assert lake.query("stale_batches").to_dicts() == [
            {"sae": "hand-set", "batch": 0, "generation": 0, "n_features": len({row["feature"] for row in before})}
        ]
        assert unfinished_batches(config) == [] and ledger(config) == paid
        steps = list(missing_steps(config))
        assert [step.job for step in steps] == ["prepare", "explain_and_score"]
        assert steps[-1].partition is None and "summary" in steps[-1].tables
        # It is made anew where a person asks for it: by the config, or in the UI.
        again = explained(selection={"remake_stale": True})
        assert unfinished_batches(again) == [("hand-set", 0)]
        launch(config, instance, "explain_and_score", KEY)
    lake = lake_of(config)
    assert {row["generation"] for row in rows_of(lake, "select generation from scores")} == {1}
    assert lake.query("stale_batches").is_empty() and unfinished_batches(again) == []
    assert ledger(config) > paid


@pytest.mark.whole
def test_the_selection_changes_between_ticks_and_nothing_done_is_lost_or_bought_again(
    prepared: Path, tiny_subject: Path, tmp_path: Path
) -> None:
    shutil.copytree(prepared / "lake", tmp_path / "lake")

    def select(**selection: object) -> Config:
        """The experiment with a selection, after `selected_features` was materialised."""
        path = write_experiment(
            tmp_path,
            subject={"model": str(tiny_subject)},
            saes=[hand_set_entry(prepared / "sae")],
            corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
            explaining={"provider": "oracle", "n_examples": 10, "controls": 0},
            scoring={"provider": "oracle", "n_questions": 10},
            selection=selection,
        )
        config = load_config(path)
        launch(config, instance, "prepare", "hand-set", [dg.AssetKey(["tiny", "selected_features"])])
        return config

    with dg.DagsterInstance.ephemeral() as instance:
        colour = select(where="feature = 1")
        assert unfinished_batches(colour) == [("hand-set", 0)]
        launch(colour, instance, "pilot", "hand-set")
        launch(colour, instance, "explain_and_score", KEY)
        assert unfinished_batches(colour) == []
        first, paid = rows_of(lake_of(colour), "from scores order by all"), ledger(colour)
        assert {row["feature"] for row in first} == {1}
        # A list, which leaves out what is done: only the other feature is asked about.
        (tmp_path / "wanted.csv").write_text("sae,feature,priority\nhand-set,4,7\n", encoding="utf-8")
        animal = select(features=str(tmp_path / "wanted.csv"))
        assert unfinished_batches(animal) == [("hand-set", 0)]
        launch(animal, instance, "explain_and_score", KEY)
        assert unfinished_batches(animal) == [] and ledger(animal) > paid
        assert {row["feature"] for row in rows_of(lake_of(animal), "from scores")} == {4}
        # Both: the tables have them both again, and every answer is known.
        paid = ledger(animal)
        both = select(where="feature in (1, 4)", priority=3)
        assert unfinished_batches(both) == [("hand-set", 0)]
        launch(both, instance, "explain_and_score", KEY)
        assert unfinished_batches(both) == [] and ledger(both) == paid
    scores = rows_of(lake_of(both), "from scores order by all")
    assert {row["feature"] for row in scores} == {1, 4}
    assert [row for row in scores if row["feature"] == 1] == first


@pytest.mark.parametrize("asked", [["00000", "00001"], ["00000"], []])
def test_what_is_parked_keeps_no_other_from_being_asked_for(
    make_experiment: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    parked = {"00000", "00001"}.difference(asked)
    failed = Counter(dict.fromkeys(parked, FAILURES_UNTIL_PARKED))
    monkeypatch.setattr(sensors, "ended_runs", lambda *of: EndedRuns(failed, set(), failed))
    lacking = {key: ["contexts"] for key in ("00000", "00001")}
    found = list(sensors._ask_for(lake_of(make_experiment()), "cache", lacking, dg.DagsterInstance.ephemeral()))
    # Dagster refuses a tick that gives requests and a reason to skip.
    assert [each.partition_key for each in found if isinstance(each, dg.RunRequest)] == asked
    assert [type(each) for each in found if isinstance(each, dg.SkipReason)] == ([] if asked else [dg.SkipReason])


def test_a_corpus_that_has_changed_is_the_reason_of_a_tick_and_no_stack_trace(
    make_experiment: Callable[..., Config], tmp_path: Path
) -> None:
    config = make_experiment()
    write_documents(preflight(config))
    (tmp_path / "corpus" / "0003.txt").unlink()
    with dg.DagsterInstance.ephemeral() as instance:
        why = tick(config, instance)
    assert isinstance(why, str) and "has changed since lake" in why and "0003.txt" in why


def test_a_run_that_took_no_new_documents_is_asked_for_again_until_it_has_failed_three_times(
    make_experiment: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lake = preflight(make_experiment())
    write_documents(lake)
    added = tmp_path / "corpus" / "more.txt"
    added.write_text("more " * 50)
    with dg.DagsterInstance.ephemeral() as instance:
        [skipped] = sensors._next(lake, instance)
    assert isinstance(skipped, dg.SkipReason) and "may still be written" in str(skipped.skip_message)
    add_file(tmp_path / "corpus" / "before.txt", "some " * 50)  # files may come without end
    keys = []
    with dg.DagsterInstance.ephemeral() as instance:
        for n_failures in range(FAILURES_UNTIL_PARKED):
            failed = Counter({"": n_failures})
            monkeypatch.setattr(sensors, "ended_runs", lambda *of, failed=failed: EndedRuns(failed, set(), failed))
            [request] = sensors._next(lake, instance)
            assert isinstance(request, dg.RunRequest) and request.job_name == "corpus"
            keys.append(request.run_key)
        failed = Counter({"": FAILURES_UNTIL_PARKED})
        monkeypatch.setattr(sensors, "ended_runs", lambda *of: EndedRuns(failed, set(), failed))
        [skipped] = sensors._next(lake, instance)
    assert len(set(keys)) == FAILURES_UNTIL_PARKED
    assert isinstance(skipped, dg.SkipReason) and "corpus: parked after 3 failures" in str(skipped.skip_message)


def test_tables_of_changed_settings_are_asked_for_though_the_job_ran_before(
    make_experiment: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster launches a run key only once, whatever became of its run."""
    lacking, ended = {"00000": ["contexts"]}, Counter({"00000": 1})
    keys = []
    for config, n_ended in (
        (make_experiment(), Counter[str]()),
        (make_experiment(), ended),  # a run that somebody cancelled
        (make_experiment(corpus={"context_length": 40}), ended),
    ):
        found = EndedRuns(Counter(), set(), n_ended)
        monkeypatch.setattr(sensors, "ended_runs", lambda *of, found=found: found)
        [request] = sensors._ask_for(lake_of(config), "cache", lacking, dg.DagsterInstance.ephemeral())
        assert isinstance(request, dg.RunRequest)
        keys.append(request.run_key)
    assert len(set(keys)) == 3
