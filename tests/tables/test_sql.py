"""What runs before what, and what a table is made from, is read off the SQL."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.tables import sql
from pipeline.tables.sql import names_in, relations_read, sql_files, sql_text, steps_of, tables_read
from pipeline.tables.stages import STAGES

STEPS = {
    "documents": "documents",
    "contexts": "contexts",
    "slots": "slots",
    "train_words": "token_pieces train_words",
    "sae_fit": "fit_contexts",
    "feature_logits": "token_texts",
    "feature_tokens": "candidate_slots corpus_tokens firings feature_cuts feature_tokens",
    "feature_stats": (
        "reached_positions train_tokens candidate_slots corpus_tokens firings feature_counts position_counts "
        "cell_bias feature_positions feature_cuts feature_masses heaviest_tokens top_tokens "
        "feature_previous_tokens feature_stats"
    ),
    "scrambled_contexts": "train_tokens unigram_tokens scrambled_texts scrambled_contexts",
    "context_independence": "context_independence",
    "feature_rules": (
        "token_classes train_tokens rule_candidates rule_bases candidate_slots corpus_tokens train_windows "
        "train_positions context_candidates rule_sets mined_rules rule_words corpus_documents window_counts "
        "feature_rules"
    ),
    "rule_scores": (
        "corpus_documents proved_rules token_classes candidate_slots corpus_tokens rule_sums "
        "rule_role_scores rule_scores"
    ),
    "stated_rule_scores": (
        "corpus_documents proved_rules token_classes candidate_slots corpus_tokens rule_sums "
        "rule_role_scores token_texts"
    ),
    "feature_routes": "feature_routes",
    "selected_features": "selected_features",
    "feature_cofirings": "cofiring_tokens feature_cofirings",
    "example_index": ("candidate_slots corpus_tokens firings slot_peaks active_slots kept_slots example_index"),
    "examples": (
        "batch_features candidate_slots batch_index batch_neighbours corpus_tokens batch_tokens silent_lots "
        "silent_strata slots_in_turn test_slots taken_slots rendered_windows examples"
    ),
    "fuzzing_pairs": "fuzzing_pairs",
    "steered_texts": "batch_features steering_prompts ablation_prompts vocabulary",
    "token_changes": "token_change_texts batch_features changed_features token_texts",
    "explanations": (
        "batch_features explained_features shown_examples lent_explanations batch_neighbours vocabulary"
    ),
    "scorer_rhos": (
        "selected_batches pilot_features batch_features scored_explanations pilot_explanations batch_neighbours "
        "control_questions control_thresholds question_answers answer_correlations shrunk_rhos"
    ),
    "predictions": (
        "questions question_answers rate_intervals balanced_accuracies batch_features scored_explanations "
        "next_questions scorer_pilot vocabulary"
    ),
    "scores": (
        "question_answers rate_intervals balanced_accuracies choice_scores ranked_scores sample_scores rule_exact "
        "simulated_windows simulation_scores question_weights graded_scores scores"
    ),
    "score_details": (
        "question_answers rate_intervals balanced_accuracies choice_scores ranked_scores sample_scores "
        "question_weights population_scores rule_exact simulated_windows simulation_scores graded_scores "
        "score_details"
    ),
    "summary": (
        "headline_scores summarised_scores score_means explaining_counts search_gains current_requests "
        "explaining_requests score_costs question_answers answer_correlations summary"
    ),
    "explainer_comparisons": "headline_scores current_requests explaining_requests explainer_comparisons",
    "scorer_agreements": "headline_scores scorer_agreements",
}
"""The steps of every stage that has any, in their order: a SQL file that reads another shows here."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of SQL files in place of the product's; a function writes one."""

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.sql").write_text(text, encoding="utf-8")

    monkeypatch.setattr(sql, "SQL_FOLDER", tmp_path)
    cached = (sql_files, sql_text, names_in, relations_read)
    for function in cached:
        function.cache_clear()
    yield write
    for function in cached:
        function.cache_clear()


def test_the_steps_of_every_stage_are_read_off_its_sql():
    assert {name: " ".join(stage.steps) for name, stage in STAGES.items() if stage.steps} == STEPS


def test_every_step_comes_after_what_it_reads():
    for stage in STAGES.values():
        for place, name in enumerate(stage.steps):
            read = set(relations_read(name)) & set(stage.steps)
            assert read - {stage.table} <= set(stage.steps[:place])


def test_what_a_file_defines_itself_is_not_what_it_reads(folder):
    folder(
        picked="""
            with recursive ours as (select * from documents), grown as (
                select 1 as n union all select n + 1 from grown where n < (select count(*) from tokens)
            )
            select * from ours join range(3) as r(n) on n in (select n from grown) join their_rows using (doc_id)
        """,
        their_rows="-- from comments\nfrom contexts as c semi join slots using (context_id)",
    )
    assert relations_read("picked") == ("documents", "tokens", "their_rows")
    assert steps_of("picked") == ("their_rows", "picked")
    assert tables_read("picked") == ("documents", "tokens", "contexts", "slots")


def test_what_is_given_needs_no_step(folder):
    folder(chosen="from wanted_rows join documents using (doc_id) join told using (doc_id)", told="from slots")
    given = {"wanted_rows", "told", "documents"}
    assert steps_of("chosen", given=given) == ("chosen",)
    assert tables_read("chosen", given=given) == ()


def test_a_name_that_nobody_gives_is_an_error_that_names_both(folder):
    folder(chosen="from wanted_rows")
    with pytest.raises(ConfigError, match=r"'chosen.sql' reads 'wanted_rows', which is not a table or a SQL file"):
        steps_of("chosen")


def test_files_that_read_each_other_are_an_error_and_not_endless(folder):
    folder(egg="from hen", hen="from egg")
    with pytest.raises(ConfigError, match="in a circle: egg <- hen <- egg"):
        steps_of("egg")


def test_a_file_that_duckdb_cannot_read_is_named(folder):
    folder(broken="select from where")
    with pytest.raises(ConfigError, match="cannot read the SQL file 'broken'"):
        relations_read("broken")


def test_a_file_name_may_stand_once_only(folder, tmp_path):
    for name in ("features", "rules", "figures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tops.sql").touch()
    with pytest.raises(ValueError, match="two SQL files are named 'tops'"):
        sql_files()


def test_stages_are_declared_without_duckdb():
    code = "import sys; import pipeline.tables.stages; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_threads_that_read_sql_at_once_each_get_their_own_names() -> None:
    names = sorted(sql_files()) * 3
    with ThreadPoolExecutor(8) as threads:  # not from the cache, as the first pages of a server do
        found = list(threads.map(names_in.__wrapped__, names))
    assert found == [names_in(name) for name in names]
