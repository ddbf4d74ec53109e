"""An item of a source: a text, a chat, or ready-made tokens."""

import codecs
from collections.abc import Sequence
from typing import NamedTuple


class Turn(NamedTuple):
    """One turn of a chat."""

    role: str
    content: str


class Text(NamedTuple):
    """A text from a source; texts of one unit share a role.

    Attributes:
        source: The source's name.
        unit: Its unit.
        text: Its text; for a chat, that of its turns; empty if given as tokens.
        turns: The turns, if it is a chat.
        token_ids: Its tokens, if already tokenised.
        row: Its number in a cache, which the cache's firings refer to; else None.
    """

    source: str
    unit: str
    text: str
    turns: Sequence[Turn] = ()
    token_ids: Sequence[int] = ()
    row: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it has neither text nor tokens."""
        return not self.token_ids and not self.text.strip()


def decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 with a byte order mark, which is not part of the text. Raises UnicodeDecodeError."""
    is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf_16 else "utf-8-sig")
