"""Echoes: explanations that repeat the prompt instead of telling what the windows have in common.

A small model copies instructions and worked examples into its answer. Such an answer reads like an explanation and
says nothing about the feature, so it gets the status `echoed`, decided anew from the raw answer at each replay.

- A word is a run of letters, lower-cased (NFKC, so that full-width letters are letters); digits, punctuation,
  markup and line ends part words and are otherwise passed over.
- A content word is a word that is not in `FUNCTION_WORDS`.
- A run is three content words that follow one another in one text, whatever function words, punctuation or line
  ends stand between them; of an explanation that has only two, these two. No run goes from one text into the next:
  from one message to another, from before the windows to behind them, or from one window to another. A longer
  copied run holds runs of three.
- An explanation is an echo if a run of it stands in the prompt's own text and in no window. It is one as well if
  it names nothing: it quotes nothing, and all its content words are the prompt's own, in whatever order, and stand
  in no window (`the tokens are always the same one`).
"""

import re
import unicodedata
from collections.abc import Iterable

RUN_WORDS = 3
"""Two of the prompt ("marked tokens") in a longer explanation may well tell what a feature is about."""

# Articles and determiners; pronouns; prepositions; conjunctions; auxiliary and modal verbs; particles.
_FUNCTION_WORDS = """
a an the this that these those each every either neither some any no all both such other another
i you he she it we they me him her us them my your his its our their one ones who whom whose which what
about above across after against along among around as at before behind below beneath beside between beyond
by down during for from in inside into near of off on onto out outside over per since through to toward
towards under until up upon with within without
and but or nor so yet if then else than because although though unless while when where whether how why
am is are was were be been being do does did done doing have has had having
will would shall should can could may might must
not don't doesn't isn't aren't it's there here just only also too very
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_QUOTED = re.compile(r"""(["'`])(?![<>\s]*\1).+?\1""")
"""Something between quotes; the prompt's marks, << and >>, are nothing."""


def is_echo(explanation: str, own: Iterable[str], windows: Iterable[str]) -> bool:
    """Whether an explanation repeats a run of the prompt's own words that is of no window shown, or names nothing.

    Args:
        explanation: What the model said after the mark.
        own: The prompt's own texts, without the windows: instructions, worked examples.
        windows: The windows shown, without marks; read only where a run is the prompt's own.
    """
    own, size = list(own), min(RUN_WORDS, max(2, len(content_words(explanation))))
    copied = _runs(explanation, size)
    copied &= {run for text in own for run in _runs(text, size)}
    words = set() if _QUOTED.search(explanation) else _singular(explanation)
    names_nothing = bool(words) and words <= {word for text in own for word in _singular(text)}
    for window in windows if copied or names_nothing else ():
        copied -= _runs(window, size)
        names_nothing &= not words & _singular(window)
    return bool(copied) or names_nothing


def content_words(text: str) -> list[str]:
    """The content words of a text in their order, lower-cased."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold())
    return [word for word in words if word not in FUNCTION_WORDS]


def _runs(text: str, size: int) -> set[tuple[str, ...]]:
    words = content_words(text)
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def _singular(text: str) -> set[str]:
    """The content words of a text without an s at their ends, so that `tokens` is `token`."""
    return {word.removesuffix("s") for word in content_words(text)}
