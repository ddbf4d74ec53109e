"""Questions put to a scorer: an explanation, one or several windows, yes or no.

What is the same for all questions of an explanation stands first, so that a server's or the local model's
prefix cache holds it.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pipeline.config import ScoringConfig
from pipeline.llm import Message, Request
from pipeline.prompts import load_prompt
from pipeline.windows import Vocabulary

Scorer = Literal["detection", "fuzzing"]
CHOICES = ("Yes", "No")
_TOKENS_A_QUESTION = 6
"""Longest answer to a prompt of several questions, a question; and as much again for what stands around it."""


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
    if len(texts) == 1 and scoring.questions_per_prompt == 1:
        prompt = load_prompt(f"{scorer}_one").render(explanation=explanation, text=texts[0])
        choices, max_tokens = CHOICES, 1
    else:
        numbered = "\n".join(f"Text {number}: {text}" for number, text in enumerate(texts, start=1))
        values = {"explanation": explanation, "n": str(len(texts)), "texts": numbered}
        prompt = load_prompt(f"{scorer}_many").render(**values)
        choices, max_tokens = None, _TOKENS_A_QUESTION * (len(texts) + 1)
    return Request(
        purpose=scorer,
        sae=sae,
        feature=feature,
        model=scoring.model,
        messages=(Message("system", load_prompt(f"{scorer}_system").render()), Message("user", prompt)),
        max_tokens=max_tokens,
        temperature=scoring.temperature,
        choices=choices,
    )
