"""Rules by which texts are judged, where nothing is known but what stands in a prompt.

An explanation is read literally. The words in double quotes are those on which the feature fires; if the word
after stands behind them, the quoted words behind it are those that must come just before:

    the token " stop"
    the token " stop" after " don't" or " won't"
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

_QUOTED = re.compile(r'"\s*([^"]+)"')
_LITERAL_WORD = re.compile(r"<<|>>|[A-Za-z']+")
_MARKED = re.compile(r"<<\s*(.*?)\s*>>")
_WORD = re.compile(r"\w+")


def literal(explanation: str, text: str) -> bool:
    """Whether the text holds what the explanation says; of a text with marks, whether all marks are on it."""
    words, _, befores = explanation.partition(" after ")
    wanted, before = set(_QUOTED.findall(words)), set(_QUOTED.findall(befores))
    fits, marked = [], []
    previous, is_marked = "", False
    for word in _LITERAL_WORD.findall(text):
        if word in {"<<", ">>"}:
            is_marked = word == "<<"
            continue
        fits.append(word in wanted and (not before or previous in before))
        marked.append(is_marked)
        previous = word
    if "<<" not in text:
        return any(fits)
    judged = [fit for fit, mark in zip(fits, marked, strict=True) if mark]
    return bool(judged) and all(judged)


def literal_tokens(explanation: str, tokens: Sequence[str]) -> list[bool]:
    """Which tokens of a text are what the explanation says."""
    words, _, befores = explanation.partition(" after ")
    wanted, before = set(_QUOTED.findall(words)), set(_QUOTED.findall(befores))
    fits, text = [], ""
    for token in tokens:
        previous = (text.split() or [""])[-1]
        fits.append(token.strip() in wanted and (not before or previous in before))
        text += token
    return fits


def is_literal(explanation: str) -> bool:
    """Whether an explanation quotes words by which it can be read literally."""
    return _QUOTED.search(explanation) is not None


def alike(texts: Sequence[str]) -> list[bool]:
    """Which texts a scorer without an explanation takes for the feature's: those that share words with others.

    Each text weighs the words that stand in other texts of the prompt too (only marked ones, where there are
    marks), rare words of English and of the prompt more; the heavier half is told as yes. One text alone is no.
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
    """A number from 0 to 1, 1 left out, by hash."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
