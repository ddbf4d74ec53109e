"""The probability of each of several short answers (choices), from the first generated token.

A token counts for a choice if, without white space and quotes and in lower case, it begins the first word of that
choice and of no other. Of (`Yes`, `No`), the tokens "Yes", " yes", "YES", "Y" and "'Yes" count for `Yes`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

LEAST_MASS = 0.01
"""The minimum total probability of the choices; below it their shares are not used."""

MOST_UNLISTED = 0.05
"""The maximum share that a choice missing from the alternatives may have; above it the others are not used."""

AROUND = " \t\r\n\"'\u0120\u2581"
"""Characters that may surround a word within its token: white space, its markers that some servers leave in tokens
(Ġ in byte-level BPE, ▁ in SentencePiece), and quotes."""


def choice_of(token: str, choices: Sequence[str]) -> str | None:
    """The choice that a token's text begins; None unless there is exactly one."""
    text = token.strip(AROUND).lower()
    begun = [choice for choice in choices if first_word(choice).startswith(text)] if text else []
    return begun[0] if len(begun) == 1 else None


def first_word(choice: str) -> str:
    """The first word of a choice in lower case; empty if there is none."""
    return (choice.lower().split() or [""])[0]


def choice_masses(tokens: Iterable[tuple[str, float]], choices: Sequence[str]) -> dict[str, float]:
    """The probability that the first token begins each choice, from (token, log-probability) pairs.

    The probability of a choice that is not listed is at most that of the least probable token listed, and at most
    what the listed tokens leave. It gets 0 if that bound is small compared to the others; otherwise nothing is
    known, and all get 0.
    """
    mass = dict.fromkeys(choices, 0.0)
    listed = [(token, math.exp(min(logprob, 0.0))) for token, logprob in tokens if not math.isnan(logprob)]
    for token, probability in listed:
        choice = choice_of(token, choices)
        if choice is not None:
            mass[choice] += probability
    if listed and not all(mass.values()):
        probabilities = [probability for _, probability in listed]
        most = max(0.0, min(*probabilities, 1 - sum(probabilities)))
        if most > MOST_UNLISTED * (most + sum(mass.values())):
            return dict.fromkeys(choices, 0.0)
    return mass


def choice_probabilities(masses: Mapping[str, float]) -> dict[str, float] | None:
    """The probability of each choice relative to their total; None if the total is under LEAST_MASS.

    If a model is about to write something else, the ratio of two rare tokens is meaningless.
    """
    total = sum(masses.values())
    return {choice: mass / total for choice, mass in masses.items()} if total >= LEAST_MASS else None


def key_probabilities(
    masses: Mapping[str, Mapping[str, float]], choices: Sequence[str]
) -> tuple[dict[str, float] | None, float | None]:
    """The probability of the first choice by key, and the smallest total of any key; None if no key has any.

    Keys whose choices have a total under LEAST_MASS are left out.
    """
    found = {key: probabilities for key, each in masses.items() if (probabilities := choice_probabilities(each))}
    least = min((sum(each.values()) for each in masses.values()), default=None)
    return {key: each[choices[0]] for key, each in found.items()} or None, least
