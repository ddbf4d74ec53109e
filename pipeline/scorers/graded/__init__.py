"""Graded (FADE, Puri et al. 2025): how well does this window fit the explanation, 0, 1 or 2?

The grades judge the feature: do windows of grade 2 activate it more than windows of grade 0 (responsiveness), and
do the windows that activate it have grade 2 (purity)? See `sql/scores/graded_scores.sql`. Where FADE takes
absolute values, the sign is kept here: a feature that fires on what does not fit scores below chance.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from pipeline.asking.batches import ToAsk
from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.windows import numbered, one_line
from pipeline.config import settings_of
from pipeline.llm import Answer, Request
from pipeline.scorers.base import Prediction
from pipeline.scorers.graded.settings import Settings
from pipeline.scorers.numbers import numbers_schema, parse_numbers
from pipeline.scorers.requests import by_number, scoring_request, status_of
from pipeline.scorers.values import keys_of

_FOLDER = Path(__file__).parent
_LARGEST = 2


class Graded:
    """Grades windows, several per prompt."""

    name = "graded"
    role: RoleKind | None = "scorer"

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The test windows of each explanation's feature that other scorers also ask about."""
        return batch.select(_FOLDER / "questions.sql")

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """A grade per window, as its only value."""
        size = settings_of(tools.config.scoring, self.name, Settings).windows_per_prompt
        placed = questions.pl().with_columns(
            (pl.int_range(pl.len()).over("explanation_id", order_by="example_id") // size).alias("prompt")
        )
        prompts = [part for _, part in placed.group_by("explanation_id", "prompt", maintain_order=True)]
        requests = [_request(part, tools) for part in prompts]
        asked = [_to_ask(request, part.height) for request, part in zip(requests, prompts, strict=True)]
        answers = tools.ask(asked)
        for part, request in zip(prompts, requests, strict=True):
            yield from _predictions(part, answers[request.request_id])


scorer = Graded()


def _request(part: pl.DataFrame, tools: Tools) -> Request:
    n = part.height
    texts = numbered(map(tools.vocabulary.render, part["token_ids"]))
    user = load_prompt(_FOLDER / "user.txt").render(
        explanation=one_line(part["explanation"][0]), texts=texts, n=str(n)
    )
    return scoring_request(
        tools.config.scoring,
        tools.batch.sae,
        part["feature"][0],
        Graded.name,
        load_prompt(_FOLDER / "system.txt").render(),
        user,
        # Choices constrain a model in this process to the object; servers are asked for no probabilities.
        by_number(n, numbers_schema(n, _LARGEST), ("0", "1", "2") if tools.role.is_local else None),
    )


def _to_ask(request: Request, n: int) -> ToAsk:
    stand_in = json.dumps({key: _LARGEST * (number % 2) for number, key in enumerate(keys_of(n))})
    return ToAsk(request, lambda answer: parse_numbers(answer.text or "", n, _LARGEST) is not None, stand_in)


def _predictions(part: pl.DataFrame, answer: Answer) -> Iterator[Prediction]:
    """A prediction per window; an unusable answer leaves its windows without grades."""
    grades = parse_numbers(answer.text or "", part.height, _LARGEST) if answer.status == "ok" else None
    status = status_of(answer, is_read=grades is not None)
    rows = part.select("explanation_id", "feature", "question_id", "example_id")
    for number, row in enumerate(rows.iter_rows(named=True)):
        yield Prediction(
            **row,
            status=status,
            request_id=answer.request_id,
            values=None if grades is None else [float(grades[number])],
        )
