"""Requests to a scorer: an explanation, and yes-or-no questions about one or several windows.

The parts that are equal for all features come first, then the explanation, then the windows, so that providers,
servers and the local model can cache the beginning of a prompt. The prompt of several questions, the schema of its
answer (for servers that support schemas), and the parser (`answers`) belong together.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from pipeline.asking.prompts import Prompt, load_prompt
from pipeline.asking.tools import Tools
from pipeline.asking.windows import Vocabulary, numbered, one_line
from pipeline.config import ScoringConfig
from pipeline.llm import Request
from pipeline.plugins import Declared, find_plugin
from pipeline.scorers.requests import by_number, one_of, scoring_request
from pipeline.scorers.values import keys_of, object_schema

_FOLDER = Path(__file__).parent

CHOICES = ("Yes", "No")
AT_ONCE = 40
"""Questions per prompt if each of several answers has a probability: 20 + 20."""


class Question(NamedTuple):
    """One question: a window, the positions marked in it (None: no marks), and the true answer."""

    question_id: str
    example_id: str
    marked: Sequence[int] | None
    label: bool
    token_ids: Sequence[int]


class AskedQuestions(NamedTuple):
    """A request and its questions, all about one explanation."""

    request: Request
    explanation_id: str
    questions: Sequence[Question]


def group_questions(scorer: str, due: pl.DataFrame, tools: Tools, per_prompt: int) -> Iterator[AskedQuestions]:
    """The requests of a round, in the order of its questions: rows of `next_questions`, grouped by prompt."""
    scoring, sae, vocabulary = tools.config.scoring, tools.batch.sae, tools.vocabulary
    about = due.select("explanation_id", "prompt", "feature", "explanation").iter_rows()
    questions = map(Question._make, due.select(Question._fields).iter_rows())
    for (explanation_id, _, feature, words), rows in groupby(zip(about, questions, strict=True), itemgetter(0)):
        asked = [question for _, question in rows]
        request = score_request(scoring, sae, feature, scorer, words, asked, vocabulary, is_one=per_prompt == 1)
        yield AskedQuestions(request, explanation_id, asked)


def score_request(
    scoring: ScoringConfig,
    sae: str,
    feature: int,
    scorer: str,
    explanation: str,
    questions: Sequence[Question],
    vocabulary: Vocabulary,
    *,
    is_one: bool,
) -> Request:
    """The request that asks questions about one explanation, in order, with the scorer's instructions."""
    folder = _folder_of(scorer)
    texts = [vocabulary.render(question.token_ids, question.marked or ()) for question in questions]
    n, words = len(texts), one_line(explanation)  # rules and keywords quote corpus tokens
    if is_one:
        system = load_prompt(folder / "one.txt").render()
        user = _question_of(folder).render(explanation=words, text=texts[0])
        form = one_of(CHOICES)
    else:
        system = load_prompt(folder / "many.txt").render()
        user = load_prompt(_FOLDER / "many.txt").render(explanation=words, texts=numbered(texts), n=str(n))
        form = by_number(n, _answer_schema(n), ("true", "false"))
    return scoring_request(scoring, sae, feature, scorer, system, user, form)


def check_prompts(scorer: str) -> None:
    """Check the instructions of a scorer, and its wording of a question. Raises ConfigError."""
    folder = _folder_of(scorer)
    for name in ("one", "many"):
        load_prompt(folder / f"{name}.txt").check_fields(known=())
    _question_of(folder).check_fields(known=_ASKED, needed=_ASKED)


_ASKED = ("explanation", "text")
"""The fields of a prompt's one question."""


def _folder_of(scorer: str) -> Path:
    """The folder with a scorer's instructions."""
    prompts_of = Declared.by(find_plugin("scorers", scorer).settings).prompts_of
    return find_plugin("scorers", prompts_of or scorer).path


def _question_of(folder: Path) -> Prompt:
    own = folder / "question.txt"
    return load_prompt(own if own.is_file() else _FOLDER / "one.txt")


@cache
def _answer_schema(n: int) -> Mapping[str, Any]:
    """The JSON schema of n answers by number."""
    return object_schema({key: {"type": "boolean"} for key in keys_of(n)})


def half_right(prompt: AskedQuestions) -> str:
    """An answer that is correct for half of the questions, by hash, where intervals are widest."""
    values = [each.label == (int(each.question_id[-1], 16) % 2 == 0) for each in prompt.questions]
    if prompt.request.is_choice:
        return CHOICES[0 if values[0] else 1]
    return json.dumps([int(each) for each in values])
