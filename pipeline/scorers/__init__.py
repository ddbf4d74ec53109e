"""Predictions: every explanation of a batch, judged question by question."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import duckdb
import polars as pl
import pyarrow as pa

from pipeline.asking.batches import BatchAsker
from pipeline.asking.windows import Vocabulary, load_vocabulary
from pipeline.config import ScoringConfig
from pipeline.lake import Lake, Published
from pipeline.llm import Answer, Request
from pipeline.make_table import make_table
from pipeline.scorers.answers import parse_many, parse_one, probability_of_yes
from pipeline.scorers.questions import Question, Scorer, score_request
from pipeline.scorers.rounds import Rounds
from pipeline.tables.stages import STAGES

Row = dict[str, object]


class Asking(NamedTuple):
    """A request and the questions that it puts."""

    request: Request
    explanation_id: str
    scorer: Scorer
    questions: Sequence[Question]


Answering = Callable[[Sequence[Asking]], Mapping[str, Answer]]
"""From what is asked to the answers by request_id."""


def write_fuzzing_pairs(lake: Lake, sae: str, batch: int) -> Published:
    """Find a wrongly marked partner for each window that fuzzing may ask about; figures: pairs, and those dropped.

    Raises LakeError if an input is missing.
    """
    return make_table(lake, "fuzzing_pairs", sae=sae, batch=batch)


def write_predictions(lake: Lake, sae: str, batch: int) -> Published:
    """Put the questions of a batch; figures: predictions by status, rounds, requests sent and replayed, tokens.

    Raises:
        LakeError: An input is missing, or another run is at work on the batch.
        ConfigError: The endpoint cannot be used as the config says.
    """
    lake.require(*STAGES["predictions"].inputs, sae=sae, batch=batch)
    n_rounds = 0

    def answer(asking: Sequence[Asking]) -> Mapping[str, Answer]:
        puts = {each.request.request_id: each for each in asking}

        def is_usable(request: Request, answer: Answer) -> bool:
            return _read(puts[replace(request, draw=0).request_id], answer)[1] is not None

        nonlocal n_rounds
        n_rounds += 1
        return asker.ask([each.request for each in asking], is_usable)

    with BatchAsker(lake, "predictions", sae, batch) as asker, lake.connect(sae, batch) as connection:
        table = predictions_table(lake, connection, sae, answer)
    published = lake.write("predictions", table, sae=sae, batch=batch)
    by_status: dict[str, float | int | str] = dict(pl.DataFrame(table)["status"].value_counts().iter_rows())
    return Published(
        "predictions", published.path, published.n_rows, {**by_status, "rounds": n_rounds, **asker.figures}
    )


def predictions_table(lake: Lake, connection: duckdb.DuckDBPyConnection, sae: str, answer: Answering) -> pa.Table:
    """The rows of `predictions`: the questions about the tables that a connection sees, and what `answer` gives.

    `answer` is called once a round, with the requests of all explanations that go on.
    """
    vocabulary = load_vocabulary(lake)
    rounds = Rounds(lake, connection, sae)
    for questions in rounds:
        asking = list(_asking(lake.config.scoring, sae, questions, vocabulary))
        answers = answer(asking)
        rounds.record([row for each in asking for row in _rows(sae, each, answers)])
    return rounds.predictions


def _asking(scoring: ScoringConfig, sae: str, questions: pl.DataFrame, vocabulary: Vocabulary) -> Iterator[Asking]:
    """The requests of a round, in the order of its questions."""
    for _, prompt in questions.group_by("scorer", "explanation_id", "prompt", maintain_order=True):
        rows = prompt.to_dicts()
        put = [Question(**{name: row[name] for name in Question._fields}) for row in rows]
        first = rows[0]
        scorer: Scorer = first["scorer"]
        request = score_request(scoring, sae, first["feature"], scorer, first["explanation"], put, vocabulary)
        yield Asking(request, first["explanation_id"], scorer, put)


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
