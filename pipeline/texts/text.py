"""What a source gives: a text, a chat, or tokens that were made elsewhere."""

from collections.abc import Sequence
from typing import NamedTuple


class Turn(NamedTuple):
    """One turn of a chat."""

    role: str
    content: str


class Text(NamedTuple):
    """A text as a source gives it; texts of one unit share a role.

    Attributes:
        source: What the source is called.
        unit: The unit that it is of.
        text: Its words; of a chat what its turns say; nothing where it comes as tokens.
        turns: The turns, if it is a chat.
        token_ids: Its tokens, if it comes tokenised.
        row: Its number in a cache, whose firings refer to it by that; None elsewhere.
    """

    source: str
    unit: str
    text: str
    turns: Sequence[Turn] = ()
    token_ids: Sequence[int] = ()
    row: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it has neither words nor tokens."""
        return not self.token_ids and not self.text.strip()
