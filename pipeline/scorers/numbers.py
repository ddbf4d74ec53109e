"""JSON objects of integers by number: their schema, and the parser of answers that should be one."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from pipeline.llm.texts import final_text

_LAST_COMMA = re.compile(r",\s*\}$")
_BARE_KEY = re.compile(r"([{,]\s*)('?)([\w ]*\d)\2(?=\s*:)")
_BARE_VALUE = re.compile(r"(:\s*)('?)(\w+)\2(?=\s*[,}])")


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


def numbers_schema(n: int, largest: int) -> dict[str, Any]:
    """The JSON schema of n integers from 0."""
    return object_schema({key: {"type": "integer", "enum": list(range(largest + 1))} for key in keys_of(n)})


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


def parse_numbers(text: str, n: int, largest: int) -> list[int] | None:
    """The numbers in a text's one JSON object with keys 1 to n, each once; None if there is no such object.

    Numbers in quotes are accepted. A number that is not an integer from 0 to `largest` makes the result None.
    """
    final = final_text(text) or ""
    start, end = final.find("{"), final.rfind("}")
    try:
        pairs = json_pairs(final[start : end + 1]) if start >= 0 else []
        by_key = {str(key): _whole(value) for key, value in pairs}
    except (ValueError, TypeError, RecursionError):
        return None
    if len(by_key) < len(pairs) or by_key.keys() != set(keys_of(n)):
        return None
    numbers = [by_key[key] for key in keys_of(n)]
    known = [number for number in numbers if number is not None and 0 <= number <= largest]
    return known if len(known) == n else None


def _whole(value: Any) -> int | None:
    """A value as an integer; None if it is not one. Raises ValueError for a string that is not a number."""
    number = float(value) if isinstance(value, str) else value
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return int(number) if is_number and number % 1 == 0 else None
