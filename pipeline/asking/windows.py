"""How a window of tokens is written into a prompt: on one line, with some tokens marked.

Text from the corpus is untrusted: line ends are spelled out, so that it cannot add a line that looks like
another example, and its own << and >> are pulled apart, so that it cannot open or close a mark.
"""

import re
from collections.abc import Collection, Iterable, Sequence

from pipeline.lake import Lake

OPEN, CLOSE = "<<", ">>"


class Vocabulary:
    """The bytes of every token: [n_tokens] of them, as in the table `tokens`."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._bytes = token_bytes

    def text(self, token_ids: Iterable[int]) -> str:
        """The text that tokens spell, line ends and marks as they are: to compare with, not for a prompt."""
        # Bytes are joined before they are decoded: one character may be spelled by several tokens.
        return b"".join(self._bytes[token_id] for token_id in token_ids).decode("utf-8", "replace")

    def render(
        self, token_ids: Sequence[int], marked: Collection[int] = (), notes: Sequence[str] | None = None
    ) -> str:
        """A window as one line of text; runs of marked places stand between << and >>.

        Args:
            token_ids: The window's tokens.
            marked: Places to mark, from 0.
            notes: What to write after each token before its mark closes, [len(token_ids)]; mostly empty.
        """
        pieces: list[str] = []
        run: list[int] = []
        for place in range(len(token_ids)):
            if run and (place in marked) != (run[-1] in marked):
                pieces.append(self._piece(token_ids, run, run[-1] in marked))
                run = []
            run.append(place)
            if notes and notes[place]:
                pieces.append(self._piece(token_ids, run, place in marked, notes[place]))
                run = []
        if run:
            pieces.append(self._piece(token_ids, run, run[-1] in marked))
        return "".join(_apart(left, right) for left, right in zip(["", *pieces], pieces, strict=False))

    def _piece(self, token_ids: Sequence[int], run: Sequence[int], is_marked: bool, note: str = "") -> str:
        text = one_line(self.text(token_ids[place] for place in run))
        if not is_marked:
            return text
        before, after = " " * text.startswith("<"), " " * (text + note).endswith(">")
        return f"{OPEN}{before}{text}{note}{after}{CLOSE}"


def _apart(left: str, right: str) -> str:
    """The right piece, moved away from a left one with which it would make a mark of three."""
    touch = left[-1:] == right[:1] and right[:1] in {"<", ">"}
    return f" {right}" if touch else right


def load_vocabulary(lake: Lake) -> Vocabulary:
    """The vocabulary of the lake's subject model."""
    rows = lake.query("vocabulary")
    return Vocabulary(rows["bytes"].to_list())


def one_line(text: str) -> str:
    """Text without line ends or marks of its own."""
    spelled = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return re.sub(r"<(?=<)", "< ", re.sub(r">(?=>)", "> ", spelled))
