"""What a scorer's answer says: one truth value a question, or nothing at all.

Models write lists over several lines, with text before them, as objects, or with true and false. That is
read; an answer of another length, or one that could be read in two ways, is not guessed at.
"""

import json
import re
from collections.abc import Mapping

_LIST = re.compile(r"\[[^\[\]]*\]")
_OBJECT = re.compile(r"\{[^{}]*\}")
_WORD = re.compile(r"[A-Za-z]+")
_YES, _NO = frozenset({"yes", "true"}), frozenset({"no", "false"})


def parse_many(text: str, n: int) -> list[bool] | None:
    """The n truth values of a list or an object with keys 1 to n; None if that is not what stands there.

    If several lists stand there and differ, it is ambiguous and None.
    """
    found = [values for values in map(_list_values, _LIST.findall(text)) if values is not None]
    if not found:
        found = [values for values in map(_object_values, _OBJECT.findall(text)) if values is not None]
    fitting = [values for values in found if len(values) == n]
    if not fitting or any(values != fitting[0] for values in fitting):
        return None
    return fitting[0]


def parse_one(text: str) -> bool | None:
    """The truth value of an answer to one question: its first word, if no later word contradicts it."""
    many = parse_many(text, 1)
    if many is not None:
        return many[0]
    if text.strip() in {"0", "1"}:
        return text.strip() == "1"
    words = [word.lower() for word in _WORD.findall(text)]
    if not words or words[0] not in _YES | _NO:
        return None
    says = {word in _YES for word in words if word in _YES | _NO}
    return says.pop() if len(says) == 1 else None


def probability_of_yes(probabilities: Mapping[str, float] | None) -> float | None:
    """The scorer's probability of yes; None where its server gave none."""
    if not probabilities or not {"Yes", "No"} <= probabilities.keys():
        return None
    total = probabilities["Yes"] + probabilities["No"]
    return probabilities["Yes"] / total if total > 0 else None


def _list_values(text: str) -> list[bool] | None:
    return _values([part.strip() for part in text[1:-1].strip().rstrip(",").split(",")])


def _object_values(text: str) -> list[bool] | None:
    """The values of {"1": 1, "2": 0, …} in the order of the keys, which must be 1 to n."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return None
    keys = [re.sub(r"\D", "", key) for key in parsed]
    if sorted(keys, key=lambda key: int(key or 0)) != [str(number + 1) for number in range(len(keys))]:
        return None
    by_number = dict(zip(keys, parsed.values(), strict=True))
    return _values([str(by_number[str(number + 1)]) for number in range(len(keys))])


def _values(parts: list[str]) -> list[bool] | None:
    truth = {"1": True, "0": False, **dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}
    values = [truth.get(part.strip("\"'").lower()) for part in parts]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) and known else None
