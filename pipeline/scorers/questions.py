"""Questions put to a scorer: an explanation, one or several windows, yes or no.

What is the same for every feature stands first, then the explanation, then the windows, so that the caches of
providers, servers and the local model hold the beginning of a prompt. The prompt of several questions, the schema
that its answer has to keep where a server knows schemas, and the parser (`answers`) belong together.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pipeline.config import ScoringConfig
from pipeline.llm import Message, Request
from pipeline.prompts import load_prompt
from pipeline.windows import Vocabulary

Scorer = Literal["detection", "fuzzing"]
CHOICES = ("Yes", "No")
_TOKENS_A_QUESTION = 10
"""Longest answer to a question among several: its number in quotes, true or false, spaces or a line of its own."""
_TOKENS_AROUND = 64
"""And what may stand around the whole answer."""


class Question(NamedTuple):
    """One question: a window, the places that are marked in it (none for detection), and the true answer."""

    question_id: str
    example_id: str
    marked: Sequence[int] | None
    label: bool
    token_ids: Sequence[int]


def score_request(
    scoring: ScoringConfig,
    sae: str,
    feature: int,
    scorer: Scorer,
    explanation: str,
    questions: Sequence[Question],
    vocabulary: Vocabulary,
) -> Request:
    """The request that puts questions about one explanation, in their order."""
    texts = [vocabulary.render(question.token_ids, question.marked or ()) for question in questions]
    n = len(texts)
    is_one = scoring.questions_per_prompt == 1
    if is_one:
        system = load_prompt(f"{scorer}_one").render()
        user = load_prompt("questions_one").render(explanation=explanation, text=texts[0])
    else:
        numbered = "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))
        system = load_prompt(f"{scorer}_many").render()
        user = load_prompt("questions_many").render(explanation=explanation, texts=numbered, n=str(n))
    return Request(
        purpose=scorer,
        sae=sae,
        feature=feature,
        model=scoring.model,
        messages=(Message("system", system), Message("user", user)),
        max_tokens=1 if is_one else _TOKENS_A_QUESTION * n + _TOKENS_AROUND,
        temperature=scoring.temperature,
        choices=CHOICES if is_one else None,
        schema=None if is_one else answer_schema(n),
        reasoning_tokens=scoring.reasoning_tokens,
        reasoning_effort=scoring.reasoning_effort,
    )


def answer_schema(n: int) -> dict[str, Any]:
    """The JSON schema of n answers by number; strict mode wants every key required and no other allowed."""
    numbers = [str(number) for number in range(1, n + 1)]
    return {
        "type": "object",
        "properties": {number: {"type": "boolean"} for number in numbers},
        "required": numbers,
        "additionalProperties": False,
    }
