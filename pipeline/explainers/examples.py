"""Writes the windows that an explainer is shown."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pipeline.asking.windows import Vocabulary, quoted
from pipeline.config import ExplainingConfig
from pipeline.explainers.base import Shown

LABELS = ("Example", "Other")
"""Headings of numbered windows in prompts."""

_MOST_LISTED = 5
"""Maximum length of the list of marked tokens: small models copy a longer list as their answer."""


def largest_of(shown: Iterable[Shown]) -> float:
    """The largest activation in the windows shown; it is written as 10 in prompts, as in Bills et al. 2023."""
    return max(max(window.activations) for window in shown)


def example_lines(
    explaining: ExplainingConfig, shown: Sequence[Shown], vocabulary: Vocabulary, largest: float | None = None
) -> list[str]:
    """One numbered line per window; tokens above a share of the largest activation shown are marked.

    If all firings of a window are weaker, its strongest token is marked: the window was chosen because the feature
    fires in it. `largest` is given if the prompt shows further windows, so that all share one scale.
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
    """The texts that `example_lines` marks most often, in quotes, by descending frequency."""
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
    """A numbered heading per window, and a line per token: its text, a TAB, and its activation from 0 to 10.

    10 is the largest activation shown. Tokens that together encode one character share a line, with the largest of
    their activations.
    """
    largest = largest_of(shown) if largest is None else largest
    lines = []
    for number, window in enumerate(shown, start=1):
        lines.append(f"Example {number}")
        for text, positions in vocabulary.pieces(window.token_ids):
            strongest = max(window.activations[position] for position in positions)
            lines.append(f"{text}\t{round(10 * strongest / largest)}")
    return lines


def silent_lines(silent: Sequence[Shown], vocabulary: Vocabulary) -> list[str]:
    """One numbered line per silent window."""
    return [f"Other {number}: {vocabulary.render(each.token_ids)}" for number, each in enumerate(silent, start=1)]
