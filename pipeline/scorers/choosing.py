"""Choices among the numbered options of a prompt: the possible answers, and the parser."""

import re

from pipeline.llm import Answer
from pipeline.llm.texts import final_text

_NUMBER = re.compile(r"\d+")


def numbers_to(n: int) -> tuple[str, ...]:
    """The answers `1` to `n`. Raises ValueError above 9, as longer numbers share their first token."""
    if n > 9:
        raise ValueError(f"a choice among {n} cannot be read from one token; at most 9 can")
    return tuple(str(number) for number in range(1, n + 1))


def chosen(answer: Answer, n: int) -> int | None:
    """The number, 1 to n, that an answer chooses: the most probable, or without probabilities the only one named.

    None if it names none, several, or one above n: ambiguous answers are not guessed at.
    """
    if answer.probabilities:
        likeliest = max(answer.probabilities.values())
        best = [choice for choice, value in answer.probabilities.items() if value == likeliest]
        return int(best[0]) if len(best) == 1 else None
    named = {int(number) for number in _NUMBER.findall(final_text(answer.text or "") or "")}
    return named.pop() if len(named) == 1 and named <= set(range(1, n + 1)) else None
