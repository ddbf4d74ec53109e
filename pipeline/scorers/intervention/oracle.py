"""The oracle's choice among sets of continuations: the set in which all are known to be the feature's."""

import re
from collections.abc import Sequence

from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.judges import chance, read_words

_CHOOSE = re.compile(r"\AExplanation: (.*?)\n\n(Set 1\n.*)\n\nThe number of the set ", re.DOTALL)
_SET = re.compile(r"^Set \d+\n((?:(?:usual|changed): .*(?:\n|\Z))+)", re.MULTILINE)
_CHANGED = re.compile(r"^changed: (.*)$", re.MULTILINE)


def answer(prompt: str, oracle: Oracle) -> str | None:
    """The number of a set, by hash if no set is known; None if the prompt does not ask for a set."""
    found = _CHOOSE.match(prompt)
    if not found:
        return None
    explanation, sets = found[1], [_CHANGED.findall(texts) for texts in _SET.findall(found[2])]
    feature, rates = oracle.rated(explanation)
    meant = _quoted_most(explanation, oracle) if feature is None else feature
    known = oracle.truth.written.get(meant, frozenset())
    fits = [index for index, texts in enumerate(sets) if known and known.issuperset(texts)]
    numbers = [*range(len(sets))]
    about = (explanation, *(text for texts in sets for text in texts))
    chosen = fits[0] if fits else _drawn(numbers, *about)
    if chance(*about, "error") < rates.false_negative:
        chosen = _drawn([number for number in numbers if number != chosen], *about)
    return str(chosen + 1)


def _quoted_most(explanation: str, oracle: Oracle) -> int:
    """The feature most of whose tokens an explanation quotes; -1 if it quotes none of any known feature."""
    named, words = read_words(explanation).words, oracle.truth.words
    shared = {feature: len(named & read_words(words[feature]).words) for feature in words}
    best = max(shared, key=lambda feature: shared[feature], default=-1)
    return best if shared.get(best) else -1


def _drawn(numbers: Sequence[int], *about: str) -> int:
    return numbers[int(chance(*about, "choice") * len(numbers))]
