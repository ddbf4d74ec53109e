"""The oracle's search for the intruder: the one text whose marks are not of the feature that the others share."""

import re
from collections import Counter
from collections.abc import Sequence

from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.judges import chance
from pipeline.llm.oracle.prompts import read_texts

_CHOICE = re.compile(r"\A(1\t.*)\n\nNumber of the text that does not belong, 1 to \d+:\Z", re.DOTALL)


def answer(prompt: str, oracle: Oracle) -> str | None:
    """The number of a text; None if the prompt does not ask for one."""
    found = _CHOICE.match(prompt)
    return str(_odd_one(read_texts(found[1]), oracle) + 1) if found else None


def _odd_one(texts: Sequence[str], oracle: Oracle) -> int:
    """The index of the one text that lacks the feature of all others; if there is none, an index by hash.

    It errs by naming another index, at the oracle's false negative rate for the feature.
    """
    of_texts = [oracle.truth.features_of.get(text, frozenset()) for text in texts]
    features = Counter(feature for each in of_texts for feature in sorted(each))
    guess = int(chance(*texts, "choice") * len(texts))
    for feature, _ in features.most_common(1):
        odd = [index for index, each in enumerate(of_texts) if feature not in each]
        if len(odd) == 1:
            others = [index for index in range(len(texts)) if index != odd[0]]
            is_wrong = chance(*texts, "error") < oracle.rates(feature).false_negative
            return others[guess % len(others)] if is_wrong else odd[0]
    return guess
