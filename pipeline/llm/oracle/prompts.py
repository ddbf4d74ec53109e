"""Prompts as an oracle reads them: only the text of a chat's last message, or of its last two if it has blanks."""

import json
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from pipeline.llm.requests import Message

_WINDOW = r"(.*(?:\n+ .*)*)"
"""A window; its further lines are empty or begin with a space."""
_LABELLED = re.compile(rf"^(?!Other \d+: |Highlighted tokens: )[A-Z][^:\n]*: {_WINDOW}$", re.MULTILINE)
"""The text after a label (`Example 1: `), but not silent windows (`Other 1: `) or lists of marked tokens."""
_PAIRS = re.compile(r"^Example \d+\n((?:.*\t\d+(?:\n|\Z))+)", re.MULTILINE)
_PAIR = re.compile(r"^(.*)\t\d+$", re.MULTILINE)
_QUESTION = re.compile(r"\AExplanation: (.*?)\n\n(.*)\Z", re.DOTALL)
_CONTAINS = re.compile(r"\AText: (.*?)\n\nDoes this text contain the following: (.*)\?\Z", re.DOTALL)
"""Detection's question about one text."""
_TEXT = re.compile(rf"^(?:Text: |\d+\t){_WINDOW}$", re.MULTILINE)
_SPACE = r"\\n|\s"
"""White space; a marked line end is written as a backslash and an n."""
_STRENGTH = re.compile(r" \(\d+\)(?=\s*>>)")


class Asked(NamedTuple):
    """What a scorer's prompt asks.

    Attributes:
        explanation: The explanation to judge the texts by; empty for the control without one.
        texts: The windows, with their marks.
        is_one: Whether the answer is Yes or No, rather than a JSON object with numbers as keys.
    """

    explanation: str
    texts: list[str]
    is_one: bool

    def answer(self, said: Sequence[bool], left_out: Collection[int] = ()) -> str:
        """The answer with this verdict on each text; `left_out` are the indices of texts that it omits."""
        if self.is_one:
            return "Yes" if said[0] else "No"
        return json.dumps({str(index + 1): each for index, each in enumerate(said) if index not in left_out})


class Simulated(NamedTuple):
    """What a simulator's prompt asks: an explanation, and the text of each token whose activation is requested."""

    explanation: str
    tokens: list[str]


def read_question(prompt: str) -> Asked | None:
    """What a scorer's prompt asks; None if it is not a scorer's."""
    if contains := _CONTAINS.match(prompt):
        return Asked(contains[2], [contains[1]], is_one=True)
    found = _QUESTION.match(prompt)
    if not found:
        return None
    return Asked(found[1], read_texts(found[2]), found[2].startswith("Text: "))


def read_texts(listed: str) -> list[str]:
    """The windows in a question, each after `Text: ` or after its number."""
    return _TEXT.findall(listed)


def read_blanks(messages: Sequence[Message], blank: str) -> Simulated:
    """What a chat with blanks asks; its last message is the beginning of the model's turn."""
    lines = [line for line in messages[-1].content.split("\n") if line.endswith(blank)]
    return Simulated(
        messages[-2].content.removeprefix("Explanation: "), [line.removesuffix(blank) for line in lines]
    )


def shown_texts(prompt: str) -> list[str]:
    """What an explainer's prompt shows of its feature, as `plain` texts: everything after a label.

    This is a firing window, a list of promoted tokens, or lines with a token and its activation below the label.
    """
    pairs = ["".join(_PAIR.findall(text)) for text in _PAIRS.findall(prompt)]
    return [*map(plain, _LABELLED.findall(prompt)), *(re.sub(_SPACE, "", text) for text in pairs)]


def plain(text: str) -> str:
    """A window's text without marks, strengths and white space, so that texts compare equal however marked."""
    return re.sub(rf"<<|>>|{_SPACE}", "", _STRENGTH.sub("", text))
