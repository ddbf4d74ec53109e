"""Where values stand in a text that a model has written or was given: in which of its tokens each begins.

A token can reach over the place where a value begins (a tab, or a colon and a space, may be one with what
follows), and a tokenizer can cut a value in two: the place says what of the token stands before the value.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from pipeline.llm.choices import choice_masses

_VALUE = re.compile(r'"(\w+)"\s*:\s*"?')
_AROUND = " \t\r\n\"'\u0120\u2581"
"""What may stand around a value in its token: white space, the marks for it, and quotes."""


class Place(NamedTuple):
    """The token in which a value begins, and what of it stands before the value."""

    token: int
    lead: str


def value_places(pieces: Sequence[str]) -> dict[str, Place]:
    """Where the values of a JSON object begin, by key; of a key that stands there twice, or last, none.

    `pieces` are the texts of the tokens one after another.
    """
    found: dict[str, list[int]] = {}
    for match in _VALUE.finditer("".join(pieces)):
        found.setdefault(match[1], []).append(match.end())
    ends = list(accumulate(map(len, pieces)))
    begins = {key: each[0] for key, each in found.items() if len(each) == 1 and each[0] < ends[-1]}
    return {key: _place(pieces, ends, begin) for key, begin in begins.items()}


def blank_places(pieces: Sequence[str], blank: str, n: int) -> list[Place] | None:
    """Where the last n blanks are: each after the white space that begins the blank; None if there are fewer."""
    begins = [match.start() for match in re.finditer(re.escape(blank), "".join(pieces))][-n:]
    ends = list(accumulate(map(len, pieces)))
    n_white = len(blank) - len(blank.lstrip())
    return [_place(pieces, ends, begin + n_white) for begin in begins] if len(begins) == n else None


def number_masses(
    tokens: Iterable[tuple[str, float]], choices: Sequence[str], lead: str = ""
) -> dict[str, float]:
    """How probable each choice is in a place, by the (token, log-probability) pairs that came back for its token.

    Only a token that is a choice whole, behind the lead, counts: of "10" the token "1" is none.
    """
    masses: dict[str, float] = {}
    for token, logprob in tokens:
        text = token.removeprefix(lead).strip(_AROUND)
        if token.startswith(lead) and text in choices and not math.isnan(logprob):
            masses[text] = masses.get(text, 0.0) + math.exp(min(logprob, 0.0))
    return masses


def word_masses(tokens: Iterable[tuple[str, float]], choices: Sequence[str], lead: str = "") -> dict[str, float]:
    """The same where choices are words, of which a token may be the beginning."""
    behind = [
        (token.removeprefix(lead).strip(_AROUND), logprob)
        for token, logprob in tokens
        if token.startswith(lead) or not lead.strip()
    ]
    return choice_masses(behind, choices)


def expected_value(masses: Mapping[str, float]) -> float | None:
    """The mean of choices that are numbers, over those that were found; None where none was."""
    total = sum(masses.values())
    return sum(int(choice) * mass for choice, mass in masses.items()) / total if total > 0 else None


def _place(pieces: Sequence[str], ends: Sequence[int], at: int) -> Place:
    """The place of a value that begins at this character; after the last token if there is none."""
    token = bisect_right(ends, at)
    return Place(token, pieces[token][: at - ends[token] + len(pieces[token])] if token < len(pieces) else "")
