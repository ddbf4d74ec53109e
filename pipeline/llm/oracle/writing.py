"""How the oracle answers what is no question about windows: it writes texts, and chooses among continuations."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from pipeline.llm.oracle.judges import chance, read_words

_WRITE = re.compile(
    r"\AExplanation: (.*?)\n\nJSON object with (\d+) active texts and \2 near misses:\Z", re.DOTALL
)
_CHOOSE = re.compile(r"\AExplanation: (.*?)\n\n(Set 1\n.*)\n\nThe number of the set ", re.DOTALL)
_SET = re.compile(r"^Set \d+\n((?:(?:usual|changed): .*(?:\n|\Z))+)", re.MULTILINE)
_CHANGED = re.compile(r"^changed: (.*)$", re.MULTILINE)


class ToWrite(NamedTuple):
    """A prompt for so many texts that fit an explanation, and as many near misses."""

    explanation: str
    n: int

    def answer(self, active: Sequence[str], silent: Sequence[str], error_rates: tuple[float, float]) -> str:
        """The object with the texts: from those in which a feature is active and is not, as they are known.

        Where too few are known they are made up, of the words that the explanation quotes. Of the near misses the
        first, of the others the second of the rates is the share that is written as if it were of the other kind.
        """
        texts = []
        for is_active, rate in zip((True, False), reversed(error_rates), strict=True):
            for number in range(self.n):
                errs = chance(self.explanation, str(is_active), str(number), "error") < rate
                known = active if is_active != errs else silent
                # What stands in the wrong list comes from the other end, so that no text is written twice.
                texts.append(self._text(is_active != errs, number, is_active, known[::-1] if errs else known))
        return json.dumps({"active": texts[: self.n], "near_misses": texts[self.n :]})

    def _text(self, is_active: bool, number: int, is_first: bool, known: Sequence[str]) -> str:
        """The text at a place of the first or the second list, among those known of its kind or made up."""
        name = f"{'A' if is_first else 'N'}{number}:"
        if number < len(known):
            return f"{name} {known[number]}"
        said = read_words(self.explanation)
        quoted = [*sorted(said.before)[:1], *sorted(said.words)[:1]] if is_active else []
        return " ".join([name, *quoted, "and so on"])


class ToChoose(NamedTuple):
    """A prompt that asks which set an explanation is of: the changed continuations of each."""

    explanation: str
    sets: Sequence[Sequence[str]]

    def answer(self, known: Collection[str], error_rate: float) -> str:
        """The number of the first set whose continuations are all known to be the feature's; else one by hash."""
        fits = [place for place, texts in enumerate(self.sets) if known and set(texts) <= set(known)]
        numbers = [*range(len(self.sets))]
        about = (self.explanation, *(text for texts in self.sets for text in texts))
        chosen = fits[0] if fits else _drawn(numbers, *about)
        if chance(*about, "error") < error_rate:
            chosen = _drawn([number for number in numbers if number != chosen], *about)
        return str(chosen + 1)


def read_writing(prompt: str) -> ToWrite | None:
    """What a prompt wants written; None if it is another."""
    found = _WRITE.match(prompt)
    return ToWrite(found[1], int(found[2])) if found else None


def read_choice(prompt: str) -> ToChoose | None:
    """What a prompt shows to choose from; None if it is another."""
    found = _CHOOSE.match(prompt)
    return ToChoose(found[1], [_CHANGED.findall(texts) for texts in _SET.findall(found[2])]) if found else None


def known_texts(labels: Mapping[tuple[int, str], bool], feature: int | None, label: bool) -> list[str]:
    """The plain windows of a feature in which it fires, or does not."""
    return [
        text
        for (own, text), is_active in labels.items()
        if own == feature and is_active == label and "<<" not in text
    ]


def _drawn(numbers: Sequence[int], *about: str) -> int:
    return numbers[int(chance(*about, "choice") * len(numbers))]
