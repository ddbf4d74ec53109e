"""The oracle's grades of windows: 2 where it would say yes, else 0."""

import json

from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.prompts import read_question

_GRADES = "JSON object of grades for texts 1 to "


def answer(prompt: str, oracle: Oracle) -> str | None:
    """The object of grades by number; None if the prompt does not ask for grades."""
    asked = read_question(prompt) if _GRADES in prompt else None
    if asked is None:
        return None
    fits = oracle.judge(asked.explanation, asked.texts)
    return json.dumps({str(number): 2 * each for number, each in enumerate(fits, start=1)})
