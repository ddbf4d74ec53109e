"""How the oracle chooses a set of continuations.

Where an explanation names a feature, or is a rule, the one in which all are known to be the feature's. Any other
is read literally: the one in which the changed texts hold most of the words that it quotes.
"""

import re
from collections.abc import Sequence

from pipeline.errors import RuleError
from pipeline.llm.oracle.brain import Oracle
from pipeline.llm.oracle.judges import chance, read_words
from pipeline.rules.grammar import parse_rule

_CHOOSE = re.compile(r"\AExplanation: (.*?)\n\n(Set 1\n.*)\n\nThe number of the set ", re.DOTALL)
_SET = re.compile(r"^Set \d+\n((?:(?:usual|changed): .*(?:\n|\Z))+)", re.MULTILINE)
_CHANGED = re.compile(r"^changed: (.*)$", re.MULTILINE)
_WORD = re.compile(r"[\w']+")


def answer(prompt: str, oracle: Oracle) -> str | None:
    """The number of a set, by hash where nothing tells it; None if the prompt asks for none."""
    found = _CHOOSE.match(prompt)
    if not found:
        return None
    explanation, sets = found[1], [_CHANGED.findall(texts) for texts in _SET.findall(found[2])]
    feature, rates = oracle.rated(explanation)
    if feature is None and _is_rule(explanation):
        feature = _quoted_most(explanation, oracle)
    if feature is None:
        fits = _by_words(explanation, sets)
    else:
        known = oracle.truth.written.get(feature, frozenset())
        fits = [number for number, texts in enumerate(sets) if known and known.issuperset(texts)]
    numbers = [*range(len(sets))]
    about = (explanation, *(text for texts in sets for text in texts))
    chosen = fits[0] if fits else _drawn(numbers, *about)
    if chance(*about, "error") < rates.false_negative:
        chosen = _drawn([number for number in numbers if number != chosen], *about)
    return str(chosen + 1)


def _is_rule(explanation: str) -> bool:
    try:
        parse_rule(explanation)
    except RuleError:
        return False
    return True


def _quoted_most(explanation: str, oracle: Oracle) -> int:
    """The feature most of whose tokens a rule names; -1 if it names none of any known feature."""
    named, words = read_words(explanation).words, oracle.truth.words
    shared = {feature: len(named & read_words(words[feature]).words) for feature in words}
    best = max(shared, key=lambda feature: shared[feature], default=-1)
    return best if shared.get(best) else -1


def _by_words(explanation: str, sets: Sequence[Sequence[str]]) -> list[int]:
    """The set that holds most of the words that an explanation quotes, if one does."""
    named = read_words(explanation).words
    n_held = [sum(word in named for text in texts for word in _WORD.findall(text)) for texts in sets]
    most = [number for number, n in enumerate(n_held) if n and n == max(n_held)]
    return most if len(most) == 1 else []


def _drawn(numbers: Sequence[int], *about: str) -> int:
    return numbers[int(chance(*about, "choice") * len(numbers))]
