"""Intruder detection (Paulo and Belrose, 2507.08473): which of these windows does not belong with the others?

All windows but one come from one decile, with their firing tokens marked. In the intruder the feature is silent;
the marked positions are those of another window of that decile. The feature is judged, not an explanation, so
there is one row per feature: its questions belong to the control explanation `empty`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from pipeline.asking.batches import ToAsk
from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.windows import Vocabulary, numbered
from pipeline.config import Config, ScoringConfig
from pipeline.errors import ConfigError
from pipeline.llm import Answer, Request
from pipeline.scorers.base import Prediction
from pipeline.scorers.choosing import chosen, numbers_to
from pipeline.scorers.requests import one_of, scoring_request, status_of

_FOLDER = Path(__file__).parent


class Intruder:
    """Asks which window does not belong."""

    name = "intruder"
    role: RoleKind | None = "scorer"

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """`n_questions` questions about each feature that has an empty explanation, or fewer."""
        return batch.select(_FOLDER / "questions.sql")

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """One question per request; the prediction is whether the intruder was found."""
        scoring, rows = tools.config.scoring, questions.pl().to_dicts()
        to_ask = [_to_ask(choice_request(scoring, tools.batch.sae, row, tools.vocabulary), row) for row in rows]
        answers = tools.ask(to_ask)
        for row, asked in zip(rows, to_ask, strict=True):
            yield _prediction(row, answers[asked.request.request_id])


scorer = Intruder()


def check(config: Config) -> None:
    """Raise ConfigError if no feature has an empty explanation, to which its questions belong."""
    if config.explaining.controls == 0:
        raise ConfigError(
            "scoring.scorers: intruder asks only about features that have controls, but explaining.controls is 0; "
            "set it to the number of features per batch to ask about, or remove intruder"
        )


def choice_request(
    scoring: ScoringConfig, sae: str, question: Mapping[str, Any], vocabulary: Vocabulary
) -> Request:
    """The request for a question (a row of `questions.sql`), with its windows in order."""
    texts = [vocabulary.render(each["token_ids"], each["marked"]) for each in question["windows"]]
    user = load_prompt(_FOLDER / "user.txt").render(texts=numbered(texts), n=str(len(texts)))
    system = load_prompt(_FOLDER / "system.txt").render()
    form = one_of(numbers_to(len(texts)))
    return scoring_request(scoring, sae, question["feature"], Intruder.name, system, user, form)


def _to_ask(request: Request, question: Mapping[str, Any]) -> ToAsk:
    n = len(question["windows"])
    return ToAsk(request, lambda answer: chosen(answer, n) is not None, str(question["intruder_number"]))


def _prediction(question: Mapping[str, Any], answer: Answer) -> Prediction:
    n, number = len(question["windows"]), question["intruder_number"]
    choice = chosen(answer, n) if answer.status == "ok" else None
    is_read = choice is not None
    return Prediction(
        explanation_id=question["explanation_id"],
        feature=question["feature"],
        question_id=question["question_id"],
        example_id=question["example_id"],
        marked=question["marked"],
        label=True,
        prediction=choice == number if is_read else None,
        probability=(answer.probabilities or {}).get(str(number)) if is_read else None,
        status=status_of(answer, is_read=is_read),
        request_id=answer.request_id,
        n_choices=n,
        strata=question["strata"],
    )
