"""Explainers that ask a model once about a feature: what they share, so that each is its prompts and settings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.asking.batches import ToAsk
from pipeline.asking.prompts import Prompt, load_prompt
from pipeline.asking.roles import RoleName
from pipeline.asking.tools import Tools
from pipeline.asking.windows import Vocabulary
from pipeline.config import ExplainingConfig
from pipeline.explainers.answers import Read, read_explanation
from pipeline.explainers.base import Explanation, Feature, Shown
from pipeline.explainers.examples import LABELS, example_lines, marked_list, silent_lines
from pipeline.llm import Answer, Message, Request
from pipeline.plugins import Declared, find_plugin

STAND_IN = (
    "words and phrases that introduce a comparison or a contrast, such as conjunctions and adverbs at the "
    "beginning of a clause"
)
"""An explanation of typical length, some 30 tokens (Juang et al. 2024)."""

_NOTES = Path(__file__).parent / "notes"


@dataclass(frozen=True)
class Prompted:
    """An explainer that is a prompt: a model is shown what its text has places for.

    The places of `system.txt` and `user.txt` are `examples` and `silent` (windows), `marked` (what is marked in
    examples), `promoted` and `suppressed` (tokens). A feature that lacks what a place is for is not asked about:
    its status is `no_input`.

    Attributes:
        name: Its name. Its prompts are in its folder, or in that of the explainer that its settings name
            (`prompts_of`).
        purpose: What its requests are for; its name, where left out.
        lines: How the activating windows are written.
        has_notes: Whether the prompt tells what the strengths of tokens and the promoted tokens are, where its
            settings show them.
        steps: What an answer may say before the explanation, by which the estimate counts.
        role: In which role it asks a language model.
    """

    name: str
    purpose: str = ""
    lines: Callable[[ExplainingConfig, Sequence[Shown], Vocabulary], list[str]] = example_lines
    has_notes: bool = True
    steps: str = ""
    role: RoleName | None = "explainer"

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """One explanation a feature that is not routed to a rule and has the windows to show, if it shows any."""
        return self.draws(features, tools)

    def draws(
        self, features: Sequence[Feature], tools: Tools, n_draws: int = 1, **changes: Any
    ) -> Iterator[Explanation]:
        """So many explanations a feature, each of a request of its own, feature by feature.

        `changes` are fields of the requests that differ from `request`.
        """
        places = self._prompt("user").places
        asked: list[tuple[Feature, int]] = []
        for feature in features:
            if feature.route == "rule" or ("examples" in places and not feature.shown):
                continue
            if all(_given(feature, place) for place in places):
                asked.extend((feature, draw) for draw in range(n_draws))
            else:
                yield Explanation(feature.feature, None, "no_input")
        to_ask = [self._to_ask(feature, draw, tools, changes) for feature, draw in asked]
        answers = tools.ask(to_ask)
        for (feature, draw), each in zip(asked, to_ask, strict=True):
            answer = answers[each.request.request_id]
            words, status = self._read(feature, answer, tools.vocabulary)
            example_ids = [window.example_id for window in self._windows(feature)]
            yield Explanation(feature.feature, words, status, example_ids, answer.request_id, draw)

    @property
    def shows_windows(self) -> bool:
        """Whether its prompt shows windows in which the feature fires."""
        return "examples" in self._prompt("user").places

    def request(self, explaining: ExplainingConfig, sae: str, feature: Feature, vocabulary: Vocabulary) -> Request:
        """The request that explains a feature; `explaining` is the section as this explainer sees it."""
        shows_logits = Declared.by(getattr(explaining, self.name, None)).show_logits
        system = [self._prompt("system").render()]
        if self.has_notes and explaining.show_activations:
            system.append(load_prompt(_NOTES / "activations.txt").render())
        if self.has_notes and shows_logits:
            system.append(load_prompt(_NOTES / "logits.txt").render())
        values = {
            "examples": lambda: "\n".join(self.lines(explaining, feature.shown, vocabulary)),
            "silent": lambda: "\n".join(silent_lines(feature.silent, vocabulary)),
            "marked": lambda: marked_list(explaining, feature.shown, vocabulary),
            "promoted": lambda: _listed(feature.promoted, vocabulary),
            "suppressed": lambda: _listed(feature.suppressed, vocabulary),
        }
        user = self._prompt("user")
        shown = {place: values[place]() for place in user.places}
        if shows_logits:
            promoted = load_prompt(_NOTES / "promoted.txt").render(promoted=values["promoted"]())
            shown["examples"] += f"\n\n{promoted}"
        return Request(
            purpose=self.purpose or self.name,
            sae=sae,
            feature=feature.feature,
            model=explaining.asked_model,
            messages=(Message("system", "\n".join(system)), Message("user", user.render(**shown))),
            max_tokens=explaining.max_tokens,
            temperature=explaining.temperature,
            stop=("\n",) if explaining.one_line else (),
            reasoning_tokens=explaining.reasoning_tokens,
            reasoning_effort=explaining.reasoning_effort,
        )

    def own_texts(self) -> list[str]:
        """What of a request's text is the prompt's own, without what it shows."""
        prompts = [self._prompt("system"), self._prompt("user")]
        if self.has_notes:
            prompts += map(load_prompt, sorted(_NOTES.glob("*.txt")))
        return [*(text for prompt in prompts for text in prompt.own_texts), *LABELS]

    def _prompt(self, name: str) -> Prompt:
        plugin = find_plugin("explainers", self.name)
        lender = Declared.by(plugin.settings).prompts_of
        folder = find_plugin("explainers", lender).path if lender else plugin.path
        return load_prompt(folder / f"{name}.txt")

    def _windows(self, feature: Feature) -> list[Shown]:
        """The windows that a feature's prompt shows."""
        return [
            window
            for place in ("examples", "silent")
            if place in self._prompt("user").places
            for window in _given(feature, place)
        ]

    def _to_ask(self, feature: Feature, draw: int, tools: Tools, changes: Mapping[str, Any]) -> ToAsk:
        vocabulary = tools.vocabulary
        explaining = tools.config.explaining.of(self.name)
        request = self.request(explaining, tools.batch.sae, feature, vocabulary)
        # What cannot be used is asked for again by the numbers that follow, which are no other draw's.
        request = replace(request, draw=draw * tools.role.max_draws, **changes)
        # No two stand-ins are the same, as no two features' explanations are.
        stand_in = f"{self.steps}[EXPLANATION]: {STAND_IN}, number {feature.feature}" + f" ({draw})" * (draw > 0)
        return ToAsk(request, lambda answer: self._read(feature, answer, vocabulary).status == "ok", stand_in)

    def _read(self, feature: Feature, answer: Answer, vocabulary: Vocabulary) -> Read:
        windows = (vocabulary.text(window.token_ids) for window in self._windows(feature))
        return read_explanation(answer, self.own_texts(), windows)


def _listed(token_ids: Sequence[int] | None, vocabulary: Vocabulary) -> str:
    return "not known for this feature" if token_ids is None else vocabulary.listed(token_ids)


def _given(feature: Feature, place: str) -> Any:
    """What a feature has for a place of a prompt; nothing, or None, where it lacks it."""
    return feature.shown if place in {"examples", "marked"} else getattr(feature, place)
