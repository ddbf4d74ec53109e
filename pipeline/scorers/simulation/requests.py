"""Requests to a simulator, and the values in its answers.

A window's tokens are written one per line, as in `Vocabulary.pieces`, so that no token contains a tab or a line
end. Tokens that together encode one character share a line and have one value.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from pipeline.asking.prompts import load_prompt
from pipeline.asking.tools import Tools
from pipeline.asking.windows import Vocabulary, one_line
from pipeline.llm import Answer, Message, Request
from pipeline.scorers.numbers import numbers_schema, parse_numbers
from pipeline.scorers.requests import by_number, scoring_request

_FOLDER = Path(__file__).parent
_PURPOSE = "simulation"
_LARGEST = 10
_CHOICES = tuple(map(str, range(_LARGEST + 1)))
_BLANK = "\tunknown"
_HEAD = "token\tactivation"
"""First line of the text that the simulator completes, so that a template that trims messages cuts no token."""


class SimulatedWindow(NamedTuple):
    """A window in a request: the explanation, the text of each line, and the token positions of each line."""

    explanation: str
    texts: list[str]
    positions: list[range]

    @classmethod
    def of(cls, explanation: str, token_ids: Sequence[int], vocabulary: Vocabulary) -> Self:
        """A window of tokens."""
        pieces = list(vocabulary.pieces(token_ids))
        return cls(one_line(explanation), [text for text, _ in pieces], [positions for _, positions in pieces])


def blank_request(tools: Tools, feature: int, window: SimulatedWindow) -> Request:
    """All at once: lines of a token, a tab and `unknown`, where the probabilities of 0 to 10 are read."""
    lines = [_HEAD, *(text + _BLANK for text in window.texts)]
    messages = (
        Message("system", load_prompt(_FOLDER / "blanks.txt").render()),
        Message("user", load_prompt(_FOLDER / "explanation.txt").render(explanation=window.explanation)),
        Message("assistant", "\n".join(lines)),
    )
    model = tools.config.scoring.asked_model
    return Request(
        _PURPOSE, tools.batch.sae, feature, model, messages, max_tokens=1, choices=_CHOICES, blank=_BLANK
    )


def structured_request(tools: Tools, feature: int, window: SimulatedWindow) -> Request:
    """By number: a JSON object with an integer from 0 to 10 for each token."""
    lines = [f"{number}\t{text}" for number, text in enumerate(window.texts, start=1)]
    n = len(lines)
    asked = load_prompt(_FOLDER / "tokens.txt").render(
        explanation=window.explanation, tokens="\n".join(lines), n=str(n)
    )
    return scoring_request(
        tools.config.scoring,
        tools.batch.sae,
        feature,
        _PURPOSE,
        load_prompt(_FOLDER / "structured.txt").render(),
        asked,
        by_number(n, numbers_schema(n, _LARGEST)),
    )


def stand_in(request: Request, window: SimulatedWindow) -> str:
    """A plausible answer."""
    return "" if request.blank else json.dumps({str(number + 1): 0 for number in range(len(window.texts))})


def values_of(answer: Answer, window: SimulatedWindow) -> list[float] | None:
    """The value of each token, 0 to 10; None if the answer lacks the value of any line."""
    n = len(window.texts)
    by_line = parse_numbers(answer.text or "", n, _LARGEST) if answer.values is None else answer.values
    if by_line is None or len(by_line) != n:
        return None
    return [float(value) for value, positions in zip(by_line, window.positions, strict=True) for _ in positions]
