"""What every scorer has to do: its scores are what theory says of whoever answers.

Where a language model is asked, the oracle answers, by the config alone. It reads prompts as they are sent
(`pipeline.llm.oracle.prompts`): a scorer whose prompts it cannot read fails here, and could not be rehearsed.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl
import pytest
from tiny import rows_of, stored

from pipeline.asking.batches import ToAsk
from pipeline.asking.tools import Batch
from pipeline.explainers.write import write_explanations
from pipeline.lake import Lake
from pipeline.llm import Answer
from pipeline.make_table import make_table
from pipeline.plugins import find_plugins
from pipeline.scorers.write import load_scorer, predictions_table, tools_of, write_predictions
from pipeline.scorers.yes_no import YesNo
from pipeline.tables.inputs import inputs_of
from pipeline.tables.stages import STAGES

pytestmark = pytest.mark.whole

SAE = "hand-set"
SCORERS = {name: load_scorer(name) for name in sorted(find_plugins("scorers"))}
ASKING = [name for name, scorer in SCORERS.items() if isinstance(scorer, YesNo)]
RANKING = [
    name
    for name, plugin in sorted(find_plugins("scorers").items())
    if SCORERS[name].role is None and "steered_texts" not in STAGES["predictions"].tables_of(plugin)
]
CHOOSING = ["intruder"]
"""Scorers that ask a language model yes or no, that ask none and rank windows, and that have one choose."""

TRUE = {"false_positive_rate": 0.0, "false_negative_rate": 0.0}
COIN = {"false_positive_rate": 0.5, "false_negative_rate": 0.5}
YES = {"false_positive_rate": 1.0, "false_negative_rate": 0.0}
NO = {"false_positive_rate": 0.0, "false_negative_rate": 1.0}
REFUSING = {**TRUE, "refusal_rate": 1.0}
GARBLING = {**TRUE, "garbled_rate": 1.0}

Z_999 = 3.2905
"""Of a two-sided 99.9 % interval."""


class Judged(NamedTuple):
    """What came of a scorer: its predictions, and its scores with their explanations."""

    predictions: pl.DataFrame
    scores: list[dict[str, Any]]

    @property
    def own(self) -> list[dict[str, Any]]:
        """The scores of explanations that are no controls."""
        return [row for row in self.scores if row["explainer"] in {"default", "rule"}]


def judge(lake_of: Any, name: str, oracle: dict[str, float], per_prompt: int | None = 1) -> Judged:
    """The predictions and scores of one scorer, of explanations that are all true but for the controls."""
    lake: Lake = lake_of(scoring={"scorers": [name], "oracle": oracle, "questions_per_prompt": per_prompt})
    if not lake.has("explanations", sae=SAE, batch=0):
        write_explanations(lake, SAE, 0)
    if not lake.has("scores", sae=SAE, batch=0):  # another test may have judged it
        write_predictions(lake, SAE, 0)
        make_table(lake, "scores", sae=SAE, batch=0)
    predictions = stored(lake, "predictions", sae=SAE, batch=0)
    assert set(predictions["scorer"]) == {name} and set(predictions["role"]) == {"test"}
    predictions = predictions.filter(pl.col("status") != "not_asked")
    return Judged(predictions, rows_of(lake, f"from scores where scorer = '{name}'"))


each_scorer = pytest.mark.parametrize("name", ASKING)


@each_scorer
@pytest.mark.parametrize("per_prompt", [1, 5])
def test_true_explanations_score_near_1_and_controls_at_chance(lake_of: Any, name: str, per_prompt: int) -> None:
    judged = judge(lake_of, name, TRUE, per_prompt)
    assert {row["feature"] for row in judged.own} == {row["feature"] for row in judged.scores}
    assert len(judged.own) == 3
    for row in judged.own:
        assert row["balanced_accuracy"] >= 0.95 and row["coverage"] == 1, row
        assert row["ci_low"] > 0.5
    others = [row for row in judged.scores if row["explainer"] == "other_feature"]
    assert others and all(row["ci_low"] <= 0.5 <= row["ci_high"] for row in others)
    if per_prompt == 1:
        assert all(row["balanced_accuracy"] == 0.5 for row in judged.scores if row["explainer"] == "empty")


@each_scorer
def test_left_to_itself_40_questions_share_a_prompt_and_each_has_a_probability(lake_of: Any, name: str) -> None:
    answers = judge(lake_of, name, TRUE, None).predictions
    assert answers["probability"].null_count() == 0
    assert answers.group_by("request_id").len()["len"].max() == 40
    said = answers.select(pl.col("prediction") == (pl.col("probability") >= 0.5)).to_series()
    assert said.all()


@each_scorer
def test_where_answers_of_many_have_no_probability_each_question_has_a_prompt(lake_of: Any, name: str) -> None:
    lake: Lake = lake_of(scoring={"scorers": [name], "oracle": TRUE})
    if not lake.has("explanations", sae=SAE, batch=0):
        write_explanations(lake, SAE, 0)
    asked: list[bool] = []

    def ask(to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
        asked.extend(each.request.is_choice for each in to_ask)
        return {each.request.request_id: Answer(each.request.request_id, "ok", each.stand_in) for each in to_ask}

    with lake.connect(SAE, 0, tables=inputs_of(lake.config, "predictions")) as connection:
        predictions_table(Batch(lake, connection, SAE, 0), {"scorer": ask}, [name])
    assert asked[0] is False and all(asked[1:]) and len(asked) > 100


@each_scorer
def test_a_coin_is_right_half_of_the_time(lake_of: Any, name: str) -> None:
    answers = judge(lake_of, name, COIN).predictions
    assert answers["prediction"].null_count() == 0
    for label in (True, False):
        right = answers.filter(label=label).select(pl.col("prediction") == pl.col("label")).to_series()
        assert len(right) >= 100
        assert abs(float(right.mean()) - 0.5) <= Z_999 * 0.5 / math.sqrt(len(right))


@each_scorer
@pytest.mark.parametrize("oracle, recall", [(YES, 1.0), (NO, 0.0)])
def test_one_answer_to_everything_is_worth_one_half(
    lake_of: Any, name: str, oracle: dict[str, float], recall: float
) -> None:
    rows = judge(lake_of, name, oracle).scores
    assert {row["explainer"] for row in rows} == {"default", "rule", "empty", "other_feature"}
    assert {(row["balanced_accuracy"], row["recall"]) for row in rows} == {(0.5, recall)}


@each_scorer
@pytest.mark.parametrize(
    "oracle, status, per_prompt", [(REFUSING, "refused", 1), (GARBLING, "unparsed", 1), (GARBLING, "unparsed", 5)]
)
def test_no_answer_is_a_status_and_never_a_label(
    lake_of: Any, name: str, oracle: dict[str, float], status: str, per_prompt: int
) -> None:
    judged = judge(lake_of, name, oracle, per_prompt)
    assert set(judged.predictions["status"]) == {status}
    for column in ("prediction", "probability", "values"):
        assert judged.predictions[column].null_count() == judged.predictions.height > 100
    assert judged.predictions["request_id"].null_count() == 0
    for row in judged.scores:
        assert [row[figure] for figure in ("balanced_accuracy", "ci_low", "recall", "f1", "auroc")] == [None] * 5
        assert row["n_scored"] == 0 < row["n_unscored"]
        assert row["reason"] == "coverage 0.00 is under 0.80"


@pytest.mark.parametrize("name", [*ASKING, *RANKING, *CHOOSING])
def test_questions_are_put_once_and_are_about_test_windows(lake_of: Any, name: str) -> None:
    judged = judge(lake_of, name, TRUE)
    lake: Lake = lake_of(scoring={"scorers": [name], "oracle": TRUE})
    roles = {row["example_id"]: row["role"] for row in rows_of(lake, "select example_id, role from examples")}
    asked = judged.predictions
    assert asked.select("explanation_id", "question_id").is_unique().all()
    assert {roles[example_id] for example_id in asked["example_id"].drop_nulls()} == {"test"}
    assert set(asked["label"]) == ({True} if name in CHOOSING else {True, False})


@pytest.mark.parametrize("name", RANKING)
def test_a_scorer_without_a_model_ranks_every_test_window_and_says_the_same_again(lake_of: Any, name: str) -> None:
    first = judge(lake_of, name, TRUE)
    lake: Lake = lake_of(scoring={"scorers": [name], "oracle": TRUE, "questions_per_prompt": 1})
    write_predictions(lake, SAE, 0)
    make_table(lake, "scores", sae=SAE, batch=0)
    again = judge(lake_of, name, TRUE)
    assert first.predictions.equals(again.predictions) and first.scores == again.scores
    rows = first.predictions
    assert set(rows["status"]) == {"ok"} and rows["request_id"].null_count() == rows.height
    assert rows["probability"].null_count() == 0 == rows.height - rows["prediction"].null_count()
    for row in first.own:
        assert row["balanced_accuracy"] is None and row["coverage"] == 1
        assert 0 <= row["auroc_low"] < row["auroc"] < row["auroc_high"] <= 1


@pytest.mark.parametrize("name", RANKING)
def test_a_row_of_a_model_in_this_process_depends_on_its_feature_and_explanation_alone(
    lake_of: Any, name: str
) -> None:
    lake: Lake = lake_of(scoring={"scorers": [name], "oracle": TRUE})
    if not lake.has("explanations", sae=SAE, batch=0):
        write_explanations(lake, SAE, 0)
    scorer = SCORERS[name]
    with lake.connect(SAE, 0, tables=inputs_of(lake.config, "predictions")) as connection:
        batch = Batch(lake, connection, SAE, 0)
        batch.create("scored_explanations", asks_model=False)
        questions, tools = scorer.questions(batch), tools_of(name, batch, {"scorer": lambda _: {}})
        together = {each.question_id: each.probability for each in scorer.predict(questions, tools)}
        ids = sorted({each for (each,) in questions.select("explanation_id").fetchall()})
        for own in (ids[0], ids[-1]):
            alone = [*scorer.predict(questions.filter(f"explanation_id = '{own}'"), tools)]
            assert 10 < len(alone) < len(together)
            assert {each.question_id: each.probability for each in alone}.items() <= together.items()


each_choice = pytest.mark.parametrize("name", CHOOSING)
GUESSING = {**TRUE, "false_negative_rate": 0.8}
"""Right once in five times."""


@each_choice
@pytest.mark.parametrize("oracle, accuracy", [(TRUE, 1.0), (NO, 0.0), (GUESSING, 0.2), (COIN, 0.5)])
def test_a_choice_is_right_as_often_as_whoever_answers(
    lake_of: Any, name: str, oracle: dict[str, float], accuracy: float
) -> None:
    judged = judge(lake_of, name, oracle)
    right = judged.predictions["prediction"]
    assert right.null_count() == 0 and len(right) >= 20
    assert abs(float(right.mean()) - accuracy) <= Z_999 * math.sqrt(accuracy * (1 - accuracy) / len(right))
    assert {(row["explainer"], row["chance"], row["coverage"]) for row in judged.scores} == {("empty", 0.2, 1.0)}
    for row in judged.scores:
        assert row["accuracy_low"] - 1e-9 <= row["accuracy"] <= row["accuracy_high"] + 1e-9
        assert row["balanced_accuracy"] is None


@each_choice
def test_explanations_that_it_does_not_ask_about_leave_no_batch_unfinished(lake_of: Any, name: str) -> None:
    judge(lake_of, name, TRUE)
    lake: Lake = lake_of(scoring={"scorers": [name], "oracle": TRUE, "questions_per_prompt": 1})
    answers = "select explainer, predictions.status from predictions join explanations using (explanation_id)"
    said = rows_of(lake, answers)
    assert {row["explainer"] for row in said if row["status"] == "ok"} == {"empty"}
    # Of one feature too few windows are there for a question.
    explainers = {"empty", "default", "rule", "other_feature"}
    assert {row["explainer"] for row in said if row["status"] == "not_asked"} == explainers
    assert lake.query("unfinished_batches").is_empty()


@each_choice
@pytest.mark.parametrize("oracle, status", [(REFUSING, "refused"), (GARBLING, "unparsed")])
def test_no_choice_is_a_status_and_never_a_wrong_one(
    lake_of: Any, name: str, oracle: dict[str, float], status: str
) -> None:
    judged = judge(lake_of, name, oracle)
    assert set(judged.predictions["status"]) == {status}
    assert judged.predictions["prediction"].null_count() == judged.predictions.height
    for row in judged.scores:
        assert (row["accuracy"], row["n_scored"], row["reason"]) == (None, 0, "coverage 0.00 is under 0.80")
