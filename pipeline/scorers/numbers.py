"""Whole numbers by number, such as grades: the schema of an answer, and its parser."""

import re
from typing import Any

from pipeline.scorers.values import keys_of, object_schema, parse_values

_WHOLE = re.compile(r"(\d+)(?:\.0+)?")


def numbers_schema(n: int, largest: int) -> dict[str, Any]:
    """The JSON schema of n integers from 0."""
    return object_schema({key: {"type": "integer", "enum": list(range(largest + 1))} for key in keys_of(n)})


def parse_numbers(text: str, n: int, largest: int) -> list[int] | None:
    """The n numbers in an answer (`parse_values`), each a whole one from 0 to `largest`; or None."""

    def read(value: str) -> int | None:
        found = _WHOLE.fullmatch(value)
        number = int(found[1]) if found else None
        return number if number is not None and number <= largest else None

    return parse_values(text, n, read)
