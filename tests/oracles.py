"""Brains for the scripted server: scorers that judge by rules of `pipeline.llm.oracle`, and faults between."""

import hashlib
from collections.abc import Callable
from typing import Any

from llm.oracle import Brain, Reply, last_message
from tiny import ANIMALS

from pipeline.llm.oracle import prompts
from pipeline.llm.oracle.judges import chance

ANIMALS_TOLD = "names of animals: " + ", ".join(f'"{name}"' for name in ANIMALS)

Judge = Callable[[str, str], bool]
"""From explanation and text, with its marks, to yes or no."""


def read_question(body: dict[str, Any]) -> prompts.Asked | None:
    """A scorer's question; None if it is the explainer that is asked."""
    return prompts.read_question(last_message(body))


def is_marked(asked: prompts.Asked) -> bool:
    """Whether a question is about marked tokens."""
    return any("<<" in text for text in asked.texts)


def scorer(judge: Judge, explanation: str = ANIMALS_TOLD) -> Brain:
    """A brain that explains everything with the same words, and answers questions as `judge` says."""

    def brain(body: dict[str, Any]) -> str:
        asked = read_question(body)
        if asked is None:
            return f"[EXPLANATION]: {explanation}"
        return asked.answer([judge(asked.explanation, text) for text in asked.texts])

    return brain


def coin(explanation: str, text: str) -> bool:
    """Heads or tails by a hash of what is asked."""
    return chance(explanation, text) < 0.5


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
