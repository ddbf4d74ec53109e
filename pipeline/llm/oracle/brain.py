"""What an oracle knows and how it errs: from the text of a prompt to the text of its answer.

It answers an explainer's prompt with the feature whose windows are shown, and a yes/no question with the truth
about each text. It judges a text by the first of these that applies: what it knows of the text, if the explanation
names a feature; the explanation's quoted words (`judges.literal`); the similarity of the texts (`judges.alike`).
Its answers to prompts of other forms are in the folders of their plug-ins (`asking.oracle_answers`).
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from pipeline.llm.oracle.judges import alike, chance, is_literal, literal, literal_tokens
from pipeline.llm.oracle.prompts import Simulated, plain, read_question, shown_texts

_NAMED = re.compile(r"\bfeature (\d+)\b")


class Window(NamedTuple):
    """What is true of a window as prompts show it.

    Attributes:
        feature: The feature that is asked about.
        text: The window's text with its marks.
        is_shown: Whether it is shown to the feature's explainer.
        label: Whether the feature fires in it or, for some prompts, whether its marks are correct.
    """

    feature: int
    text: str
    is_shown: bool
    label: bool


@dataclass(frozen=True)
class Truth:
    """What the oracle knows of an SAE's features.

    Attributes:
        labels: `Window.label` by (feature, text as a prompt shows it).
        shown: The features whose explainers are shown a text, by plain text of a window or of promoted tokens.
        words: The oracle's explanation of each feature; it contains `feature <number>`.
        written: What the subject model writes when a feature is changed, by feature, each text on one line.
        strengths: The activation of each token, from 0 to 10, by (feature, texts of a window's tokens).
    """

    labels: Mapping[tuple[int, str], bool]
    shown: Mapping[str, frozenset[int]]
    words: Mapping[int, str]
    written: Mapping[int, frozenset[str]] = field(default_factory=dict)
    strengths: Mapping[tuple[int, tuple[str, ...]], Sequence[int]] = field(default_factory=dict)

    @cached_property
    def features_of(self) -> Mapping[str, frozenset[int]]:
        """The features for which the marks of a text are correct, by text as a prompt shows it."""
        found: dict[str, set[int]] = {}
        for (feature, text), label in self.labels.items():
            if label:
                found.setdefault(text, set()).add(feature)
        return {text: frozenset(features) for text, features in found.items()}


def truth_of(
    windows: Iterable[Window],
    tokens: Mapping[int, Sequence[str]],
    promoted: Iterable[tuple[int, str]] = (),
    written: Iterable[tuple[int, str]] = (),
    strengths: Mapping[tuple[int, tuple[str, ...]], Sequence[int]] | None = None,
) -> Truth:
    """The truth about some windows; where equal texts have different labels, the answer is no.

    `tokens` are each feature's top tokens. `promoted` pairs features with lists of the tokens that they promote,
    as prompts show them. `written` pairs features with what the model writes when they are changed.
    """
    labels: dict[tuple[int, str], bool] = {}
    shown: dict[str, set[int]] = {}
    for window in windows:
        key = (window.feature, window.text)
        labels[key] = labels.get(key, True) and window.label
        if window.is_shown:
            shown.setdefault(plain(window.text), set()).add(window.feature)
    for feature, listed in promoted:
        shown.setdefault(plain(listed), set()).add(feature)
    steered: dict[int, set[str]] = {}
    for feature, text in written:
        steered.setdefault(feature, set()).add(text)
    return Truth(
        written={feature: frozenset(texts) for feature, texts in steered.items()},
        labels=labels,
        shown={text: frozenset(features) for text, features in shown.items()},
        words={feature: _words(feature, texts) for feature, texts in tokens.items()},
        strengths=strengths or {},
    )


class Rates(NamedTuple):
    """How often the oracle errs: on texts whose answer is no, and on texts whose answer is yes."""

    false_positive: float = 0.0
    false_negative: float = 0.0


@dataclass(frozen=True)
class Oracle:
    """Answers prompts, deterministically.

    Attributes:
        truth: What it knows.
        rates: How often it errs, given the feature that an explanation names, or None if it names none.
        omission_rate: Probability of omitting a text from the answer to a prompt with several texts.
        wrong_rate: Probability of giving another feature's explanation.
    """

    truth: Truth
    rates: Callable[[int | None], Rates] = lambda feature: Rates()
    omission_rate: float = 0.0
    wrong_rate: float = 0.0

    def answer(self, prompt: str, draw: int = 0) -> str:
        """The answer to a prompt (the text of a chat's last message) in a draw."""
        asked = read_question(prompt)
        if asked is None:
            is_wrong = chance(prompt, str(draw), "wrong") < self.wrong_rate
            return f"[EXPLANATION]: {self.explanation(shown_texts(prompt), is_wrong)}"
        judged = self.judge(asked.explanation, asked.texts)
        left_out = {
            index for index in range(len(judged)) if chance(prompt, str(index + 1), "failure") < self.omission_rate
        }
        return asked.answer(judged, left_out)

    def simulate(self, asked: Simulated) -> list[int]:
        """The activation of each token, 0 to 10: as known for the window, else by the explanation's quoted words.

        An error turns 0 into 5, and any other value into 0.
        """
        feature, rates = self.rated(asked.explanation)
        known = None if feature is None else self.truth.strengths.get((feature, tuple(asked.tokens)))
        if known is None:
            known = [10 * fits for fits in literal_tokens(asked.explanation, asked.tokens)]
        about, text = asked.explanation if feature is None else str(feature), "\n".join(asked.tokens)
        said = []
        for index, value in enumerate(known):
            rate = rates.false_negative if value else rates.false_positive
            errs = chance(about, text, str(index), "error") < rate
            said.append((0 if value else 5) if errs else value)
        return said

    def explanation(self, texts: Iterable[str], is_wrong: bool = False) -> str:
        """The words for the feature that most of these `plain` texts are shown for; if wrong, for the next one."""
        features = Counter(feature for text in texts for feature in sorted(self.truth.shown.get(text, ())))
        for feature, _ in features.most_common(1):
            others = [other for other in sorted(self.truth.words) if other != feature]
            if is_wrong and others:
                feature = next((other for other in others if other > feature), others[0])
            return self.truth.words.get(feature, f"feature {feature}")
        return "nothing that I know"

    def rated(self, explanation: str) -> tuple[int | None, Rates]:
        """The feature that an explanation names, and the oracle's error rates for it."""
        named = _NAMED.search(explanation)
        feature = int(named[1]) if named else None
        return feature, self.rates(feature)

    def judge(self, explanation: str, texts: Sequence[str]) -> list[bool]:
        """Whether each text fits an explanation, according to what the oracle knows, errors included."""
        feature, rates = self.rated(explanation)
        by_words = [literal(explanation, text) for text in texts] if is_literal(explanation) else alike(texts)
        if feature is not None:
            known = [self.truth.labels.get((feature, text)) for text in texts]
            by_words = [other if label is None else label for label, other in zip(known, by_words, strict=True)]
        about = explanation if feature is None else str(feature)
        return [
            says != (chance(about, text, "error") < (rates.false_negative if says else rates.false_positive))
            for says, text in zip(by_words, texts, strict=True)
        ]


def _words(feature: int, tokens: Sequence[str]) -> str:
    """A feature's explanation: one line with its first tokens, about as long as a sentence."""
    listed = ", ".join(json.dumps(token, ensure_ascii=True) for token in tokens[:5])
    return f"feature {feature}, which fires on tokens such as {listed} where the context calls for it"
