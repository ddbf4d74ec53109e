"""Parses an answer with two lists of texts, in the forms in which models write them."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.llm.texts import final_text

_LINE = re.compile(r"^\s*(\d+)[.):]\s+(\S.*?)\s*$", re.MULTILINE)
_DECODER = json.JSONDecoder(strict=False)  # allows unescaped line ends in strings

_ACTIVE, _NEAR = ("active", "fires", "firing"), ("near_misses", "near_miss")


class Written(NamedTuple):
    """The texts of an answer: those in which the feature should fire, and near misses."""

    active: Sequence[str]
    near_misses: Sequence[str]


def read_written(text: str | None) -> Written | None:
    """The texts of a JSON object with a list (or an object by number) for each kind, else of two numbered lists.

    None if there is neither, or if several such objects differ.
    """
    final = final_text(text or "") or ""
    found = [written for value in _objects(final) if (written := _of_object(value)) is not None]
    if found:
        return found[0] if all(each == found[0] for each in found) else None
    return _numbered(final)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text."""
    start = 0
    while (start := text.find("{", start)) >= 0:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            start += 1
            continue
        start = end
        yield value


def _of_object(value: dict[str, Any]) -> Written | None:
    by_name = {
        re.sub(r"[\W_]+", "_", key.strip().lower()).removesuffix("_texts"): each for key, each in value.items()
    }
    active, near = (
        next((_texts(by_name[name]) for name in names if name in by_name), None) for names in (_ACTIVE, _NEAR)
    )
    return None if active is None or near is None else Written(active, near)


def _texts(value: Any) -> list[str] | None:
    """A list of texts, or an object of texts by number; None for anything else.

    JSON can contain half a surrogate pair, which UTF-8 cannot represent; it is replaced by a question mark.
    """
    values = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        return None
    return [each.encode(errors="replace").decode() for each in values]


def _numbered(text: str) -> Written | None:
    """Two lists of lines, each numbered from 1."""
    lists: list[list[str]] = []
    for number, line in _LINE.findall(text):
        if number == "1":
            lists.append([])
        if not lists or int(number) != len(lists[-1]) + 1:
            return None
        lists[-1].append(line)
    return Written(*lists) if len(lists) == 2 else None


def same_words(text: str) -> str:
    """A text without case, spacing and punctuation, to recognise repetitions."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()
