"""What an oracle knows and how it errs: from a prompt's text to an answer's.

To an explainer's prompt it answers with the feature whose windows it was shown, to a question of yes or no with
what is true of each text. It judges by the best that it has: what it knows of the text, where the explanation
names a feature; else what the explanation's quoted words say (`judges.literal`); else by the texts' likeness
(`judges.alike`). What it answers to prompts of another form is in their plug-ins' folders
(`asking.oracle_answers`).
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
        text: Its text with its marks.
        is_shown: Whether the feature's explainer is shown it.
        label: Whether the feature fires in it, or just its marks are right.
    """

    feature: int
    text: str
    is_shown: bool
    label: bool


@dataclass(frozen=True)
class Truth:
    """What the oracle knows of an SAE's features.

    Attributes:
        labels: By (feature, text as a prompt shows it): the feature fires in it, or just its marks are right.
        shown: By plain text, a window's or that of promoted tokens, the features whose explainers are shown it.
        words: By feature, what the oracle calls it; holds `feature <number>`.
        written: By feature, on one line each, what the subject model writes when it is changed.
        strengths: By (feature, the texts of a window's tokens), the activation of each, from 0 to 10.
    """

    labels: Mapping[tuple[int, str], bool]
    shown: Mapping[str, frozenset[int]]
    words: Mapping[int, str]
    written: Mapping[int, frozenset[str]] = field(default_factory=dict)
    strengths: Mapping[tuple[int, tuple[str, ...]], Sequence[int]] = field(default_factory=dict)

    @cached_property
    def features_of(self) -> Mapping[str, frozenset[int]]:
        """By text with marks as a prompt shows it, the features for which the marks are right."""
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
    """The truth in some windows; where equal texts differ, the answer is no.

    `tokens` are each feature's top tokens, `promoted` lists of those that one promotes, as prompts show them;
    `written` are features with what the model writes when they are changed.
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
    """How often the oracle errs: of the texts whose answer is no, and of those whose answer is yes."""

    false_positive: float = 0.0
    false_negative: float = 0.0


@dataclass(frozen=True)
class Oracle:
    """Answers prompts, the same way each time.

    Attributes:
        truth: What it knows.
        rates: How often it errs, by the feature that an explanation names; None where it names none.
        omission_rate: The chance that it leaves a text of a prompt of several out.
        wrong_rate: The chance that it gives another feature's explanation.
    """

    truth: Truth
    rates: Callable[[int | None], Rates] = lambda feature: Rates()
    omission_rate: float = 0.0
    wrong_rate: float = 0.0

    def answer(self, prompt: str, draw: int = 0) -> str:
        """Its answer to a prompt, the text of the chat's last message, in a draw."""
        asked = read_question(prompt)
        if asked is None:
            is_wrong = chance(prompt, str(draw), "wrong") < self.wrong_rate
            return f"[EXPLANATION]: {self.explanation(shown_texts(prompt), is_wrong)}"
        judged = self.judge(asked.explanation, asked.texts)
        left_out = {
            place for place in range(len(judged)) if chance(prompt, str(place + 1), "failure") < self.omission_rate
        }
        return asked.answer(judged, left_out)

    def simulate(self, asked: Simulated) -> list[int]:
        """The activation of each token, 0 to 10: what it knows of the window, else what the words quote.

        Where it errs it says 5 of what is 0, and 0 of what is not.
        """
        named = _NAMED.search(asked.explanation)
        feature = int(named[1]) if named else None
        known = None if feature is None else self.truth.strengths.get((feature, tuple(asked.tokens)))
        if known is None:
            known = [10 * fits for fits in literal_tokens(asked.explanation, asked.tokens)]
        rates, text = self.rates(feature), "\n".join(asked.tokens)
        about = asked.explanation if feature is None else str(feature)
        said = []
        for place, value in enumerate(known):
            rate = rates.false_negative if value else rates.false_positive
            errs = chance(about, text, str(place), "error") < rate
            said.append((0 if value else 5) if errs else value)
        return said

    def explanation(self, texts: Iterable[str], is_wrong: bool = False) -> str:
        """What the feature is called for which most `plain` texts are shown; if wrong, what the next one is."""
        features = Counter(feature for text in texts for feature in sorted(self.truth.shown.get(text, ())))
        for feature, _ in features.most_common(1):
            others = [other for other in sorted(self.truth.words) if other != feature]
            if is_wrong and others:
                feature = next((other for other in others if other > feature), others[0])
            return self.truth.words.get(feature, f"feature {feature}")
        return "nothing that I know"

    def rated(self, explanation: str) -> tuple[int | None, Rates]:
        """The feature that an explanation names, and how often the oracle errs about it."""
        named = _NAMED.search(explanation)
        feature = int(named[1]) if named else None
        return feature, self.rates(feature)

    def judge(self, explanation: str, texts: Sequence[str]) -> list[bool]:
        """Whether each text fits an explanation, as far as it knows and where it does not err."""
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
    """A feature's explanation: its first tokens, on one line, as long as a sentence."""
    listed = ", ".join(json.dumps(token, ensure_ascii=True) for token in tokens[:5])
    return f"feature {feature}, which fires on tokens such as {listed} where the context calls for it"
