"""Scorers that ask yes or no of a window: what they share, so that each is its prompts, its SQL and a line.

A prompt puts one or several questions about one explanation; rounds say which questions are put next.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import duckdb
import polars as pl

from pipeline.asking.batches import ToAsk
from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Batch, Tools
from pipeline.llm import Answer
from pipeline.llm.requests import FAILED
from pipeline.plugins import find_plugin
from pipeline.scorers.base import Prediction, piloted
from pipeline.scorers.requests import status_of
from pipeline.scorers.yes_no.answers import HALF, Said, read_answer
from pipeline.scorers.yes_no.requests import AT_ONCE, Prompt, half_right, prompts_of
from pipeline.scorers.yes_no.rounds import Rounds


@dataclass(frozen=True)
class YesNo:
    """A scorer whose questions are windows, with marks or without.

    Attributes:
        name: Its name. In its folder, or in that of the scorer that its settings name (`prompts_of`), are its
            instructions: `one.txt` for a prompt of one question, `many.txt` for several, `question.txt` if it puts
            one question in words of its own. In its own folder are its questions, the rows of `questions.sql`;
            they may have a column `strata`.
        role: In which role it asks a language model.
    """

    name: str
    role: RoleName | None = "scorer"

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The rows of its SQL."""
        return batch.select(find_plugin("scorers", self.name).path / "questions.sql")

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """Put the questions round by round, until each explanation is told well enough or has none left."""
        name = self.name + tools.role.suffix
        per_prompt, tools = self.form(tools, lambda: Rounds(tools.batch, name, questions, AT_ONCE))
        threshold = piloted(self.name, tools).threshold or HALF
        has_strata = "strata" in questions.columns
        strata = dict(questions.select("question_id, strata").fetchall()) if has_strata else {}
        rounds = Rounds(tools.batch, name, questions, per_prompt)
        for due in rounds:
            predictions = self.put(due, tools, per_prompt, strata, threshold)
            rounds.record(predictions)
            yield from predictions

    def put(
        self,
        due: pl.DataFrame,
        tools: Tools,
        per_prompt: int,
        strata: Mapping[str, Sequence[str] | None] | None = None,
        threshold: float = HALF,
    ) -> list[Prediction]:
        """Put questions, the rows of `next_questions` or the like: a prediction each, by the threshold."""
        prompts = list(prompts_of(self.name, due, tools, per_prompt))
        answers = tools.ask([_to_ask(prompt) for prompt in prompts])
        return [
            prediction
            for prompt in prompts
            for prediction in _predictions(prompt, answers[prompt.request.request_id], strata or {}, threshold)
        ]

    def together(self, tools: Tools) -> int:
        """How many questions a prompt puts where answers alone count, and no probabilities."""
        return _fixed(tools) or AT_ONCE

    def find_form(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> str | None:
        """How many questions a prompt puts, where the answer to the first prompt tells."""
        if _fixed(tools):
            return None
        rounds = Rounds(tools.batch, self.name + tools.role.suffix, questions, AT_ONCE)
        told = self._first_answer(tools, rounds)
        return None if told is None or told[0].status in FAILED else str(told[1])

    def form(self, tools: Tools, first: Callable[[], Iterable[pl.DataFrame]]) -> tuple[int, Tools]:
        """How many questions a prompt puts, and the tools with which they are put.

        As the config says, else the pilot. Before a pilot the answer to the first prompt tells; `first` gives the
        questions that come first, of AT_ONCE a prompt. If that request fails, none is sent: the next run would
        put the questions in another form, and pay them twice.
        """
        if fixed := _fixed(tools):
            return fixed, tools
        if found := piloted(self.name, tools).form:
            return int(found), tools
        told = self._first_answer(tools, first())
        if told is None:
            return AT_ONCE, tools
        answer, per_prompt = told
        return per_prompt, replace(tools, ask=partial(_unasked, answer)) if answer.status in FAILED else tools

    def _first_answer(self, tools: Tools, first: Iterable[pl.DataFrame]) -> tuple[Answer, int] | None:
        """The answer to the first prompt of AT_ONCE questions, and how many a prompt puts by it.

        Many, if as many as a score takes (min_coverage) have a probability. None where there is no question.
        """
        for due in first:
            for prompt in prompts_of(self.name, due, tools, AT_ONCE):
                answer = tools.ask([_to_ask(prompt)])[prompt.request.request_id]
                enough = tools.config.scoring.min_coverage * len(prompt.questions)
                lacks = answer.status == "ok" and len(answer.probabilities or ()) < enough
                return answer, 1 if lacks else AT_ONCE
        return None


def _fixed(tools: Tools) -> int | None:
    """How many questions a prompt puts where no answer has to tell.

    To a model in this process one: a prompt's beginning is read once, and small models answer one question best.
    """
    return tools.config.scoring.questions_per_prompt or (1 if tools.role.is_local else None)


def _unasked(failed: Answer, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
    """What is not sent, as another request has failed: its status for each."""
    ids = [each.request.request_id for each in to_ask]
    return {request_id: Answer(request_id, failed.status, error=failed.error) for request_id in ids}


def _to_ask(prompt: Prompt) -> ToAsk:
    return ToAsk(prompt.request, lambda answer: _read(prompt, answer).values is not None, half_right(prompt))


def _read(prompt: Prompt, answer: Answer, threshold: float = HALF) -> Said:
    return read_answer(answer, len(prompt.questions), is_one=prompt.request.is_choice, threshold=threshold)


def _predictions(
    prompt: Prompt, answer: Answer, strata: Mapping[str, Sequence[str] | None], threshold: float
) -> Iterator[Prediction]:
    """A prediction a question; an answer that cannot be used leaves its questions unscored."""
    said = _read(prompt, answer, threshold) if answer.status == "ok" else Said(None, None)
    nothing = [None] * len(prompt.questions)
    status = status_of(answer, is_read=said.values is not None)
    for number, question in enumerate(prompt.questions):
        yield Prediction(
            explanation_id=prompt.explanation_id,
            feature=prompt.request.feature,
            question_id=question.question_id,
            example_id=question.example_id,
            marked=question.marked,
            label=question.label,
            prediction=(said.values or nothing)[number],
            probability=(said.probabilities or nothing)[number],
            status=status,
            request_id=answer.request_id,
            strata=strata.get(question.question_id),
        )
