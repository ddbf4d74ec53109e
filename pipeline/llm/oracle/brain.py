"""What an oracle knows and how it errs: from a prompt's text to an answer's.

To an explainer's prompt it answers with the feature whose windows it was shown, to a scorer's with what is true of
each text; where a text is to be chosen that does not belong, with the one whose marks are not those of the others'
feature. It judges by the best that it has: what it knows of the text, where the explanation names a feature; else
what the explanation's quoted words say (`judges.literal`); else by the texts' likeness (`judges.alike`).
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from pipeline.llm.oracle.judges import alike, chance, is_literal, literal, literal_tokens, read_words
from pipeline.llm.oracle.prompts import Simulated, plain, read_odd, read_question, read_simulation, shown_texts
from pipeline.llm.oracle.writing import known_texts, read_choice, read_writing

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
        if simulated := read_simulation(prompt):
            values = self.simulate(simulated)
            return json.dumps({str(place + 1): value for place, value in enumerate(values)})
        if texts := read_odd(prompt):
            return str(self._odd_one(texts) + 1)
        if to_write := read_writing(prompt):
            feature, rates = self._rated(to_write.explanation)
            active, silent = (known_texts(self.truth.labels, feature, label) for label in (True, False))
            return to_write.answer(active, silent, rates)
        if to_choose := read_choice(prompt):
            feature, rates = self._rated(to_choose.explanation)
            about = self._told_by(to_choose.explanation) if feature is None else feature
            return to_choose.answer(self.truth.written.get(about, frozenset()), rates.false_negative)
        asked = read_question(prompt)
        if asked is None:
            is_wrong = chance(prompt, str(draw), "wrong") < self.wrong_rate
            return f"[EXPLANATION]: {self._explanation(shown_texts(prompt), is_wrong)}"
        said = self._judge(asked.explanation, asked.texts)
        left_out = {
            place
            for place in range(len(said))
            if chance(prompt, str(place + 1), "failure") < self.omission_rate
        }
        return asked.answer(said, left_out)

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

    def _odd_one(self, texts: Sequence[str]) -> int:
        """The place of the one text that is not the feature's of all others; without one, a place by hash.

        It errs, and says another place, as often as it misses what is true of a feature.
        """
        of_texts = [self.truth.features_of.get(text, frozenset()) for text in texts]
        features = Counter(feature for each in of_texts for feature in sorted(each))
        guess = int(chance(*texts, "choice") * len(texts))
        for feature, _ in features.most_common(1):
            odd = [place for place, each in enumerate(of_texts) if feature not in each]
            if len(odd) == 1:
                others = [place for place in range(len(texts)) if place != odd[0]]
                is_wrong = chance(*texts, "error") < self.rates(feature).false_negative
                return others[guess % len(others)] if is_wrong else odd[0]
        return guess

    def _explanation(self, windows: Iterable[str], is_wrong: bool) -> str:
        """What the feature is called for which most of the windows are shown; if wrong, what the next one is."""
        features = Counter(feature for text in windows for feature in sorted(self.truth.shown.get(text, ())))
        for feature, _ in features.most_common(1):
            others = [other for other in sorted(self.truth.words) if other != feature]
            if is_wrong and others:
                feature = next((other for other in others if other > feature), others[0])
            return self.truth.words.get(feature, f"feature {feature}")
        return "nothing that I know"

    def _rated(self, explanation: str) -> tuple[int | None, Rates]:
        """The feature that an explanation names, and how often the oracle errs about it."""
        named = _NAMED.search(explanation)
        feature = int(named[1]) if named else None
        return feature, self.rates(feature)

    def _told_by(self, explanation: str) -> int:
        """The feature whose tokens an explanation quotes most of; -1 where it quotes none of a known one's."""
        named, words = read_words(explanation).words, self.truth.words
        shared = {feature: len(named & read_words(words[feature]).words) for feature in words}
        best = max(shared, key=lambda feature: shared[feature], default=-1)
        return best if shared.get(best) else -1

    def _judge(self, explanation: str, texts: Sequence[str]) -> list[bool]:
        feature, rates = self._rated(explanation)
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
