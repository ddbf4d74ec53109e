"""The oracle's simulated activations as JSON; its client itself handles the method `all_at_once`."""

import json
import re

from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.prompts import Simulated

_TOKENS = re.compile(r"\AExplanation: (.*?)\n\nTokens:\n(.*)\n\nJSON object for tokens 1 to \d+:\Z", re.DOTALL)


def answer(prompt: str, oracle: Oracle) -> str | None:
    """The object of integers by token; None if the prompt does not ask for one."""
    found = _TOKENS.match(prompt)
    if not found:
        return None
    asked = Simulated(found[1], [line.partition("\t")[2] for line in found[2].split("\n")])
    return json.dumps({str(number): value for number, value in enumerate(oracle.simulate(asked), start=1)})
