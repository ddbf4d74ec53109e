"""Answers to several questions by number: their schema and parser (one value per question, or nothing at all).

Asked for an object by number, models write it with text before it, in another order, over several lines, as a
list, or as numbered lines. All of these are accepted, in the final answer but not in the reasoning before it. An
answer of another length, or one that is ambiguous, is not guessed at.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from pipeline.llm.texts import final_text

Value = TypeVar("Value", bool, int)
Read = Callable[[str], Value | None]
"""From the text of a value, without quotes, to the value; None if it is none."""

_LAST_COMMA = re.compile(r",\s*\}$")
_BARE_KEY = re.compile(r"([{,]\s*)('?)([\w ]*\d)\2(?=\s*:)")
_BARE_VALUE = re.compile(r"(:\s*)('?)(\w+)\2(?=\s*[,}])")
_LIST = re.compile(r"\[[^\[\]]*\]")
_OBJECT = re.compile(r"\{[^{}]*\}")
_LINE = re.compile(r"^[^\w\n]*(?:Text +)?(\d+)[^\w\n]*(?:[.:)=-][^\w\n]+|\t)(\w+)[^\w\n]*$", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z]+")
_AROUND = frozenset({"json", "answer", "answers"})
"""Words next to which a list of one is an answer and not a footnote."""


@cache
def keys_of(n: int) -> tuple[str, ...]:
    """The keys of n answers: `1` to `n`."""
    return tuple(str(number) for number in range(1, n + 1))


def object_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object; strict mode needs every key required and no others allowed."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def parse_values(text: str, n: int, read: Read[Value]) -> list[Value] | None:
    """The n values of an object with keys 1 to n, of a list, or else of lines with these numbers; or None.

    Several objects or lists of that length that differ are ambiguous: None. A list of one is an answer only if it
    is alone: in "as [1] shows" it is a footnote.
    """
    final = final_text(text) or ""
    if n == 1 and _LIST.search(final) and not has_object(final, read):
        words = {word.lower() for word in _WORD.findall(_LIST.sub(" ", final))}
        if words - _AROUND:
            return None
    return values_in(final, n, read)


def values_in(final: str, n: int, read: Read[Value]) -> list[Value] | None:
    """As `parse_values`, of a final answer, in which a list of one is never a footnote."""
    found = [_object_values(each, read) for each in _OBJECT.findall(final)]
    found += [_list_values(each, read) for each in _LIST.findall(final)]
    if all(values is None for values in found):
        found = [_numbered_values(_LINE.findall(final), read)]
    fitting = [values for values in found if values is not None and len(values) == n]
    if not fitting or any(values != fitting[0] for values in fitting):
        return None
    return fitting[0]


def has_object(final: str, read: Read[Value]) -> bool:
    """Whether a final answer contains an object of values by number."""
    return any(_object_values(each, read) for each in _OBJECT.findall(final))


def json_pairs(text: str) -> Any:
    """The keys and values of a JSON object in order, including repeated keys.

    Valid JSON is read as such. Otherwise a trailing comma, and keys and values without quotes or in single ones,
    are accepted, as some models write them (`{1: True, 2: No,}`, `{'1': True}`); they become strings. This leaves
    no doubt about the answers. Raises ValueError or RecursionError for anything else.
    """
    try:
        return json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError:
        quoted = _BARE_VALUE.sub(r'\1"\3"', _BARE_KEY.sub(r'\1"\3"', _LAST_COMMA.sub("}", text)))
        return json.loads(quoted, object_pairs_hook=list)


def _object_values(text: str, read: Read[Value]) -> list[Value] | None:
    try:
        pairs = json_pairs(text)
    except (ValueError, RecursionError):
        return None
    return _numbered_values([(re.sub(r"\D", "", key), str(value)) for key, value in pairs], read)


def _numbered_values(pairs: Sequence[tuple[str, str]], read: Read[Value]) -> list[Value] | None:
    """The values ordered by their numbers; None unless the numbers are 1 to their count, each once."""
    by_number = dict(pairs)
    numbers = keys_of(len(pairs))
    if len(by_number) < len(pairs) or by_number.keys() != set(numbers):
        return None
    return _values([by_number[number] for number in numbers], read)


def _list_values(text: str, read: Read[Value]) -> list[Value] | None:
    return _values([part.strip() for part in text[1:-1].strip().removesuffix(",").split(",")], read)


def _values(parts: Sequence[str], read: Read[Value]) -> list[Value] | None:
    known = [value for part in parts if (value := read(part.strip("\"'"))) is not None]
    return known if len(known) == len(parts) and known else None
