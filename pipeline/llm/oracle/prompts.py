"""Prompts as an oracle reads them: what stands in their last message, and nothing else."""

import json
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from pipeline.llm.requests import Message

_WINDOW = r"(.*(?:\n+ .*)*)"
"""Its further lines are empty or begin with a space."""
_LABELLED = re.compile(rf"^(?!Other \d+: |Highlighted tokens: )[A-Z][^:\n]*: {_WINDOW}$", re.MULTILINE)
"""What stands behind a label (`Example 1: `); silent windows (`Other 1: `) and what windows mark are left out."""
_PAIRS = re.compile(r"^Example \d+\n((?:.*\t\d+(?:\n|\Z))+)", re.MULTILINE)
_PAIR = re.compile(r"^(.*)\t\d+$", re.MULTILINE)
_QUESTION = re.compile(r"\AExplanation: (.*?)\n\n(.*)\Z", re.DOTALL)
_CONTAINS = re.compile(r"\AText: (.*?)\n\nDoes this text contain the following: (.*)\?\Z", re.DOTALL)
"""Detection's question about one text."""
_TEXT = re.compile(rf"^(?:Text: |\d+\t){_WINDOW}$", re.MULTILINE)
_SPACE = r"\\n|\s"
"""White space; a line end that is marked is spelled out."""
_STRENGTH = re.compile(r" \(\d+\)(?=\s*>>)")


class Asked(NamedTuple):
    """What a scorer's prompt asks.

    Attributes:
        explanation: The words by which the texts are to be judged; empty for the control without any.
        texts: The windows, with their marks.
        is_one: Whether the answer is Yes or No, and not an object by number.
    """

    explanation: str
    texts: list[str]
    is_one: bool

    @property
    def is_marked(self) -> bool:
        """Whether the question is about marked tokens."""
        return any("<<" in text for text in self.texts)

    def answer(self, said: Sequence[bool], left_out: Collection[int] = ()) -> str:
        """The answer that says so of each text; `left_out` are places of texts that it passes over."""
        if self.is_one:
            return "Yes" if said[0] else "No"
        return json.dumps({str(place + 1): each for place, each in enumerate(said) if place not in left_out})


class Simulated(NamedTuple):
    """What a simulator's prompt asks: the explanation, and the text of each token whose activation is wanted."""

    explanation: str
    tokens: list[str]


def read_question(prompt: str) -> Asked | None:
    """What a scorer's prompt asks; None if it is no scorer's."""
    if contains := _CONTAINS.match(prompt):
        return Asked(contains[2], [contains[1]], is_one=True)
    found = _QUESTION.match(prompt)
    if not found:
        return None
    return Asked(found[1], read_texts(found[2]), found[2].startswith("Text: "))


def read_texts(listed: str) -> list[str]:
    """The windows of a question, each behind `Text: ` or behind its number."""
    return _TEXT.findall(listed)


def read_blanks(messages: Sequence[Message], blank: str) -> Simulated:
    """What a chat with blanks asks, whose last message the model has begun."""
    lines = [line for line in messages[-1].content.split("\n") if line.endswith(blank)]
    return Simulated(
        messages[-2].content.removeprefix("Explanation: "), [line.removesuffix(blank) for line in lines]
    )


def shown_texts(prompt: str) -> list[str]:
    """What an explainer's prompt shows of its feature, as `plain` text: all that stands behind a label.

    That is a firing window, or a list of promoted tokens; or a token and its activation are on a line below it.
    """
    pairs = ["".join(_PAIR.findall(text)) for text in _PAIRS.findall(prompt)]
    return [*map(plain, _LABELLED.findall(prompt)), *(re.sub(_SPACE, "", text) for text in pairs)]


def plain(text: str) -> str:
    """A window's text without marks, strengths and white space, so that it is the same however it was marked."""
    return re.sub(rf"<<|>>|{_SPACE}", "", _STRENGTH.sub("", text))
