"""Removes the key from every text that a server sends: whole or in part, plain or encoded."""

import base64
import json
import re
import urllib.parse
from dataclasses import replace

from pipeline.llm.requests import Answer

_GRAM = 8
_STRIDE = 4
_LONGEST_ERROR = 300
_DUMMY = re.compile(r"[a-z _-]*")
"""Keys for servers that want none: `placeholder`, `not-needed`, `sk-no-key-required`."""


class Redaction:
    """Replaces occurrences of a key, or of parts of it, in a text by `***`.

    No 11 consecutive characters of the key remain: plain, in JSON, in a URL, in hexadecimal or in base64 (at any
    offset of the encoded text, such as `Bearer KEY`). A key of under 8 characters is not treated as a secret.

    What a model wrote is data: only the whole key is removed from it, and not even that if it is made of words.

    Args:
        key: The key; with None nothing is replaced.
    """

    def __init__(self, key: str | None) -> None:
        self._forms = _forms(key) if key and len(key) >= _GRAM else []
        self._whole = [] if key and _DUMMY.fullmatch(key) else self._forms
        self._grams = {
            form[start : start + _GRAM]: None
            for form in self._forms
            for start in [*range(0, len(form) - _GRAM, _STRIDE), len(form) - _GRAM]
        }

    def __call__(self, text: str) -> str:
        """The text without the key."""
        for gram in self._grams:
            while gram in text:
                start, end = self._around(text, text.index(gram), gram)
                text = f"{text[:start]}***{text[end:]}"
        return text

    def answer(self, answer: Answer) -> Answer:
        """An answer with the key removed from the server's words, and the whole key from the model's text."""
        if not self._grams:
            return answer
        return replace(
            answer,
            text=answer.text and self._without_whole(answer.text),
            resolved_model=answer.resolved_model and self(answer.resolved_model),
            finish_reason=answer.finish_reason and self(answer.finish_reason),
            error=answer.error and self(answer.error),
        )

    def _without_whole(self, text: str) -> str:
        """A text without the whole key, in any form."""
        for form in self._whole:
            text = text.replace(form, "***")
        return text

    def _around(self, text: str, start: int, gram: str) -> tuple[int, int]:
        """The longest stretch of text around a gram that occurs in one of the forms."""
        end = start + len(gram)
        for form in self._forms:
            low, high = start, start + len(gram)
            while low > 0 and text[low - 1 : high] in form:
                low -= 1
            while high < len(text) and text[low : high + 1] in form:
                high += 1
            if text[low:high] in form:
                start, end = min(start, low), max(end, high)
        return start, end


def _forms(key: str) -> list[str]:
    """The forms in which a text may contain the key."""
    raw = key.encode()
    forms = {key, json.dumps(key)[1:-1], urllib.parse.quote(key, safe=""), raw.hex(), raw.hex().upper()}
    for offset in range(3):
        # Base64 characters that share bits with the text before or after the key depend on it: they are left out.
        encoded = base64.b64encode(bytes(offset) + raw + bytes(2)).decode()
        core = encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        forms |= {core, core.replace("+", "-").replace("/", "_")}
    return [form for form in forms if len(form) >= _GRAM]


def short(text: str | None) -> str | None:
    """A text's first 300 characters, in one line. Unprintable ones, which could steer a terminal, are escaped."""
    if text is None:
        return None
    line = " ".join(text.split())[:_LONGEST_ERROR]
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
