"""How the oracle chooses a set of continuations: the one in which all are known to be the feature's."""

import re
from collections.abc import Sequence

from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.judges import chance, read_words

_CHOOSE = re.compile(r"\AExplanation: (.*?)\n\n(Set 1\n.*)\n\nThe number of the set ", re.DOTALL)
_SET = re.compile(r"^Set \d+\n((?:(?:usual|changed): .*(?:\n|\Z))+)", re.MULTILINE)
_CHANGED = re.compile(r"^changed: (.*)$", re.MULTILINE)


def answer(prompt: str, oracle: Oracle) -> str | None:
    """The number of a set, without a known one a number by hash; None if the prompt asks for none."""
    found = _CHOOSE.match(prompt)
    if not found:
        return None
    explanation, sets = found[1], [_CHANGED.findall(texts) for texts in _SET.findall(found[2])]
    feature, rates = oracle.rated(explanation)
    known = oracle.truth.written.get(_told_by(explanation, oracle) if feature is None else feature, frozenset())
    fits = [place for place, texts in enumerate(sets) if known and known.issuperset(texts)]
    numbers = [*range(len(sets))]
    about = (explanation, *(text for texts in sets for text in texts))
    chosen = fits[0] if fits else _drawn(numbers, *about)
    if chance(*about, "error") < rates.false_negative:
        chosen = _drawn([number for number in numbers if number != chosen], *about)
    return str(chosen + 1)


def _told_by(explanation: str, oracle: Oracle) -> int:
    """The feature whose tokens an explanation quotes most of; -1 where it quotes none of a known one's."""
    named, words = read_words(explanation).words, oracle.truth.words
    shared = {feature: len(named & read_words(words[feature]).words) for feature in words}
    best = max(shared, key=lambda feature: shared[feature], default=-1)
    return best if shared.get(best) else -1


def _drawn(numbers: Sequence[int], *about: str) -> int:
    return numbers[int(chance(*about, "choice") * len(numbers))]
