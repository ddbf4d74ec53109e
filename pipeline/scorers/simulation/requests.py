"""Windows put to a simulator, and the values that its answers hold.

A window's tokens are written one a line as `Vocabulary.pieces` spells them, so that no token holds a tab or a line
end; tokens that spell one character together stand on one line, and have one value.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from pipeline.asking.prompts import load_prompt
from pipeline.asking.tools import Tools
from pipeline.asking.windows import Vocabulary, one_line
from pipeline.llm import Answer, Message, Request
from pipeline.scorers.numbers import TOKENS_A_NUMBER, TOKENS_AROUND, numbers_schema, parse_numbers
from pipeline.scorers.requests import scoring_request

_FOLDER = Path(__file__).parent
_PURPOSE = "simulation"
_LARGEST = 10
_CHOICES = tuple(map(str, range(_LARGEST + 1)))
_BLANK = "\tunknown"
_HEAD = "token\tactivation"
"""The first line of what the simulator has begun: a template that trims a message takes no token's space away."""


class Window(NamedTuple):
    """A window as it is asked about: the explanation, the text of each line, and the tokens that it stands for."""

    explanation: str
    texts: list[str]
    places: list[range]

    @classmethod
    def of(cls, explanation: str, token_ids: Sequence[int], vocabulary: Vocabulary) -> Self:
        """A window of tokens."""
        pieces = list(vocabulary.pieces(token_ids))
        return cls(one_line(explanation), [text for text, _ in pieces], [places for _, places in pieces])


def blank_request(tools: Tools, feature: int, window: Window) -> Request:
    """All at once: lines that the simulator has begun, of a token, a tab and `unknown`, where a value is read."""
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


def structured_request(tools: Tools, feature: int, window: Window) -> Request:
    """By number: a JSON object with a whole number from 0 to 10 for each token."""
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
        max_tokens=TOKENS_A_NUMBER * n + TOKENS_AROUND,
        schema=numbers_schema(n, _LARGEST),
    )


def stand_in(request: Request, window: Window) -> str:
    """An answer such as may come."""
    return "" if request.blank else json.dumps({str(place + 1): 0 for place in range(len(window.texts))})


def values_of(answer: Answer, window: Window) -> list[float] | None:
    """The value of each token, 0 to 10; None where the answer lacks that of any line."""
    n = len(window.texts)
    by_line = parse_numbers(answer.text or "", n, _LARGEST) if answer.values is None else answer.values
    if by_line is None or len(by_line) != n:
        return None
    return [float(value) for value, places in zip(by_line, window.places, strict=True) for _ in places]
