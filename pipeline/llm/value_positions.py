"""The positions of values in a text that a model has written or was given: the token in which each begins.

A token can extend across the start of a value (a tab, or a colon and a space, may be merged with what follows),
and a tokenizer can split a value. A position therefore includes the part of the token that precedes the value.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from pipeline.llm.choices import AROUND, choice_masses

_VALUE = re.compile(r"""["'](\w+)["']\s*:\s*["']?""")


class ValuePosition(NamedTuple):
    """The token in which a value begins, and the part of that token before the value."""

    token: int
    lead: str


def value_positions(pieces: Sequence[str]) -> dict[str, ValuePosition]:
    """Where the values of a JSON object begin, by key, without keys that occur twice or end the text.

    `pieces` are the texts of the tokens in order.
    """
    found: dict[str, list[int]] = {}
    for match in _VALUE.finditer("".join(pieces)):
        found.setdefault(match[1], []).append(match.end())
    ends = list(accumulate(map(len, pieces)))
    begins = {key: each[0] for key, each in found.items() if len(each) == 1 and each[0] < ends[-1]}
    return {key: _position(pieces, ends, begin) for key, begin in begins.items()}


def blank_positions(pieces: Sequence[str], blank: str, n: int) -> list[ValuePosition] | None:
    """The positions of the last n blanks, after each blank's leading white space; None if there are fewer."""
    begins = [match.start() for match in re.finditer(re.escape(blank), "".join(pieces))][-n:]
    ends = list(accumulate(map(len, pieces)))
    n_white = len(blank) - len(blank.lstrip())
    return [_position(pieces, ends, begin + n_white) for begin in begins] if len(begins) == n else None


def number_masses(tokens: Iterable[tuple[str, float]], choices: Sequence[str], lead: str = "") -> dict[str, float]:
    """The probability of each choice at a position, from the (token, log-probability) pairs of its token.

    Only tokens that are an entire choice after the lead count: the token "1" does not count for "10".
    """
    masses: dict[str, float] = {}
    for token, logprob in tokens:
        text = token.removeprefix(lead).strip(AROUND)
        if token.startswith(lead) and text in choices and not math.isnan(logprob):
            masses[text] = masses.get(text, 0.0) + math.exp(min(logprob, 0.0))
    return masses


def word_masses(tokens: Iterable[tuple[str, float]], choices: Sequence[str], lead: str = "") -> dict[str, float]:
    """As `number_masses`, for choices that are words: a token may be the beginning of one."""
    behind = [
        (token.removeprefix(lead), logprob)
        for token, logprob in tokens
        if token.startswith(lead) or not lead.strip()
    ]
    return choice_masses(behind, choices)


def expected_values(masses: Sequence[Mapping[str, float]]) -> list[float] | None:
    """At each blank the mean of the choices found, as numbers; None without blanks, or if one has none."""
    found = [_mean(each) for each in masses]
    values = [value for value in found if value is not None]
    return values if values and len(values) == len(found) else None


def _mean(masses: Mapping[str, float]) -> float | None:
    total = sum(masses.values())
    return sum(int(choice) * mass for choice, mass in masses.items()) / total if total > 0 else None


def _position(pieces: Sequence[str], ends: Sequence[int], at: int) -> ValuePosition:
    """The position of a value that begins at this character; after the last token if it is past the end."""
    token = bisect_right(ends, at)
    return ValuePosition(
        token, pieces[token][: at - ends[token] + len(pieces[token])] if token < len(pieces) else ""
    )
