"""Predictions: every explanation of a batch, judged question by question."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.asking import ask_batch
from pipeline.lake import Lake, Published
from pipeline.llm import Answer, Request
from pipeline.scorers.answers import parse_many, parse_one, probability_of_yes
from pipeline.scorers.questions import Question, Scorer, score_request
from pipeline.stages import STAGES
from pipeline.tables import TABLES
from pipeline.windows import load_vocabulary

Row = dict[str, object]


class Asking(NamedTuple):
    """A request and the questions that it puts."""

    request: Request
    explanation_id: str
    scorer: Scorer
    questions: Sequence[Question]


Answering = Callable[[Sequence[Asking]], Mapping[str, Answer]]
"""From what is asked to the answers by request_id."""


def write_predictions(lake: Lake, sae: str, batch: int) -> Published:
    """Put every question of a batch; figures: predictions by status, requests sent and replayed, tokens.

    Raises:
        LakeError: An input is missing, or another run is at work on the batch.
        ConfigError: The endpoint cannot be used as the config says.
    """
    lake.require(*STAGES["predictions"].inputs, sae=sae, batch=batch)
    figures: dict[str, float | int | str] = {}

    def answer(asking: Sequence[Asking]) -> Mapping[str, Answer]:
        puts = {each.request.request_id: each for each in asking}

        def is_usable(request: Request, answer: Answer) -> bool:
            return _read(puts[replace(request, draw=0).request_id], answer)[1] is not None

        asked = ask_batch(lake, "predictions", sae, batch, [each.request for each in asking], is_usable)
        figures.update(asked.figures)
        return asked.answers

    with lake.connect(sae, batch) as connection:
        table = predictions_table(lake, connection, sae, answer)
    published = lake.write("predictions", table, sae=sae, batch=batch)
    by_status: dict[str, float | int | str] = dict(pl.DataFrame(table)["status"].value_counts().iter_rows())
    return Published("predictions", published.path, published.n_rows, {**by_status, **figures})


def predictions_table(lake: Lake, connection: duckdb.DuckDBPyConnection, sae: str, answer: Answering) -> pa.Table:
    """The rows of `predictions`: the questions about the tables that a connection sees, and what `answer` gives.

    Whatever asks, or only counts what would be asked, goes through here.
    """
    asking = list(_asking(lake, connection, sae))
    answers = answer(asking)
    return pa.Table.from_pylist(
        [row for each in asking for row in _rows(sae, each, answers)], TABLES["predictions"].schema
    )


def _asking(lake: Lake, connection: duckdb.DuckDBPyConnection, sae: str) -> Iterator[Asking]:
    """The requests of a batch: its explanations' questions, by scorer, in the order of their hashes."""
    scoring = lake.config.scoring
    vocabulary = load_vocabulary(lake)
    lake.create_temporary(connection, "scored_explanations", sae=sae)
    explanations = lake.select(connection, "scored_explanations", sae=sae).pl()
    questions = {
        scorer: lake.select(connection, f"{scorer}_questions", sae=sae).pl() for scorer in scoring.scorers
    }
    windows = lake.select(connection, "test_windows").pl()
    token_ids = dict(windows.select("example_id", "token_ids").iter_rows())
    words = dict(explanations.select("explanation_id", "explanation").iter_rows())
    for scorer, rows in questions.items():
        for (explanation_id,), group in rows.group_by("explanation_id", maintain_order=True):
            put = [
                Question(
                    row["question_id"],
                    row["example_id"],
                    row["marked"],
                    row["label"],
                    token_ids[row["example_id"]],
                )
                for row in group.iter_rows(named=True)
            ]
            for start in range(0, len(put), scoring.questions_per_prompt):
                some = put[start : start + scoring.questions_per_prompt]
                feature = group["feature"][0]
                explanation = words[explanation_id]
                request = score_request(scoring, sae, feature, scorer, explanation, some, vocabulary)
                yield Asking(request, str(explanation_id), scorer, some)


def _rows(sae: str, asking: Asking, answers: Mapping[str, Answer]) -> Iterator[Row]:
    """A prediction a question; an answer that cannot be used leaves its questions unscored."""
    answer = answers[asking.request.request_id]
    status, predictions, probability = answer.status, None, None
    if answer.status == "ok":
        probability, predictions = _read(asking, answer)
    for place, question in enumerate(asking.questions):
        yield {
            "explanation_id": asking.explanation_id,
            "sae": sae,
            "feature": asking.request.feature,
            "scorer": asking.scorer,
            "role": "test",
            "question_id": question.question_id,
            "example_id": question.example_id,
            "marked": question.marked,
            "label": question.label,
            "prediction": None if predictions is None else predictions[place],
            "probability": probability,
            "values": None,
            "status": "unparsed" if status == "ok" and predictions is None else status,
            "request_id": answer.request_id,
        }


def _read(asking: Asking, answer: Answer) -> tuple[float | None, list[bool] | None]:
    """The probability of yes, for a prompt of one question, and the truth values."""
    if asking.request.choices is None:
        return None, parse_many(answer.text or "", len(asking.questions))
    probability = probability_of_yes(answer.probabilities)
    said = probability >= 0.5 if probability is not None else parse_one(answer.text or "")
    return probability, None if said is None else [said]
