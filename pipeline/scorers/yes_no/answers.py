"""Parses a scorer's answer: one truth value per question, or nothing at all.

Asked for an object by number, models write it with text before it, in another order, over several lines, as a
list, or as numbered lines. All of these are accepted, in the final answer but not in the reasoning before it. An
answer of another length, or one that is ambiguous, is not guessed at.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.llm import Answer
from pipeline.llm.texts import final_text
from pipeline.scorers.numbers import json_pairs

_LIST = re.compile(r"\[[^\[\]]*\]")
_OBJECT = re.compile(r"\{[^{}]*\}")
_LINE = re.compile(r"^[^\w\n]*(?:Text +)?(\d+)[^\w\n]*(?:[.:)=-][^\w\n]+|\t)(\w+)[^\w\n]*$", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z]+")
_AROUND = frozenset({"json", "answer", "answers"})
"""Words next to which a list of one is an answer and not a footnote."""
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
    is_object = any(map(_object_values, _OBJECT.findall(final_text(text) or "")))
    by_number = answer.probabilities or {} if is_object else {}
    probabilities = [by_number.get(str(number)) for number in range(1, n + 1)]
    if threshold != HALF:
        values = [
            value if probability is None else probability >= threshold
            for value, probability in zip(values, probabilities, strict=True)
        ]
    return TruthValues(probabilities, values)


def parse_many(text: str, n: int) -> list[bool] | None:
    """The n truth values of an object with keys 1 to n, of a list, or else of lines with these numbers; or None.

    Several objects or lists of that length that differ are ambiguous: None. A list of one is an answer only if it
    is alone: in "as [1] shows" it is a footnote.
    """
    final = final_text(text) or ""
    if n == 1 and _LIST.search(final) and not any(map(_object_values, _OBJECT.findall(final))):
        words = {word.lower() for word in _WORD.findall(_LIST.sub(" ", final))}
        if words - _AROUND:
            return None
    return _many(final, n)


def _many(text: str, n: int) -> list[bool] | None:
    """As `parse_many`, of a final answer."""
    found = [_object_values(each) for each in _OBJECT.findall(text)]
    found += [_list_values(each) for each in _LIST.findall(text)]
    if all(values is None for values in found):
        found = [_numbered_values(_LINE.findall(text))]
    fitting = [values for values in found if values is not None and len(values) == n]
    if not fitting or any(values != fitting[0] for values in fitting):
        return None
    return fitting[0]


def parse_one(text: str) -> bool | None:
    """The truth value of an answer to one question: its first word, or an object or a list of one.

    None if another word or value in it contradicts that. A bare number does not count: in reply to a yes-or-no
    question it is more often the beginning of a list.
    """
    final = final_text(text) or ""
    words = [word.lower() for word in _WORD.findall(final)]
    values = {word in _YES for word in words if word in _YES | _NO}
    if many := _many(final, 1):  # "No, see [1]" contains a list of one, but means no
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


def _list_values(text: str) -> list[bool] | None:
    return _values([part.strip() for part in text[1:-1].strip().removesuffix(",").split(",")])


def _object_values(text: str) -> list[bool] | None:
    try:
        pairs = json_pairs(text)
    except (ValueError, RecursionError):
        return None
    return _numbered_values([(re.sub(r"\D", "", key), str(value)) for key, value in pairs])


def _numbered_values(pairs: Sequence[tuple[str, str]]) -> list[bool] | None:
    """The values ordered by their numbers; None unless the numbers are 1 to their count, each once."""
    by_number = dict(pairs)
    numbers = [str(number + 1) for number in range(len(pairs))]
    if len(by_number) < len(pairs) or by_number.keys() != set(numbers):
        return None
    return _values([by_number[number] for number in numbers])


def _values(parts: list[str]) -> list[bool] | None:
    truth = {"1": True, "0": False, **dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}
    values = [truth.get(part.strip("\"'").lower()) for part in parts]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) and known else None
