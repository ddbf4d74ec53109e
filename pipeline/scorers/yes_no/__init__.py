"""The base of scorers that ask yes or no about windows; each adds only its prompts, its SQL and one line.

A prompt asks one or several questions about one explanation; rounds determine which questions come next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import duckdb
import polars as pl

from pipeline.asking.batches import ToAsk
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.lake.trial import columns_of
from pipeline.llm import Answer
from pipeline.llm.requests import FAILED
from pipeline.plugins import find_plugin
from pipeline.scorers.base import QUESTION_COLUMNS, Prediction, piloted
from pipeline.scorers.requests import status_of
from pipeline.scorers.yes_no.answers import HALF, TruthValues, read_answer
from pipeline.scorers.yes_no.requests import AT_ONCE, AskedQuestions, check_prompts, group_questions, half_right
from pipeline.scorers.yes_no.rounds import Rounds

_TRIES = 5
"""First prompts whose answers cannot be read, after which prompts ask one question each."""


@dataclass(frozen=True)
class YesNo:
    """A scorer whose questions are about windows, with or without marks.

    Attributes:
        name: Its name. Its folder, or that of the scorer named in its settings (`prompts_of`), holds its
            instructions: `one.txt` for prompts of one question, `many.txt` for several, and `question.txt` if it
            words a single question differently. Its own folder holds its questions, the rows of `questions.sql`,
            which may have a column `strata`.
        role: The role in which it asks a language model.
    """

    name: str
    role: RoleKind | None = "scorer"

    def check(self, config: Config) -> None:
        """Check its instructions and the columns of its questions. Raises ConfigError."""
        check_prompts(self.name)
        columns = columns_of(config, self._questions, "predictions")
        if lacking := ", ".join(name for name in QUESTION_COLUMNS if name not in columns):
            raise ConfigError(f"SQL file '{self._questions}' lacks a column in what it returns: {lacking}")

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The rows of its SQL."""
        return batch.select(self._questions)

    @property
    def _questions(self) -> Path:
        return find_plugin("scorers", self.name).path / "questions.sql"

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """Ask the questions round by round, until each explanation's score is precise enough or none are left."""
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
        """Ask questions (rows with the columns of `next_questions`): a prediction for each, by the threshold."""
        prompts = list(group_questions(self.name, due, tools, per_prompt))
        answers = tools.ask([_to_ask(prompt) for prompt in prompts])
        return [
            prediction
            for prompt in prompts
            for prediction in _predictions(prompt, answers[prompt.request.request_id], strata or {}, threshold)
        ]

    def together(self, tools: Tools) -> int:
        """The number of questions per prompt where only the answers matter, not their probabilities."""
        return _fixed(tools) or AT_ONCE

    def find_form(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> str | None:
        """The number of questions per prompt, if the answers to the first prompts determine it; else None."""
        if _fixed(tools):
            return None
        name = self.name + tools.role.suffix
        found = self._form_from_answers(tools, lambda size: Rounds(tools.batch, name, questions, size).due())
        return str(found) if isinstance(found, int) else None

    def form(self, tools: Tools, first: Callable[[int], pl.DataFrame]) -> tuple[int, Tools]:
        """The number of questions per prompt, and the tools to ask them with.

        The number comes from the config, else from the pilot, else from the answers to the first prompts; `first`
        returns the first questions, given the number per prompt. If one of these requests fails, no other is sent:
        the next run might ask the same questions in another form and pay for them twice.
        """
        if fixed := _fixed(tools):
            return fixed, tools
        if found := piloted(self.name, tools).form:
            return int(found), tools
        tried = self._form_from_answers(tools, first)
        if isinstance(tried, Answer):
            return AT_ONCE, replace(tools, ask=partial(_unasked, tried))
        return tried or AT_ONCE, tools

    def _form_from_answers(self, tools: Tools, first: Callable[[int], pl.DataFrame]) -> int | Answer | None:
        """The number of questions per prompt, from the first prompts, sent one by one; or the answer that failed.

        The first readable answer decides: several, if enough of its questions for a score (min_coverage) have a
        probability, else one. If a prompt is too long, the next try asks half as many. A single answer that is
        refused, cut off or unreadable decides nothing, but after `_TRIES` of them it is one. None without
        questions.
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
    """The number of questions per prompt, if it does not depend on answers; else None.

    One for a model in this process: it reads the common beginning of prompts only once, and small models are best
    at one question.
    """
    return tools.config.scoring.questions_per_prompt or (1 if tools.role.is_local else None)


def _unasked(failed: Answer, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
    """Answers for requests that are not sent because another failed, with that one's status."""
    ids = [each.request.request_id for each in to_ask]
    return {request_id: Answer(request_id, failed.status, error=failed.error) for request_id in ids}


def _to_ask(prompt: AskedQuestions) -> ToAsk:
    return ToAsk(prompt.request, lambda answer: _read(prompt, answer).values is not None, half_right(prompt))


def _read(prompt: AskedQuestions, answer: Answer, threshold: float = HALF) -> TruthValues:
    return read_answer(answer, len(prompt.questions), is_one=prompt.request.is_choice, threshold=threshold)


def _predictions(
    prompt: AskedQuestions, answer: Answer, strata: Mapping[str, Sequence[str] | None], threshold: float
) -> Iterator[Prediction]:
    """One prediction per question; an unusable answer leaves its questions unscored."""
    read = _read(prompt, answer, threshold) if answer.status == "ok" else TruthValues(None, None)
    nothing = [None] * len(prompt.questions)
    status = status_of(answer, is_read=read.values is not None)
    for number, question in enumerate(prompt.questions):
        yield Prediction(
            explanation_id=prompt.explanation_id,
            feature=prompt.request.feature,
            question_id=question.question_id,
            example_id=question.example_id,
            marked=question.marked,
            label=question.label,
            prediction=(read.values or nothing)[number],
            probability=(read.probabilities or nothing)[number],
            status=status,
            request_id=answer.request_id,
            strata=strata.get(question.question_id),
        )
