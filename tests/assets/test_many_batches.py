"""What an experiment of many batches asks: nothing that is made or read once a batch grows with their number."""

import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.run import steps
from assets.run.steps import Part, missing_steps
from benchmarks.explorer_lake import SAE, write_config
from benchmarks.ticks import SIZE, select_features, write_batch
from pipeline.asking import unfinished
from pipeline.config import load_config
from pipeline.lake import Lake
from pipeline.lake.carrying import carry_over
from pipeline.lake.checks import repeated_keys
from pipeline.sources import recorded_lake
from pipeline.tables import TABLES

KEYS = [f"{batch:05d}|{SAE}" for batch in range(4)]


@pytest.fixture
def half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake of four batches, of which two are done."""
    lake = recorded_lake(load_config(str(write_config(tmp_path, 4 * SIZE, SIZE))))
    select_features(lake, 4)
    for batch in (0, 1):
        write_batch(lake, batch)
    monkeypatch.setattr(steps, "open_lake", lambda config: lake)  # without the preflight
    return lake


def test_the_tables_over_all_batches_are_made_once_after_the_last_batch(half_done):
    *batches, last = missing_steps(half_done.config, Part("explain_and_score"))
    assert [step.partition for step in batches] == KEYS[2:]
    over_all = {"summary", "scorer_agreements", "explainer_comparisons"}
    assert not any(over_all & {*step.tables} for step in batches)
    assert last.partition is None and {*last.tables} == over_all


def test_the_tables_over_all_follow_a_batch_though_the_clock_was_set_back_before_it(half_done):
    lake, tables = half_done, ("summary", "scorer_agreements", "explainer_comparisons")
    for table in tables:
        lake.write(table, TABLES[table].schema.empty_table())
        os.utime(lake.path(table), (2**31, 2**31))
    *batches, last = missing_steps(lake.config, Part("explain_and_score"))
    assert [step.partition for step in batches] == KEYS[2:] and {*last.tables} == {*tables}
    assert list(missing_steps(lake.config, Part("explain_and_score", 0))) == []


def test_a_batch_that_an_earlier_run_made_after_the_corpus_grew_is_not_made_again(half_done):
    grown = Lake(half_done.config, replace(half_done.hashes, generations=("more",)))
    select_features(grown, 4)
    carry_over(grown)
    assert unfinished.unfinished_batches(grown) == [(SAE, 2), (SAE, 3)]
    write_batch(half_done, 2)
    assert unfinished.unfinished_batches(grown) == [(SAE, 2), (SAE, 3)]
    assert [unfinished.is_unfinished(grown, SAE, batch) for batch in (2, 3)] == [False, True]
    assert unfinished.unfinished_batches(grown) == [(SAE, 3)]


def test_a_worker_that_makes_one_batch_leaves_the_tables_over_all_to_the_run_that_ends_it(half_done):
    [step] = missing_steps(half_done.config, Part("explain_and_score", 3))
    assert step.partition == KEYS[3] and "scores" in step.tables and "summary" not in step.tables
    assert list(missing_steps(half_done.config, Part("explain_and_score", 0))) == []


def test_one_batch_is_asked_about_without_a_look_into_the_others(half_done, monkeypatch):
    read, files = [], unfinished._files

    def noted(lake, table, batches, whole):
        read.append({*batches})
        return files(lake, table, batches, whole)

    monkeypatch.setattr(unfinished, "_files", noted)
    assert unfinished.unfinished_batches(half_done, {(SAE, 2)}) == [(SAE, 2)]
    assert unfinished.unfinished_batches(half_done, {(SAE, 1)}) == []
    assert read == [{(SAE, 2)}] * 3 + [{(SAE, 1)}] * 3
    assert unfinished.unfinished_batches(half_done) == [(SAE, 2), (SAE, 3)]


def test_the_keys_of_a_batch_are_checked_among_its_own_rows(half_done):
    rows = pq.read_table(half_done.path("explanations", sae=SAE, batch=1, part="rule"))
    half_done.write("explanations", pa.concat_tables([rows, rows]), sae=SAE, batch=1, part="rule")
    assert repeated_keys(half_done, "explanations", sae=SAE) == rows.num_rows
    assert repeated_keys(half_done, "explanations", sae=SAE, batch=1) == rows.num_rows
    assert repeated_keys(half_done, "explanations", sae=SAE, batch=0) == 0
