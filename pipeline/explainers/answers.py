"""Parses an explainer's answer: the words after [EXPLANATION], unless they repeat the prompt."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.asking.windows import visible
from pipeline.explainers.echoes import is_echo
from pipeline.llm import Answer
from pipeline.llm.texts import final_text

_MARK = re.compile(r"\[EXPLANATION\]\s*:?", re.IGNORECASE)
_MARKED = re.compile(r"""["'`]?<<([^<>]*[^<>\s])>>["'`]?""")
_LONGEST = 1000


class ReadExplanation(NamedTuple):
    """An explanation and its status; words are None unless the status is `ok`."""

    words: str | None
    status: str


def read_explanation(answer: Answer, own: Iterable[str], windows: Iterable[str]) -> ReadExplanation:
    """The explanation in an answer; `own` are the prompt's own texts, `windows` the windows shown."""
    if answer.status != "ok":
        return ReadExplanation(None, answer.status)
    words = parse_explanation(answer.text or "")
    if words is None:
        return ReadExplanation(None, "unparsed")
    return ReadExplanation(None, "echoed") if is_echo(words, own, windows) else ReadExplanation(words, "ok")


def parse_explanation(text: str) -> str | None:
    """The text after the last [EXPLANATION], up to the end of the paragraph; None if there is none.

    Only the final answer counts, not the reasoning before it. Text marked with << and >>, as in the prompt, is put
    in quotes instead.
    """
    parts = _MARK.split(final_text(text) or "")
    if len(parts) < 2:
        return None
    words = _MARKED.sub(r'"\1"', parts[-1].strip().split("\n\n")[0])
    return visible(" ".join(words.split()))[:_LONGEST] or None
