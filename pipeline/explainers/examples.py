"""How the windows that an explainer is shown are written."""

from collections.abc import Sequence

from pipeline.asking.windows import Vocabulary
from pipeline.config import ExplainingConfig
from pipeline.explainers.base import Shown


def example_lines(explaining: ExplainingConfig, shown: Sequence[Shown], vocabulary: Vocabulary) -> list[str]:
    """One numbered line a window; tokens above a share of the largest shown activation are marked.

    A window whose every firing is weaker has its strongest token marked: it was chosen because it fires.
    """
    largest = max(max(window.activations) for window in shown)
    lines = []
    for number, window in enumerate(shown, start=1):
        cut = min(explaining.marked_share * largest, max(window.activations) * (1 - 1e-6))
        marked = {position for position, strength in enumerate(window.activations) if strength > cut}
        notes = None
        if explaining.show_activations:
            # On a scale of 0 to 10 of the largest shown, as in Bills et al.
            notes = [
                f" ({round(10 * strength / largest)})" if position in marked else ""
                for position, strength in enumerate(window.activations)
            ]
        lines.append(f"Example {number}: {vocabulary.render(window.token_ids, marked, notes)}")
    return lines
