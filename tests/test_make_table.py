"""The one runner: which steps it runs and how, what it is handed, and what it needs."""

import duckdb
import pyarrow as pa
import pytest

from pipeline.errors import LakeError
from pipeline.lake import Lake
from pipeline.make_table import make_table, read_rows
from pipeline.summary import write_summary
from pipeline.tables import TABLES
from pipeline.tables.stages import STAGES
from pipeline.tables.steps import plan_of
from pipeline.tables.versions import SourceHashes

SAE = "hand-set"


@pytest.fixture
def lake(make_experiment):
    return Lake(make_experiment(), SourceHashes())


def rows(table, *some):
    """Rows of a table; columns that they leave out are null."""
    return pa.Table.from_pylist([dict(row) for row in some], TABLES[table].schema)


def document(doc_id, n_tokens=40):
    return {
        **{"doc_id": doc_id, "source": "hand", "unit": doc_id, "text": "", "token_ids": list(range(n_tokens))},
        **{"n_tokens": n_tokens, "first_context_id": 0, "shard": 0, "role": "train"},
    }


@pytest.mark.parametrize(
    ("table", "once", "by_bucket"),
    [
        ("feature_tokens", ["candidate_slots"], ["feature_cuts", "feature_tokens"]),
        (
            "feature_stats",
            ["reached_positions", "train_tokens", "candidate_slots", "cell_bias"],
            [
                *("feature_counts", "position_counts", "feature_positions", "feature_cuts", "feature_masses"),
                *("heaviest_tokens", "top_tokens", "feature_previous_tokens", "feature_stats"),
            ],
        ),
        (
            "feature_rules",
            [
                *("token_classes", "train_tokens", "candidate_slots", "train_windows", "train_positions"),
                "corpus_documents",
            ],
            [
                *("rule_candidates", "rule_bases", "context_candidates", "rule_sets", "mined_rules", "rule_words"),
                *("window_counts", "feature_rules"),
            ],
        ),
        (
            "example_index",
            ["candidate_slots"],
            ["slot_peaks", "active_slots", "kept_slots", "example_index"],
        ),
        (
            "examples",
            [
                *("batch_features", "candidate_slots", "batch_index", "batch_neighbours", "batch_tokens"),
                *("silent_lots", "silent_strata", "slots_in_turn", "test_slots", "taken_slots"),
                *("rendered_windows", "examples"),
            ],
            [],
        ),
        ("feature_routes", ["feature_routes"], []),
    ],
)
def test_what_grows_with_firings_goes_by_bucket_and_what_arrays_hold_is_not_made(table, once, by_bucket):
    plan = plan_of(table)
    assert [*plan.once] == once
    assert [*plan.by_bucket] == by_bucket


def test_every_step_of_the_other_tables_runs_once_by_duckdb():
    for table in ("scrambled_contexts", "scores", "score_details", "summary", "fuzzing_pairs"):
        plan = plan_of(table)
        assert plan.once == STAGES[table].steps
        assert not plan.by_bucket


def test_a_given_relation_stands_in_place_of_the_table_of_its_name(lake):
    lake.write("documents", rows("documents", document("old")))
    given = {"documents": rows("documents", document("new"))}
    assert read_rows(lake, "slots", given=given)["doc_id"].unique().to_pylist() == ["new"]
    assert read_rows(lake, "slots")["doc_id"].unique().to_pylist() == ["old"]
    assert not lake.has("slots")


def test_a_given_step_is_not_run(lake):
    given = {"train_tokens": pa.table({"token_id": [7], "n_tokens": [3]})}
    assert plan_of("unigram_tokens", given).once == ("unigram_tokens",)
    with lake.connect(SAE, given=given) as connection:
        assert connection.sql("from train_tokens").fetchall() == [(7, 3)]


def test_parquet_files_may_be_given_as_a_relation(lake):
    lake.write("documents", rows("documents", document("one")))
    with lake.connect(given={"read_documents": [lake.path("documents")]}) as connection:
        assert connection.sql("select doc_id from read_documents").fetchall() == [("one",)]


def test_a_step_never_hides_the_view_of_a_table(lake):
    with lake.connect() as connection, pytest.raises(duckdb.CatalogException, match="View"):
        lake.create(connection, "slots")


def test_a_table_is_written_with_its_figures(lake):
    lake.write("documents", rows("documents", document("one")))
    published = make_table(lake, "slots")
    assert published.n_rows == published.figures["slots"] > 0
    assert lake.has("slots")


def test_an_input_that_is_not_there_is_named(lake):
    with pytest.raises(LakeError, match="materialise 'tiny/documents' first"):
        make_table(lake, "slots")
    with pytest.raises(LakeError, match="table 'feature_stats' of SAE 'hand-set' is not complete"):
        make_table(lake, "feature_routes", sae=SAE)


def test_a_table_over_all_batches_is_made_of_those_that_are_there(lake):
    assert write_summary(lake).n_rows == 0


def test_rows_are_read_and_nothing_is_written(lake):
    before = {path for path in lake.root.rglob("*.parquet") if path.name != "schema.parquet"}
    assert read_rows(lake, "scored_explanations", sae=SAE, batch=0, asks_model=True).num_rows == 0
    assert {path for path in lake.root.rglob("*.parquet") if path.name != "schema.parquet"} == before
