"""The post's explainer: examples with marked tokens in, one sentence out.

Bills et al. 2023 and Juang et al. 2024: the model sees train windows in which the feature fires, its firing
tokens marked, and answers after [EXPLANATION]:. The few-shot examples have the form of the real input.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.config import ExplainingConfig
from pipeline.llm import Message, Request
from pipeline.llm.texts import final_text
from pipeline.prompts import load_prompt
from pipeline.windows import Vocabulary, one_line

_SHOTS = 2
_MARK = re.compile(r"\[EXPLANATION\]\s*:?", re.IGNORECASE)
_LONGEST = 1000


class Shown(NamedTuple):
    """A window that the explainer is shown."""

    example_id: str
    token_ids: Sequence[int]
    activations: Sequence[float]


def explain_request(
    explaining: ExplainingConfig, sae: str, feature: int, shown: Sequence[Shown], vocabulary: Vocabulary
) -> Request:
    """The request that explains a feature from the windows shown."""
    messages = [Message("system", load_prompt("explain_system").render())]
    for shot in range(1, _SHOTS + 1):
        messages.append(Message("user", load_prompt(f"explain_shot_{shot}").render()))
        messages.append(Message("assistant", load_prompt(f"explain_answer_{shot}").render()))
    lines = example_lines(explaining, shown, vocabulary)
    messages.append(Message("user", load_prompt("explain_user").render(examples="\n".join(lines))))
    return Request(
        purpose="explain",
        sae=sae,
        feature=feature,
        model=explaining.model,
        messages=tuple(messages),
        max_tokens=explaining.max_tokens,
        temperature=explaining.temperature,
        stop=("\n",) if explaining.one_line else (),
        reasoning_tokens=explaining.reasoning_tokens,
        reasoning_effort=explaining.reasoning_effort,
    )


def example_lines(explaining: ExplainingConfig, shown: Sequence[Shown], vocabulary: Vocabulary) -> list[str]:
    """One numbered line a window; tokens above a share of the largest shown activation are marked.

    A window whose every firing is weaker has its strongest token marked: it was chosen because it fires.
    """
    largest = max(max(window.activations) for window in shown)
    lines = []
    for number, window in enumerate(shown, start=1):
        cut = min(explaining.marked_share * largest, max(window.activations) * (1 - 1e-6))
        marked = {place for place, strength in enumerate(window.activations) if strength > cut}
        notes = None
        if explaining.show_activations:
            # On a scale of 0 to 10 of the largest shown, as in Bills et al.
            notes = [
                f" ({round(10 * strength / largest)})" if place in marked else ""
                for place, strength in enumerate(window.activations)
            ]
        lines.append(f"Example {number}: {vocabulary.render(window.token_ids, marked, notes)}")
    return lines


def parse_explanation(text: str) -> str | None:
    """What stands after the last [EXPLANATION]: up to the end of its paragraph; None if there is nothing.

    Only what the model says in the end counts, not what it thinks before.
    """
    parts = _MARK.split(final_text(text) or "")
    if len(parts) < 2:
        return None
    words = parts[-1].strip().split("\n\n")[0]
    return one_line(" ".join(words.split()))[:_LONGEST] or None
