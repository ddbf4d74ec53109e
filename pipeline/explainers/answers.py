"""What an explainer's answer says: the words after its mark, unless they repeat the prompt."""

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


class Read(NamedTuple):
    """An explanation and its status; there are no words where the status is not `ok`."""

    words: str | None
    status: str


def read_explanation(answer: Answer, own: Iterable[str], windows: Iterable[str]) -> Read:
    """The explanation in an answer; `own` and `windows` are the prompt's own texts and the windows shown."""
    if answer.status != "ok":
        return Read(None, answer.status)
    words = parse_explanation(answer.text or "")
    if words is None:
        return Read(None, "unparsed")
    return Read(None, "echoed") if is_echo(words, own, windows) else Read(words, "ok")


def parse_explanation(text: str) -> str | None:
    """What stands after the last [EXPLANATION]: up to the end of its paragraph; None if there is nothing.

    Only what the model says in the end counts, not what it thinks before. What it marks, as the prompt marks
    tokens, is quoted.
    """
    parts = _MARK.split(final_text(text) or "")
    if len(parts) < 2:
        return None
    words = _MARKED.sub(r'"\1"', parts[-1].strip().split("\n\n")[0])
    return visible(" ".join(words.split()))[:_LONGEST] or None
