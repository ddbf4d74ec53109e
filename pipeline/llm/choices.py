"""From tokens to choices: how probable each short answer is, read from the first generated token.

A token counts for a choice if, stripped and in lower case, it begins the first word of that choice and of
no other: of (`Yes`, `No`) the tokens "Yes", " yes", "YES" and "Y" count for `Yes`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

LEAST_MASS = 0.01
"""Probability that the choices must have together for their shares to count."""

MOST_UNTOLD = 0.05
"""Share that a choice of which nothing came back may have at most, for the others' to count."""

_WORD_STARTS = " \t\r\n\u0120\u2581"
"""Whitespace, and the marks for it that some servers leave in tokens (Ġ of byte-level BPE, ▁ of SentencePiece)."""


def choice_of(token: str, choices: Sequence[str]) -> str | None:
    """The one choice that a token's text begins, if there is exactly one."""
    text = token.strip(_WORD_STARTS).lower()
    begun = [choice for choice in choices if first_word(choice).startswith(text)] if text else []
    return begun[0] if len(begun) == 1 else None


def first_word(choice: str) -> str:
    """The first word of a choice in lower case, empty if it has none."""
    return (choice.lower().split() or [""])[0]


def choice_masses(tokens: Iterable[tuple[str, float]], choices: Sequence[str]) -> dict[str, float]:
    """How probably the first token begins each choice, by the (token, log-probability) pairs that came back.

    A choice that is not among them has at most what the least probable of them has, and what all of them leave. It
    gets 0 where that is little beside the others; where it is not, nothing is known, and all get 0.
    """
    mass = dict.fromkeys(choices, 0.0)
    told = [(token, math.exp(min(logprob, 0.0))) for token, logprob in tokens if not math.isnan(logprob)]
    for token, probability in told:
        choice = choice_of(token, choices)
        if choice is not None:
            mass[choice] += probability
    if told and not all(mass.values()):
        listed = [probability for _, probability in told]
        untold = max(0.0, min(*listed, 1 - sum(listed)))
        if untold > MOST_UNTOLD * (untold + sum(mass.values())):
            return dict.fromkeys(choices, 0.0)
    return mass


def choice_probabilities(masses: Mapping[str, float]) -> dict[str, float] | None:
    """The probability of each choice among the choices; None if all of them together have under LEAST_MASS.

    Of a model that is about to write something else, the ratio of two rare tokens says nothing.
    """
    total = sum(masses.values())
    return {choice: mass / total for choice, mass in masses.items()} if total >= LEAST_MASS else None


def key_probabilities(
    masses: Mapping[str, Mapping[str, float]], choices: Sequence[str]
) -> tuple[dict[str, float] | None, float | None]:
    """The probability of the first choice by key, and the least mass of all keys; None where no key has any.

    A key whose choices have under LEAST_MASS together is left out.
    """
    told = {key: probabilities for key, each in masses.items() if (probabilities := choice_probabilities(each))}
    least = min((sum(each.values()) for each in masses.values()), default=None)
    return {key: each[choices[0]] for key, each in told.items()} or None, least
