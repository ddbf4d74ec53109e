"""The base of explainers that ask a model once per feature; each adds only its prompts and settings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.asking.batches import ToAsk
from pipeline.asking.prompts import Prompt, load_prompt
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Tools
from pipeline.asking.windows import Vocabulary
from pipeline.config import Config, ExplainingConfig
from pipeline.explainers.answers import ReadExplanation, read_explanation
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


_FIELDS = ("examples", "silent", "marked", "promoted", "suppressed")
"""The fields that a prompt can have."""


@dataclass(frozen=True)
class Prompted:
    """An explainer defined by its prompt: a model is shown what the prompt has fields for.

    The fields of `user.txt` are `examples` and `silent` (windows), `marked` (the tokens marked in examples),
    `promoted` and `suppressed` (tokens). A feature that lacks the content of a field is not asked about, and its
    status is `no_input`.

    Attributes:
        name: Its name. Its prompts are in its folder, or in that of the explainer named in its settings
            (`prompts_of`).
        purpose: The requests' purpose; by default its name.
        lines: Writes the activating windows.
        has_marks: Whether tokens are marked in them, with their activations if `show_activations` is set; the
            system prompt then explains these numbers.
        steps: Text that an answer may contain before the explanation, for the estimate.
        role: The role in which it asks a language model.
    """

    name: str
    purpose: str = ""
    lines: Callable[..., list[str]] = example_lines
    has_marks: bool = True
    steps: str = ""
    role: RoleKind | None = "explainer"

    def check(self, config: Config) -> None:
        """Check the files and the fields of its prompt. Raises ConfigError."""
        self._prompt("system").check_fields(known=())
        needed = ["examples"] if self._shows_logits(config.explaining) else []
        self._prompt("user").check_fields(known=_FIELDS, needed=needed)

    def explain(self, features: Sequence[Feature], tools: Tools) -> Iterator[Explanation]:
        """One explanation per feature that is not routed to a rule and has windows, if the prompt shows any."""
        return self.draws(features, tools)

    def draws(
        self, features: Sequence[Feature], tools: Tools, n_draws: int = 1, **changes: Any
    ) -> Iterator[Explanation]:
        """`n_draws` explanations per feature, each from its own request, feature by feature.

        `changes` are request fields that differ from `request`.
        """
        fields = self._prompt("user").fields
        asked: list[tuple[Feature, int]] = []
        for feature in features:
            if feature.route == "rule" or ("examples" in fields and not feature.shown):
                continue
            if all(_given(feature, name) for name in fields):
                asked.extend((feature, draw) for draw in range(n_draws))
            else:
                yield Explanation(feature.feature, None, "no_input")
        to_ask = [self._to_ask(feature, draw, tools, changes) for feature, draw in asked]
        answers = tools.ask(to_ask)
        for (feature, draw), each in zip(asked, to_ask, strict=True):
            answer = answers[each.request.request_id]
            words, status = self._read(feature, answer, tools)
            example_ids = [window.example_id for window in self._windows(feature)]
            yield Explanation(feature.feature, words, status, example_ids, answer.request_id, draw)

    def shown_fields(self, explaining: ExplainingConfig) -> frozenset[str]:
        """What its prompt shows: the fields of `user.txt`, and `promoted` if its settings add these tokens."""
        return self._prompt("user").fields | ({"promoted"} if self._shows_logits(explaining) else set())

    def request(self, explaining: ExplainingConfig, sae: str, feature: Feature, vocabulary: Vocabulary) -> Request:
        """The request that explains a feature; `explaining` is the section with this explainer's own settings."""
        shows_logits = self._shows_logits(explaining)
        system = [self._prompt("system"), *self.notes_on_marks(explaining)]
        if shows_logits:
            system.append(load_prompt(_NOTES / "logits.txt"))
        values = {
            "examples": lambda: "\n".join(self.lines(explaining, feature.shown, vocabulary)),
            "silent": lambda: "\n".join(silent_lines(feature.silent, vocabulary)),
            "marked": lambda: marked_list(explaining, feature.shown, vocabulary),
            "promoted": lambda: _listed(feature.promoted, vocabulary),
            "suppressed": lambda: _listed(feature.suppressed, vocabulary),
        }
        user = self._prompt("user")
        shown = {name: values[name]() for name in user.fields}
        if shows_logits:
            promoted = load_prompt(_NOTES / "promoted.txt").render(promoted=values["promoted"]())
            shown["examples"] += f"\n\n{promoted}"
        return Request(
            purpose=self.purpose or self.name,
            sae=sae,
            feature=feature.feature,
            model=explaining.asked_model,
            messages=(
                Message("system", "\n".join(prompt.render() for prompt in system)),
                Message("user", user.render(**shown)),
            ),
            max_tokens=explaining.max_tokens,
            temperature=explaining.temperature,
            stop=("\n",) if explaining.one_line else (),
            reasoning_tokens=explaining.reasoning_tokens,
            reasoning_effort=explaining.reasoning_effort,
        )

    def notes_on_marks(self, explaining: ExplainingConfig) -> list[Prompt]:
        """The parts of the system prompt that explain the numbers in `lines`, if there are any."""
        shows_strengths = self.has_marks and explaining.show_activations
        return [load_prompt(_NOTES / "activations.txt")] if shows_strengths else []

    def own_texts(self, explaining: ExplainingConfig | None = None) -> list[str]:
        """The fixed parts of the prompt, without the examples; includes the notes that the settings enable."""
        prompts = [self._prompt("system"), self._prompt("user")]
        if explaining is not None:
            prompts += self.notes_on_marks(explaining)
            if self._shows_logits(explaining):
                prompts += [load_prompt(_NOTES / f"{name}.txt") for name in ("logits", "promoted")]
        return [*(text for prompt in prompts for text in prompt.own_texts), *LABELS]

    def _shows_logits(self, explaining: ExplainingConfig) -> bool:
        return Declared.by(getattr(explaining, self.name, None)).show_logits

    def _prompt(self, name: str) -> Prompt:
        plugin = find_plugin("explainers", self.name)
        prompts_of = Declared.by(plugin.settings).prompts_of
        folder = find_plugin("explainers", prompts_of).path if prompts_of else plugin.path
        return load_prompt(folder / f"{name}.txt")

    def _windows(self, feature: Feature) -> list[Shown]:
        """The windows that a feature's prompt shows."""
        return [
            window
            for name in ("examples", "silent")
            if name in self._prompt("user").fields
            for window in _given(feature, name)
        ]

    def _to_ask(self, feature: Feature, draw: int, tools: Tools, changes: Mapping[str, Any]) -> ToAsk:
        explaining = tools.config.explaining.seen_by(self.name)
        request = self.request(explaining, tools.batch.sae, feature, tools.vocabulary)
        # Retries use the draw numbers that follow, so each draw gets its own range.
        request = replace(request, draw=draw * tools.role.max_draws, **changes)
        # Stand-ins differ, as the explanations of different features do.
        stand_in = f"{self.steps}[EXPLANATION]: {STAND_IN}, number {feature.feature}" + f" ({draw})" * (draw > 0)
        return ToAsk(request, lambda answer: self._read(feature, answer, tools).status == "ok", stand_in)

    def _read(self, feature: Feature, answer: Answer, tools: Tools) -> ReadExplanation:
        windows = (tools.vocabulary.text(window.token_ids) for window in self._windows(feature))
        return read_explanation(answer, self.own_texts(tools.config.explaining.seen_by(self.name)), windows)


def _listed(token_ids: Sequence[int] | None, vocabulary: Vocabulary) -> str:
    return "not known for this feature" if token_ids is None else vocabulary.listed(token_ids)


def _given(feature: Feature, name: str) -> Any:
    """The content of a prompt's field for a feature; empty or None if the feature lacks it."""
    return feature.shown if name in {"examples", "marked"} else getattr(feature, name)
