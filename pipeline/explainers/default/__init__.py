"""The post's explainer: examples with marked tokens in, one sentence out.

Bills et al. 2023 and Juang et al. 2024: the model sees train windows in which the feature fires, its firing
tokens marked, and answers after [EXPLANATION]:. There are no worked examples, which small models copy: nine of ten
answers of SmolLM2-135M and eight of ten of Qwen2.5-Coder-1.5B repeated ours (`benchmarks/echoes.py` counts them).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.asking.batches import ToAsk
from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Tools
from pipeline.asking.windows import Vocabulary
from pipeline.config import ExplainingConfig
from pipeline.explainers.answers import Read, read_explanation
from pipeline.explainers.base import Explanation, Feature, Shown
from pipeline.explainers.examples import example_lines
from pipeline.llm import Answer, Message, Request

_FOLDER = Path(__file__).parent
_SYSTEM, _USER = _FOLDER / "system.txt", _FOLDER / "user.txt"

STAND_IN = (
    "words and phrases that introduce a comparison or a contrast, such as conjunctions and adverbs at the "
    "beginning of a clause"
)
"""An explanation of typical length, some 30 tokens (Juang et al. 2024)."""


class Default:
    """Asks the explainer's model about every feature that no rule explains."""

    name = "default"
    role: RoleName | None = "explainer"

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """One explanation a feature that is not routed to a rule and has windows to show."""
        asked = [feature for feature in features if feature.route != "rule" and feature.shown]
        to_ask = [_to_ask(feature, tools) for feature in asked]
        answers = tools.ask(to_ask)
        for feature, each in zip(asked, to_ask, strict=True):
            answer = answers[each.request.request_id]
            words, status = _read(feature, answer, tools.vocabulary)
            example_ids = [window.example_id for window in feature.shown]
            yield Explanation(feature.feature, words, status, example_ids, answer.request_id)


explainer = Default()


def explain_request(
    explaining: ExplainingConfig, sae: str, feature: int, shown: Sequence[Shown], vocabulary: Vocabulary
) -> Request:
    """The request that explains a feature from the windows shown."""
    lines = example_lines(explaining, shown, vocabulary)
    messages = (
        Message("system", load_prompt(_SYSTEM).render()),
        Message("user", load_prompt(_USER).render(examples="\n".join(lines))),
    )
    return Request(
        purpose="explain",
        sae=sae,
        feature=feature,
        model=explaining.model,
        messages=messages,
        max_tokens=explaining.max_tokens,
        temperature=explaining.temperature,
        stop=("\n",) if explaining.one_line else (),
        reasoning_tokens=explaining.reasoning_tokens,
        reasoning_effort=explaining.reasoning_effort,
    )


def own_texts() -> list[str]:
    """What of a request's text is the prompt's own, without the windows."""
    return [text for path in (_SYSTEM, _USER) for text in load_prompt(path).own_texts]


def _to_ask(feature: Feature, tools: Tools) -> ToAsk:
    vocabulary = tools.vocabulary
    request = explain_request(
        tools.config.explaining, tools.batch.sae, feature.feature, feature.shown, vocabulary
    )
    # No two stand-ins are the same, as no two features' explanations are.
    stand_in = f"[EXPLANATION]: {STAND_IN}, number {feature.feature}"
    return ToAsk(request, lambda answer: _read(feature, answer, vocabulary).status == "ok", stand_in)


def _read(feature: Feature, answer: Answer, vocabulary: Vocabulary) -> Read:
    windows = (vocabulary.text(window.token_ids) for window in feature.shown)
    return read_explanation(answer, own_texts(), windows)
