"""Scorers that ask yes or no of a window: what they share, so that each is its prompts, its SQL and a line.

A prompt puts one or several questions about one explanation; rounds say which questions are put next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

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
from pipeline.scorers.yes_no.requests import AT_ONCE, AskedQuestions, group_questions, half_right
from pipeline.scorers.yes_no.rounds import Rounds

_TRIES = 5
"""First prompts whose answers cannot be read, after which a prompt puts one question."""


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
        per_prompt, tools = self.form(tools, lambda size: Rounds(tools.batch, name, questions, size).due())
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
        prompts = list(group_questions(self.name, due, tools, per_prompt))
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
        """How many questions a prompt puts, where the answers to the first prompts tell."""
        if _fixed(tools):
            return None
        name = self.name + tools.role.suffix
        told = self._told_form(tools, lambda size: Rounds(tools.batch, name, questions, size).due())
        return str(told) if isinstance(told, int) else None

    def form(self, tools: Tools, first: Callable[[int], pl.DataFrame]) -> tuple[int, Tools]:
        """How many questions a prompt puts, and the tools with which they are put.

        As the config says, else the pilot. Before a pilot the answers to the first prompts tell; `first` gives the
        questions that come first, so many a prompt. If such a request fails, none is sent: the next run would put
        the questions in another form, and pay them twice.
        """
        if fixed := _fixed(tools):
            return fixed, tools
        if found := piloted(self.name, tools).form:
            return int(found), tools
        told = self._told_form(tools, first)
        if isinstance(told, Answer):
            return AT_ONCE, replace(tools, ask=partial(_unasked, told))
        return told or AT_ONCE, tools

    def _told_form(self, tools: Tools, first: Callable[[int], pl.DataFrame]) -> int | Answer | None:
        """How many questions a prompt puts, by the first prompts, one after another; or the answer that failed.

        The first answer that can be read tells: many, if as many as a score takes (min_coverage) have a
        probability, else one. Where a prompt is too long, the next try puts half as many; of answers that are
        refused, cut off or cannot be read no single one tells, but `_TRIES` of them do: one. None where there is
        no question.
        """
        per_prompt, has_asked = AT_ONCE, False
        while per_prompt > 1:
            for prompt in islice(group_questions(self.name, first(per_prompt), tools, per_prompt), _TRIES):
                has_asked = True
                answer = tools.ask([_to_ask(prompt)])[prompt.request.request_id]
                if answer.status in FAILED:
                    return answer
                if answer.status == "too_long":
                    break
                if answer.status == "ok" and _read(prompt, answer).values is not None:
                    enough = tools.config.scoring.min_coverage * len(prompt.questions)
                    return per_prompt if len(answer.probabilities or ()) >= enough else 1
            else:
                return 1 if has_asked else None
            per_prompt //= 2
        return 1


def _fixed(tools: Tools) -> int | None:
    """How many questions a prompt puts where no answer has to tell.

    To a model in this process one: a prompt's beginning is read once, and small models answer one question best.
    """
    return tools.config.scoring.questions_per_prompt or (1 if tools.role.is_local else None)


def _unasked(failed: Answer, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
    """What is not sent, as another request has failed: its status for each."""
    ids = [each.request.request_id for each in to_ask]
    return {request_id: Answer(request_id, failed.status, error=failed.error) for request_id in ids}


def _to_ask(prompt: AskedQuestions) -> ToAsk:
    return ToAsk(prompt.request, lambda answer: _read(prompt, answer).values is not None, half_right(prompt))


def _read(prompt: AskedQuestions, answer: Answer, threshold: float = HALF) -> Said:
    return read_answer(answer, len(prompt.questions), is_one=prompt.request.is_choice, threshold=threshold)


def _predictions(
    prompt: AskedQuestions, answer: Answer, strata: Mapping[str, Sequence[str] | None], threshold: float
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
