"""How the oracle finds the intruder: the one text whose marks are not those of the others' feature."""

import re
from collections import Counter
from collections.abc import Sequence

from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.judges import chance
from pipeline.llm.oracle.prompts import read_texts

_CHOICE = re.compile(r"\A(1\t.*)\n\nNumber of the text that does not belong, 1 to \d+:\Z", re.DOTALL)


def answer(prompt: str, oracle: Oracle) -> str | None:
    """The number of a text; None if the prompt asks for none."""
    found = _CHOICE.match(prompt)
    return str(_odd_one(read_texts(found[1]), oracle) + 1) if found else None


def _odd_one(texts: Sequence[str], oracle: Oracle) -> int:
    """The place of the one text that is not the feature's of all others; without one, a place by hash.

    It errs, and says another place, as often as it misses what is true of a feature.
    """
    of_texts = [oracle.truth.features_of.get(text, frozenset()) for text in texts]
    features = Counter(feature for each in of_texts for feature in sorted(each))
    guess = int(chance(*texts, "choice") * len(texts))
    for feature, _ in features.most_common(1):
        odd = [place for place, each in enumerate(of_texts) if feature not in each]
        if len(odd) == 1:
            others = [place for place in range(len(texts)) if place != odd[0]]
            is_wrong = chance(*texts, "error") < oracle.rates(feature).false_negative
            return others[guess % len(others)] if is_wrong else odd[0]
    return guess
