"""Parses a scorer's answer to yes-or-no questions: one truth value per question, or nothing at all."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.llm import Answer
from pipeline.llm.texts import final_text
from pipeline.scorers.values import has_object, parse_values, values_in

_WORD = re.compile(r"[A-Za-z]+")
_YES, _NO = frozenset({"yes", "true"}), frozenset({"no", "false"})


class TruthValues(NamedTuple):
    """A probability of yes and a truth value per question; single probabilities may be missing."""

    probabilities: list[float | None] | None
    values: list[bool] | None


HALF = 0.5
"""The threshold for yes, unless answers about controls have set another."""


def read_answer(answer: Answer, n: int, *, is_one: bool, threshold: float) -> TruthValues:
    """The probabilities and truth values in an answer to n questions.

    Args:
        answer: The answer.
        n: Number of questions in the prompt.
        is_one: Whether the prompt asked one question as a choice between Yes and No.
        threshold: The probability from which an answer counts as yes. With several questions, the written values
            count instead if the threshold is a half or the answer has no probability.
    """
    text = answer.text or ""
    if is_one:
        probability = probability_of_yes(answer.probabilities)
        value = probability >= threshold if probability is not None else parse_one(text)
        return TruthValues([probability], None if value is None else [value])
    values = parse_many(text, n)
    if values is None:
        return TruthValues(None, None)
    # Probabilities belong to the object that is the answer; beside a list, they are from a thought or a draft.
    is_object = has_object(final_text(text) or "", _truth)
    by_number = answer.probabilities or {} if is_object else {}
    probabilities = [by_number.get(str(number)) for number in range(1, n + 1)]
    if threshold != HALF:
        values = [
            value if probability is None else probability >= threshold
            for value, probability in zip(values, probabilities, strict=True)
        ]
    return TruthValues(probabilities, values)


def parse_many(text: str, n: int) -> list[bool] | None:
    """The n truth values in an answer (`parse_values`), or None."""
    return parse_values(text, n, _truth)


def parse_one(text: str) -> bool | None:
    """The truth value of an answer to one question: its first word, or an object or a list of one.

    None if another word or value in it contradicts that. A bare number does not count: in reply to a yes-or-no
    question it is more often the beginning of a list.
    """
    final = final_text(text) or ""
    words = [word.lower() for word in _WORD.findall(final)]
    values = {word in _YES for word in words if word in _YES | _NO}
    if many := values_in(final, 1, _truth):  # "No, see [1]" contains a list of one, but means no
        values.add(many[0])
    elif not words or words[0] not in _YES | _NO:
        return None
    return values.pop() if len(values) == 1 else None


def probability_of_yes(probabilities: Mapping[str, float] | None) -> float | None:
    """The scorer's probability of yes, relative to yes and no; None if the server gave none."""
    if not probabilities or not {"Yes", "No"} <= probabilities.keys():
        return None
    total = probabilities["Yes"] + probabilities["No"]
    return probabilities["Yes"] / total if total > 0 else None


def _truth(value: str) -> bool | None:
    """The truth value that a word or number stands for."""
    word = value.lower()
    if word in _YES | _NO or word in {"0", "1"}:
        return word in _YES or word == "1"
    return None
