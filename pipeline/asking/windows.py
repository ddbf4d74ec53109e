"""How a window of tokens is written into a prompt: with its line ends, some tokens marked.

Text from the corpus is untrusted: its further lines begin with a space or are empty, so that it cannot add a line
that looks like another example, and its own << and >> are pulled apart, so that it cannot open or close a mark.
Control tokens that it spells are pulled apart too (`< |im_end|>`): servers read them wherever they stand, so they
would close a turn or a thought. Two texts are never spelled alike. A line end as it is takes fewer tokens than one
that is spelled out.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from pipeline.lake import Lake
from pipeline.llm.texts import THOUGHT

OPEN, CLOSE = "<<", ">>"

_SHOWN = frozenset("\u200c\u200d\u200e\u200f\u061c")
"""Joiners and marks of direction: not printable by themselves, but how Persian, Hindi or emoji are spelled."""

_NOT_PLAIN = re.compile(r"[^ -~]")
_BACKSLASH = re.compile(r"\\(?=(.))", re.DOTALL)


def _opening(between: str) -> re.Pattern[str]:
    """The first character of a mark or of a control token, with this between it and the rest."""
    return re.compile(
        rf"<(?={between}(?:<|[|\uff5c]|/s>|eos>|(?:start|end)_of_turn>|/?{THOUGHT}>))"
        rf"|\[(?={between}/?(?:INST|THINK|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
        rf"|◁(?={between}/?think▷)"
    )


_OPENING, _CLOSING = _opening(" *"), re.compile(r">(?= *>)")
_SAID_OPENING, _SAID_CLOSING = _opening(""), re.compile(r">(?=>)")
"""Control tokens are those of Qwen, Llama, Phi, DeepSeek, Gemma, Mistral, Kimi, and others spelled like them."""


class _Mark(NamedTuple):
    """A marked stretch of a window, in bytes, and what to write before it closes."""

    start: int
    end: int
    note: str


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
        """A window as text; runs of marked places stand between << and >>.

        Behind a line end stands a space, or another one; in a mark it is spelled \\n. A mark reaches over whole
        characters, also where its token is a part of one. Bytes of a character that the window cuts off are
        spelled \\udcXX.

        Args:
            token_ids: The window's tokens.
            marked: Places to mark, from 0.
            notes: What to write after each marked token before its mark closes, [len(token_ids)]; mostly empty.
        """
        tokens = [self._bytes[token_id] for token_id in token_ids]
        window = b"".join(tokens)
        pieces: list[str] = []
        end = 0
        for mark in _marks(tokens, window, marked, notes):
            pieces.append(_spelled(window[end : mark.start], kept="\n"))
            pieces.append(_marked(window[mark.start : mark.end], mark.note))
            end = mark.end
        pieces.append(_spelled(window[end:], kept="\n"))
        filled = [piece for piece in pieces if piece]
        text = "".join(_apart(left, right) for left, right in zip(["", *filled], filled, strict=False))
        return re.sub(r"\n(?!\n)", "\n ", text)

    def marked_texts(self, token_ids: Sequence[int], marked: Collection[int]) -> list[str]:
        """What stands in the marks of `render`, from left to right, as it is spelled there."""
        tokens = [self._bytes[token_id] for token_id in token_ids]
        window = b"".join(tokens)
        return [_spelled(window[mark.start : mark.end]) for mark in _marks(tokens, window, marked, None)]

    def pieces(self, token_ids: Sequence[int]) -> Iterator[tuple[str, range]]:
        """A window token by token: each one's text as `render` spells it in a mark, and its places.

        Tokens that spell one character together are one piece.
        """
        return ((_spelled(piece), places) for piece, places in self.characters(token_ids))

    def characters(self, token_ids: Sequence[int]) -> Iterator[tuple[bytes, range]]:
        """The same pieces as the bytes that they are."""
        tokens = [self._bytes[token_id] for token_id in token_ids]
        window = b"".join(tokens)
        first = start = end = 0
        for place, token in enumerate(tokens):
            end += len(token)
            if _whole_characters(window, start, end) == (start, end):
                yield window[start:end], range(first, place + 1)
                first, start = place + 1, end

    def listed(self, token_ids: Iterable[int]) -> str:
        """Some tokens in quotes, one after another."""
        return quoted(_spelled(self._bytes[each]) for each in token_ids)


def _marks(
    tokens: Sequence[bytes], window: bytes, marked: Collection[int], notes: Sequence[str] | None
) -> Iterator[_Mark]:
    """The marks of a window from left to right: neighbouring tokens share one, unless a note stands between."""
    ends = [0, *accumulate(map(len, tokens))]
    last: _Mark | None = None
    for place in sorted(marked):
        start, end = _whole_characters(window, ends[place], ends[place + 1])
        note = notes[place] if notes else ""
        if last and (start < last.end or (start == last.end and not last.note)):
            last = _Mark(last.start, end, last.note + note)
            continue
        if last:
            yield last
        last = _Mark(start, end, note)
    if last:
        yield last


def _whole_characters(window: bytes, start: int, end: int) -> tuple[int, int]:
    """The bounds, in bytes, moved out to those of characters: before no byte that goes on with one (10xxxxxx)."""
    while 0 < start < len(window) and window[start] & 0xC0 == 0x80:
        start -= 1
    while end < len(window) and window[end] & 0xC0 == 0x80:
        end += 1
    return start, end


def _marked(piece: bytes, note: str) -> str:
    return f"<{_spelled(piece, before='<', after=f'{note}>')}>"


def _apart(left: str, right: str) -> str:
    """The right piece, moved away from a left one with which it would make a mark of three."""
    touch = left[-1:] == right[:1] and right[:1] in {"<", ">"}
    return f" {right}" if touch else right


def _spelled(piece: bytes, kept: str = "", before: str = "", after: str = "") -> str:
    """Whole characters of a window on one line but for those kept, without marks of their own; no other bytes so.

    What stands before and after them makes no mark or control token with them.

    A backslash that would read as an escape is doubled. A space more than was there stands between two angles, and
    in a control token.
    """
    text = piece.decode("utf-8", "surrogateescape")
    text = _BACKSLASH.sub(lambda found: "\\" * (1 + _reads_as_escape(found[1])), text)
    text = kept.join(map(visible, text.split(kept))) if kept else visible(text)
    return _OPENING.sub(r"\g<0> ", _CLOSING.sub("> ", f"{before}{text}{after}"))


def _reads_as_escape(after: str) -> bool:
    """Whether a backslash before this character would be taken for the beginning of an escape."""
    return after in "\\nrtxuU" or visible(after) != after


def visible(text: str) -> str:
    """A text on one line: line ends and control characters are spelled out."""
    return _NOT_PLAIN.sub(_spelled_out, text)


def _spelled_out(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable() or character in _SHOWN:
        return character
    return character.encode("unicode_escape").decode()


def quoted(texts: Iterable[str]) -> str:
    """Texts as a window spells them, in quotes, one after another; a quote in a text has a backslash before it."""
    return ", ".join('"' + text.replace('"', '\\"') + '"' for text in texts)


def numbered(texts: Iterable[str]) -> str:
    """Windows one after another, each behind its number and a TAB, which no window holds."""
    return "\n".join(f"{number}\t{text}" for number, text in enumerate(texts, start=1))


def load_vocabulary(lake: Lake) -> Vocabulary:
    """The vocabulary of the lake's subject model."""
    rows = lake.query("vocabulary")
    return Vocabulary(rows["bytes"].to_list())


def one_line(text: str) -> str:
    """What a model said as it stands in a prompt, without line ends, marks or control tokens; repeated, the same.

    Its backslashes stay: it writes escapes as it was shown them.
    """
    return _SAID_OPENING.sub(r"\g<0> ", _SAID_CLOSING.sub("> ", visible(text)))
