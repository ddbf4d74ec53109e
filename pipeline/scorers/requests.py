"""What the scorers' requests have in common, and the status of answers that cannot be read."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.config import ScoringConfig
from pipeline.llm import Answer, Message, Request
from pipeline.scorers.values import keys_of

_TOKENS_A_VALUE = 10
"""Maximum per value of an object: its number in quotes, the value, and spaces or a line end."""
_TOKENS_AROUND = 64
"""Allowance for text around an object."""


class AnswerForm(NamedTuple):
    """How an answer is to be written; the fields are those of a `Request`."""

    max_tokens: int
    choices: tuple[str, ...] | None = None
    keys: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None


def one_of(choices: tuple[str, ...]) -> AnswerForm:
    """One of the choices, of one token each, and nothing else."""
    return AnswerForm(1, choices)


def by_number(n: int, schema: Mapping[str, Any], choices: tuple[str, ...] | None = None) -> AnswerForm:
    """A JSON object of n values by number.

    Where the values are one of `choices`, the probability of the first one is requested for each.
    """
    return AnswerForm(_TOKENS_A_VALUE * n + _TOKENS_AROUND, choices, keys_of(n) if choices else (), schema)


def scoring_request(
    scoring: ScoringConfig, sae: str, feature: int, purpose: str, system: str, user: str, form: AnswerForm
) -> Request:
    """A request of instructions and a question, with the model and parameters of the section `scoring`."""
    return Request(
        purpose=purpose,
        sae=sae,
        feature=feature,
        model=scoring.asked_model,
        messages=(Message("system", system), Message("user", user)),
        temperature=scoring.temperature,
        reasoning_tokens=scoring.reasoning_tokens,
        reasoning_effort=scoring.reasoning_effort,
        **form._asdict(),
    )


def status_of(answer: Answer, *, is_read: bool) -> str:
    """The status of a prediction: its answer's, or `unparsed` if that is `ok` but cannot be read."""
    return "unparsed" if answer.status == "ok" and not is_read else answer.status
