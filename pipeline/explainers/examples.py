"""How the windows that an explainer is shown are written."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pipeline.asking.windows import Vocabulary, quoted
from pipeline.config import ExplainingConfig
from pipeline.explainers.base import Shown

LABELS = ("Example", "Other")
"""What numbered windows are called."""

_MOST_LISTED = 5
"""Marked tokens: small models repeat a longer list as their answer, to its end."""


def largest_of(shown: Iterable[Shown]) -> float:
    """The largest activation of some windows: the 10 of a prompt, as in Bills et al. 2023."""
    return max(max(window.activations) for window in shown)


def example_lines(
    explaining: ExplainingConfig, shown: Sequence[Shown], vocabulary: Vocabulary, largest: float | None = None
) -> list[str]:
    """One numbered line a window; tokens above a share of the largest activation shown are marked.

    A window whose every firing is weaker has its strongest token marked: it was chosen because it fires. `largest`
    is given where the prompt shows more windows than these: its numbers and marks are on one scale.
    """
    largest = largest_of(shown) if largest is None else largest
    lines = []
    marks = _marked(explaining, shown, largest)
    for number, (window, marked) in enumerate(zip(shown, marks, strict=True), start=1):
        notes = None
        if explaining.show_activations:
            notes = [
                f" ({round(10 * strength / largest)})" if position in marked else ""
                for position, strength in enumerate(window.activations)
            ]
        lines.append(f"Example {number}: {vocabulary.render(window.token_ids, marked, notes)}")
    return lines


def marked_list(explaining: ExplainingConfig, shown: Sequence[Shown], vocabulary: Vocabulary) -> str:
    """The texts that `example_lines` marks most often, in quotes, the most frequent first."""
    texts = Counter(
        text
        for window, marked in zip(shown, _marked(explaining, shown, largest_of(shown)), strict=True)
        for text in vocabulary.marked_texts(window.token_ids, marked)
    )
    return quoted(text for text, _ in texts.most_common(_MOST_LISTED))


def _marked(explaining: ExplainingConfig, shown: Sequence[Shown], largest: float) -> Iterator[set[int]]:
    """The positions to mark in each window."""
    for window in shown:
        cut = min(explaining.marked_share * largest, max(window.activations) * (1 - 1e-6))
        yield {position for position, strength in enumerate(window.activations) if strength > cut}


def pair_lines(
    explaining: ExplainingConfig, shown: Sequence[Shown], vocabulary: Vocabulary, largest: float | None = None
) -> list[str]:
    """A numbered heading a window, and a line a token: its text, a TAB, and its activation from 0 to 10.

    On a scale of the largest activation shown. Tokens that spell one character stand on one line, with the
    strongest of their activations.
    """
    largest = largest_of(shown) if largest is None else largest
    lines = []
    for number, window in enumerate(shown, start=1):
        lines.append(f"Example {number}")
        for text, places in vocabulary.pieces(window.token_ids):
            lines.append(f"{text}\t{round(10 * max(window.activations[place] for place in places) / largest)}")
    return lines


def silent_lines(silent: Sequence[Shown], vocabulary: Vocabulary) -> list[str]:
    """One numbered line a silent window."""
    return [f"Other {number}: {vocabulary.render(each.token_ids)}" for number, each in enumerate(silent, start=1)]
