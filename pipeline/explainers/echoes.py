"""Echoes: explanations that repeat the prompt instead of describing what the windows have in common.

Small models copy instructions and worked examples into their answers. Such an answer reads like an explanation
but says nothing about the feature, so it gets the status `echoed`, decided from the raw answer at each replay.

- A word is a run of letters, lower-cased (NFKC, so that full-width letters are letters). Digits, punctuation,
  markup and line ends separate words and are otherwise ignored.
- A content word is a word that is not in `_FUNCTION_WORDS`.
- A run is three consecutive content words of one text, ignoring function words, punctuation and line ends between
  them; an explanation of only two content words has a run of two. Runs do not cross the boundary between two
  texts: between messages, between the text before and after the windows, or between windows. A longer copied run
  contains runs of three.
- An explanation is an echo if one of its runs occurs in the prompt's own text and in no window. It is also an echo
  if it names nothing: it quotes nothing, and all its content words occur in the prompt's own text, in any order,
  and in no window (`the tokens are always the same one`).
"""

import re
import unicodedata
from collections.abc import Iterable
from itertools import tee

_RUN_WORDS = 3
"""Not 2: two words of the prompt ("marked tokens") may well occur in a longer, genuine explanation."""

# Articles and determiners; pronouns; prepositions; conjunctions; auxiliary and modal verbs; particles.
_LISTED = """
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
_FUNCTION_WORDS = frozenset(_LISTED.split())

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_QUOTED = re.compile(r"""(["'`])(?![<>\s]*\1).+?\1""")
"""Text between quotes; the prompt's marks, << and >>, do not count as text."""


def is_echo(explanation: str, own: Iterable[str], windows: Iterable[str]) -> bool:
    """Whether an explanation repeats a run of the prompt's own text, or names nothing.

    Args:
        explanation: The model's words after [EXPLANATION].
        own: The prompt's own texts, without the windows: instructions, worked examples.
        windows: The windows shown, without marks; read only if words of the prompt's own text are found.
    """
    own = list(own)
    once, again = tee(windows)
    return repeats_run(explanation, own, once) or names_nothing(explanation, own, again)


def repeats_run(explanation: str, own: Iterable[str], windows: Iterable[str]) -> bool:
    """Whether a run of the explanation is in the prompt's own text and in no window; arguments as `is_echo`."""
    size = min(_RUN_WORDS, max(2, len(content_words(explanation))))
    copied = _runs(explanation, size)
    copied &= {run for text in own for run in _runs(text, size)}
    for window in windows if copied else ():
        copied -= _runs(window, size)
    return bool(copied)


def names_nothing(explanation: str, own: Iterable[str], windows: Iterable[str]) -> bool:
    """Whether it quotes nothing and all its words are in the prompt's own text and in no window."""
    words = _singular(explanation)
    if not words or _QUOTED.search(explanation) or not words <= {word for text in own for word in _singular(text)}:
        return False
    return not any(words & _singular(window) for window in windows)


def content_words(text: str) -> list[str]:
    """The content words of a text in order, lower-cased."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold())
    return [word for word in words if word not in _FUNCTION_WORDS]


def _runs(text: str, size: int) -> set[tuple[str, ...]]:
    words = content_words(text)
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def _singular(text: str) -> set[str]:
    """The content words of a text without a final s, so that `tokens` equals `token`."""
    return {word.removesuffix("s") for word in content_words(text)}
