"""Brains for the oracle server: scorers that judge by the words of an explanation, and by nothing else.

An explanation is read literally. The words in double quotes are those on which the feature fires; if the
word after stands behind them, the quoted words behind it are those that must come just before:

    the token " stop"
    the token " stop" after " don't" or " won't"
"""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from llm.oracle import Brain, Reply, last_message
from tiny import ANIMALS

ANIMALS_TOLD = "names of animals: " + ", ".join(f'"{name}"' for name in ANIMALS)

_QUESTION = re.compile(r"\AExplanation: (.*?)\n\n(.*)\Z", re.DOTALL)
_TEXT = re.compile(r"^(?:Text:|\d+\.) (.*)$", re.MULTILINE)
_QUOTED = re.compile(r'"\s*([^"]+)"')
_WORD = re.compile(r"<<|>>|[A-Za-z']+")

Judge = Callable[[str, str, bool], bool]
"""From explanation, text, and whether the text has marks, to yes or no."""


class Asked(NamedTuple):
    """What a scorer's prompt asks: nothing here but what stands in it."""

    explanation: str
    texts: list[str]
    is_fuzzing: bool
    one: bool


def read_question(body: dict[str, Any]) -> Asked | None:
    """A scorer's question; None if it is the explainer that is asked."""
    found = _QUESTION.match(last_message(body))
    if not found:
        return None
    instructions = body["messages"][0]["content"]
    is_fuzzing, is_one = "marked tokens" in instructions, "Answer Yes or No" in instructions
    return Asked(found[1], _TEXT.findall(found[2]), is_fuzzing, is_one)


def scorer(judge: Judge, explanation: str = ANIMALS_TOLD) -> Brain:
    """A brain that explains everything with the same words, and answers questions as `judge` says."""

    def brain(body: dict[str, Any]) -> str:
        asked = read_question(body)
        if asked is None:
            return f"[EXPLANATION]: {explanation}"
        said = [judge(asked.explanation, text, asked.is_fuzzing) for text in asked.texts]
        by_number = {str(number): each for number, each in enumerate(said, start=1)}
        return ("Yes" if said[0] else "No") if asked.one else json.dumps(by_number)

    return brain


def literal(explanation: str, text: str, is_fuzzing: bool) -> bool:
    """Whether the text holds what the explanation says; of a text with marks, whether all marks are on it."""
    words, _, befores = explanation.partition(" after ")
    wanted, before = set(_QUOTED.findall(words)), set(_QUOTED.findall(befores))
    fits, marked = [], []
    previous, is_marked = "", False
    for word in _WORD.findall(text):
        if word in {"<<", ">>"}:
            is_marked = word == "<<"
            continue
        fits.append(word in wanted and (not before or previous in before))
        marked.append(is_marked)
        previous = word
    if not is_fuzzing:
        return any(fits)
    judged = [fit for fit, mark in zip(fits, marked, strict=True) if mark]
    return bool(judged) and all(judged)


def coin(explanation: str, text: str, is_fuzzing: bool) -> bool:
    """Heads or tails by a hash of what is asked."""
    return hashlib.sha256(f"{explanation}{text}{is_fuzzing}".encode()).digest()[0] % 2 == 0


def sometimes(usual: Brain, *faults: Reply, every: int = 2) -> Brain:
    """A brain that gives these replies instead, in turn by the question's hash, to one of `every` questions."""

    def brain(body: dict[str, Any]) -> str | Reply:
        number = hashlib.sha256(last_message(body).encode()).digest()[0]
        if read_question(body) is None or number % every:
            return usual(body)
        return faults[number // every % len(faults)]

    return brain


def slowly(usual: Brain, seconds: float) -> Brain:
    """A brain that takes its time over every question."""

    def brain(body: dict[str, Any]) -> Reply:
        said = usual(body)
        return Reply(said if isinstance(said, str) else said.text, delay_seconds=seconds)

    return brain
