"""Whole numbers by number: the schema of a JSON object of them, and the parser of an answer that should be one."""

import json
import re
from functools import cache
from typing import Any

from pipeline.llm.texts import final_text

TOKENS_A_NUMBER = 10
"""Longest answer to one of several: its number in quotes, a number or truth value, spaces or a line of its own."""
TOKENS_AROUND = 64
"""And what may stand around the whole answer."""
_LAST_COMMA = re.compile(r",\s*\}$")
_BARE_KEY = re.compile(r"([{,]\s*)(\d+)(?=\s*:)")
_BARE_WORD = re.compile(r"(:\s*)([A-Za-z]+)(?=\s*[,}])")


@cache
def keys_of(n: int) -> tuple[str, ...]:
    """The keys of n answers: 1 to n."""
    return tuple(str(number) for number in range(1, n + 1))


def numbers_schema(n: int, largest: int) -> dict[str, Any]:
    """The JSON schema of n numbers from 0; strict mode wants every key required and no other allowed."""
    return {
        "type": "object",
        "properties": {key: {"type": "integer", "enum": list(range(largest + 1))} for key in keys_of(n)},
        "required": list(keys_of(n)),
        "additionalProperties": False,
    }


def json_pairs(text: str) -> Any:
    """The keys and values of a JSON object in their order, a key that stands there twice both times.

    JSON is read as it is. Else, as some models write it, a comma may stand behind the last, numbers without
    quotes as keys, and words as values (`{1: True, 2: No,}`), which are texts then: which answers there are, and
    what they say, is as clear. Raises ValueError or RecursionError for what is no such object.
    """
    try:
        return json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError:
        quoted = _BARE_WORD.sub(r'\1"\2"', _BARE_KEY.sub(r'\1"\2"', _LAST_COMMA.sub("}", text)))
        return json.loads(quoted, object_pairs_hook=list)


def parse_numbers(text: str, n: int, largest: int) -> list[int] | None:
    """The numbers of the one object in a text that has the keys 1 to n, each once; None without it.

    A number in quotes is read; one that is not whole, or not from 0 to the largest, makes the answer useless.
    """
    said = final_text(text) or ""
    start, end = said.find("{"), said.rfind("}")
    try:
        pairs = json_pairs(said[start : end + 1]) if start >= 0 else []
        by_key = {str(key): _whole(value) for key, value in pairs}
    except (ValueError, TypeError, RecursionError):
        return None
    if len(by_key) < len(pairs) or by_key.keys() != set(keys_of(n)):
        return None
    numbers = [by_key[key] for key in keys_of(n)]
    known = [number for number in numbers if number is not None and 0 <= number <= largest]
    return known if len(known) == n else None


def _whole(value: Any) -> int | None:
    """A value as a whole number; None if it is none. Raises ValueError for a text that is no number."""
    number = float(value) if isinstance(value, str) else value
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return int(number) if is_number and number % 1 == 0 else None
