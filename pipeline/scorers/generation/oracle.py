"""The oracle's texts for an explanation: windows of its feature that it knows, or the quoted words."""

import json
import re
from collections.abc import Sequence

from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.judges import chance, read_words

_WRITE = re.compile(
    r"\AExplanation: (.*?)\n\nJSON object with (\d+) active texts and \2 near misses:\Z", re.DOTALL
)


def answer(prompt: str, oracle: Oracle) -> str | None:
    """The object with texts in which a feature is active, and near misses; None if the prompt asks for none.

    If too few windows are known, texts are made up from the words that the explanation quotes. A share of each
    list equal to the oracle's error rate for that answer consists of texts of the other kind.
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
            # Texts in the wrong list are taken from the end, so that no text is written twice.
            known = known[::-1] if errs else known
            name = f"{'A' if is_active else 'N'}{number}:"
            texts.append(f"{name} {_text(explanation, is_active != errs, number, known)}")
    return json.dumps({"active": texts[:n], "near_misses": texts[n:]})


def _text(explanation: str, is_active: bool, number: int, known: Sequence[str]) -> str:
    """The known text of this kind with this number, or one made up."""
    if number < len(known):
        return known[number]
    read = read_words(explanation)
    quoted = [*sorted(read.before)[:1], *sorted(read.words)[:1]] if is_active else []
    return " ".join([*quoted, "and so on"])


def _known_texts(oracle: Oracle, feature: int | None, label: bool) -> list[str]:
    """The unmarked windows of a feature in which it fires, or does not."""
    return [
        text
        for (own, text), is_active in oracle.truth.labels.items()
        if own == feature and is_active == label and "<<" not in text
    ]
