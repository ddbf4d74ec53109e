"""The oracle as a client: no server, no key, no cost."""

import json
from collections.abc import Callable, Iterator, Sequence

from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.judges import chance
from pipeline.llm.oracle.prompts import read_blanks
from pipeline.llm.requests import Answer, Request, now

_AT_ONCE = 256
"""Answers delivered in one group, for which the ledger syncs once."""

GARBLED = "It all depends on how one looks at it."
"""A text that cannot be read as an answer to anything."""


class OracleClient:
    """Answers with an oracle, in this process; it counts no tokens.

    Args:
        name: The model name in its answers.
        oracle: The oracle.
        refusal_rate: Probability that a request is refused, by hash.
        garbled_rate: Probability that an answer cannot be read, by hash.
        answer_otherwise: The answer to a request whose prompt the oracle itself cannot read; None for any other.
    """

    def __init__(
        self,
        name: str,
        oracle: Oracle,
        refusal_rate: float = 0.0,
        garbled_rate: float = 0.0,
        answer_otherwise: Callable[[Request, Oracle], str | None] = lambda request, oracle: None,
    ) -> None:
        self._name = name
        self._oracle = oracle
        self._refusal_rate = refusal_rate
        self._garbled_rate = garbled_rate
        self._answer_otherwise = answer_otherwise

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        """One answer per request, in their order."""
        for first in range(0, len(requests), _AT_ONCE):
            yield [self._answered(request) for request in requests[first : first + _AT_ONCE]]

    def _answered(self, request: Request) -> Answer:
        text, finish_reason = self._said(request), "stop"
        if _is_drawn(request, "refusal", self._refusal_rate):
            text, finish_reason = None, "refusal"
        choices = request.choices if request.is_choice and text in (request.choices or ()) else None
        probabilities = {choice: float(choice == text) for choice in choices} if choices else None
        if request.keys and text and text.startswith("{"):
            probabilities = {key: float(value) for key, value in json.loads(text).items()}
        values = None
        if request.blank and text and text != GARBLED:
            asked = read_blanks(request.messages, request.blank)
            values = [float(value) for value in self._oracle.simulate(asked)]
        return Answer(
            request_id=request.request_id,
            status="refused" if text is None else "ok",
            text=text,
            probabilities=probabilities,
            choice_mass=1.0 if probabilities else None,
            values=values,
            resolved_model=self._name,
            finish_reason=finish_reason,
            attempts=1,
            requested_at=now(),
            error="the oracle refused" if text is None else None,
        )

    def _said(self, request: Request) -> str | None:
        if _is_drawn(request, "garbled", self._garbled_rate):
            return GARBLED
        said = self._answer_otherwise(request, self._oracle)
        return self._oracle.answer(request.messages[-1].content, request.draw) if said is None else said


def _is_drawn(request: Request, what: str, rate: float) -> bool:
    """Whether a hash of a request, which differs between draws, falls below a rate."""
    return chance(request.messages[-1].content, str(request.draw), what) < rate
