"""How the oracle writes texts by an explanation: windows that it knows of its feature, or words in quotes."""

import json
import re
from collections.abc import Sequence

from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.judges import chance, read_words

_WRITE = re.compile(
    r"\AExplanation: (.*?)\n\nJSON object with (\d+) active texts and \2 near misses:\Z", re.DOTALL
)


def answer(prompt: str, oracle: Oracle) -> str | None:
    """The object with texts in which a feature is active, and near misses; None if the prompt wants none written.

    Where too few are known they are made up, of the words that the explanation quotes. As large a share of either
    list as the oracle errs about that answer is written as if it were of the other kind.
    """
    found = _WRITE.match(prompt)
    if not found:
        return None
    explanation, n = found[1], int(found[2])
    feature, rates = oracle.rated(explanation)
    active, silent = (_known_texts(oracle, feature, label) for label in (True, False))
    texts = []
    for is_active, rate in ((True, rates.false_negative), (False, rates.false_positive)):
        for number in range(n):
            errs = chance(explanation, str(is_active), str(number), "error") < rate
            known = active if is_active != errs else silent
            # What stands in the wrong list comes from the other end, so that no text is written twice.
            known = known[::-1] if errs else known
            name = f"{'A' if is_active else 'N'}{number}:"
            texts.append(f"{name} {_text(explanation, is_active != errs, number, known)}")
    return json.dumps({"active": texts[:n], "near_misses": texts[n:]})


def _text(explanation: str, is_active: bool, number: int, known: Sequence[str]) -> str:
    """The text with a number among those known of its kind, or one made up."""
    if number < len(known):
        return known[number]
    said = read_words(explanation)
    quoted = [*sorted(said.before)[:1], *sorted(said.words)[:1]] if is_active else []
    return " ".join([*quoted, "and so on"])


def _known_texts(oracle: Oracle, feature: int | None, label: bool) -> list[str]:
    """The plain windows of a feature in which it fires, or does not."""
    return [
        text
        for (own, text), is_active in oracle.truth.labels.items()
        if own == feature and is_active == label and "<<" not in text
    ]
