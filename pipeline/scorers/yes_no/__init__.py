"""Scorers that ask yes or no of a window: what they share, so that each is its prompts, its SQL and a line.

A prompt puts one or several questions about one explanation; rounds say which questions are put next.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import polars as pl

from pipeline.asking.batches import ToAsk
from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Batch, Tools
from pipeline.llm import Answer
from pipeline.plugins import find_plugin
from pipeline.scorers.base import Prediction
from pipeline.scorers.yes_no.answers import HALF, Said, read_answer
from pipeline.scorers.yes_no.requests import AT_ONCE, Prompt, half_right, prompts_of
from pipeline.scorers.yes_no.rounds import Rounds


@dataclass(frozen=True)
class YesNo:
    """A scorer whose questions are windows, with marks or without.

    Attributes:
        name: Its name. In its folder, or in that of the scorer that its settings name (`prompts_of`), are its
            instructions: `one.txt` for a prompt of one question, `many.txt` for several, `question.txt` if it puts
            one question in words of its own. `questions.sql` are its questions, unless these are the rows of
            `sql/questions/<name>.sql`; they may have a column `strata`.
        role: In which role it asks a language model.
    """

    name: str
    role: RoleName | None = "scorer"

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The rows of its SQL."""
        own = find_plugin("scorers", self.name).path / "questions.sql"
        return batch.select(own if own.is_file() else self.name)

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """Put the questions round by round, until each explanation is told well enough or has none left."""
        name = self.name + tools.role.suffix
        per_prompt = self.per_prompt(tools, lambda: Rounds(tools.batch, name, questions, AT_ONCE))
        told = tools.batch.select("scorer_threshold", scorer=name).fetchall()
        threshold = told[0][0] if told else HALF
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
        return tools.config.scoring.questions_per_prompt or (1 if tools.role.is_local else AT_ONCE)

    def per_prompt(self, tools: Tools, first: Callable[[], Iterable[pl.DataFrame]]) -> int:
        """How many questions a prompt puts: as the config says, else many, if each has its probability.

        The answer to the first prompt tells, which is the same at each run by the ledger; `first` gives the
        questions that come first, of AT_ONCE a prompt.
        """
        if tools.config.scoring.questions_per_prompt is not None:
            return tools.config.scoring.questions_per_prompt
        if tools.role.is_local:  # a prompt's beginning is read once, and small models answer one question best
            return 1
        for due in first():
            for prompt in prompts_of(self.name, due, tools, AT_ONCE):
                answer = tools.ask([_to_ask(prompt)])[prompt.request.request_id]
                return 1 if answer.status == "ok" and not answer.probabilities else AT_ONCE
        return AT_ONCE


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
    status = "unparsed" if answer.status == "ok" and said.values is None else answer.status
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
