"""Rules for judging texts when nothing is known except the prompt.

An explanation is read literally. A rule is read by its grammar (`pipeline.rules.grammar`). In any other
explanation, words in double quotes are those on which the feature fires; if the word `after` follows them, the
quoted words after it must come directly before:

    the token " stop"
    the token " stop" after " don't" or " won't"
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import RuleError
from pipeline.rules.grammar import Named, parse_rule

_QUOTED = re.compile(r'"\s*([^"]+)"')
_LITERAL_WORD = re.compile(r"<<|>>|[A-Za-z']+")
_MARKED = re.compile(r"<<\s*(.*?)\s*>>")
_WORD = re.compile(r"\w+")


class Said(NamedTuple):
    """The words in an explanation, stripped: those that fire, and those that must come before, or must not."""

    words: frozenset[str]
    before: frozenset[str]
    is_excluded: bool = False

    def fits(self, word: str, previous: str) -> bool:
        """Whether a word that follows another one matches."""
        is_word = word in self.words if self.words else bool(self.before)
        return is_word and (not self.before or (previous in self.before) != self.is_excluded)


def read_words(explanation: str) -> Said:
    """The words that an explanation names; for a rule its tokens, because classes and positions are ignored."""
    try:
        rule = parse_rule(explanation)
    except RuleError:
        words, _, befores = explanation.partition(" after ")
        return Said(frozenset(_QUOTED.findall(words)), frozenset(_QUOTED.findall(befores)))
    return Said(_tokens(rule.token), _tokens(rule.before), rule.is_excluded)


def _tokens(named: Named | None) -> frozenset[str]:
    return frozenset(str(token).strip() for token in named.tokens) if named else frozenset()


def literal(explanation: str, text: str) -> bool:
    """Whether a text contains what the explanation names; if it has marks, whether every marked word is that."""
    said = read_words(explanation)
    fits, marked = [], []
    previous, is_marked = "", False
    for word in _LITERAL_WORD.findall(text):
        if word in {"<<", ">>"}:
            is_marked = word == "<<"
            continue
        fits.append(said.fits(word, previous))
        marked.append(is_marked)
        previous = word
    if "<<" not in text:
        return any(fits)
    judged = [fit for fit, mark in zip(fits, marked, strict=True) if mark]
    return bool(judged) and all(judged)


def literal_tokens(explanation: str, tokens: Sequence[str]) -> list[bool]:
    """Which tokens of a text are what the explanation names."""
    said = read_words(explanation)
    fits, text = [], ""
    for token in tokens:
        previous = (text.split() or [""])[-1]
        fits.append(said.fits(token.strip(), previous))
        text += token
    return fits


def is_literal(explanation: str) -> bool:
    """Whether an explanation names words, so that it can be read literally."""
    said = read_words(explanation)
    return bool(said.words or said.before)


def alike(texts: Sequence[str]) -> list[bool]:
    """Which texts a scorer without an explanation takes for the feature's: those that share words with others.

    A text's weight is that of its heaviest word (only marked words, if there are marks). Words in a single text
    or in all of them weigh nothing, words in half of the texts most. The half with the larger weights is answered
    yes; a single text is answered no.
    """
    marked = any("<<" in text for text in texts)
    words = [set(_MARKED.findall(text) if marked else _WORD.findall(text)) for text in texts]
    n_texts = Counter(word for each in words for word in each)
    weights = [
        max(((n_texts[word] - 1) * (1 - n_texts[word] / len(texts)) for word in each), default=0.0)
        for each in words
    ]
    cut = sorted(weights)[len(weights) // 2]
    return [weight >= cut and weight > 0 for weight in weights]


def chance(*parts: str) -> float:
    """A number from 0 (inclusive) to 1 (exclusive), by hash."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
