"""What the scorers' requests have in common, and the status of answers that cannot be read."""

from collections.abc import Mapping
from typing import Any

from pipeline.config import ScoringConfig
from pipeline.llm import Answer, Message, Request


def scoring_request(
    scoring: ScoringConfig,
    sae: str,
    feature: int,
    purpose: str,
    system: str,
    user: str,
    *,
    max_tokens: int,
    choices: tuple[str, ...] | None = None,
    keys: tuple[str, ...] = (),
    schema: Mapping[str, Any] | None = None,
) -> Request:
    """A request of instructions and a question, with the model and parameters of the section `scoring`."""
    return Request(
        purpose=purpose,
        sae=sae,
        feature=feature,
        model=scoring.asked_model,
        messages=(Message("system", system), Message("user", user)),
        max_tokens=max_tokens,
        temperature=scoring.temperature,
        choices=choices,
        keys=keys,
        schema=schema,
        reasoning_tokens=scoring.reasoning_tokens,
        reasoning_effort=scoring.reasoning_effort,
    )


def status_of(answer: Answer, *, is_read: bool) -> str:
    """The status of a prediction: its answer's, or `unparsed` if that is `ok` but cannot be read."""
    return "unparsed" if answer.status == "ok" and not is_read else answer.status
