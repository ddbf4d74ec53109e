"""Writes a window of tokens into a prompt, with its line ends and with some tokens marked.

Text from the corpus is untrusted. Its second and later lines begin with a space or are empty, so that it cannot
add a line that looks like another example, and its own << and >> are split by a space, so that it cannot open or
close a mark. Control tokens in it are split too (`< |im_end|>`): servers interpret them anywhere, so they would
end a turn or a thought. No two texts are written alike. A plain line end takes fewer tokens than an escaped one.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from pipeline.lake import Lake
from pipeline.llm.texts import THOUGHT

_SHOWN = frozenset("\u200c\u200d\u200e\u200f\u061c")
"""Joiners and direction marks: not printable by themselves, but part of Persian, Hindi and emoji spelling."""

_NOT_PLAIN = re.compile(r"[^ -~]")
_BACKSLASH = re.compile(r"\\(?=(.))", re.DOTALL)
_BEFORE_QUOTE = re.compile(r'(\\+)(?="|\Z)')


def _opening(between: str) -> re.Pattern[str]:
    """A pattern for the first character of a mark or control token that has `between` before its rest."""
    return re.compile(
        rf"<(?={between}(?:<|[|\uff5c]|\w+\|>|/s>|eos>|(?:start|end)_of_turn>|/?{THOUGHT}>))"
        rf"|\[(?={between}/?(?:INST|THINK|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
        rf"|◁(?={between}/?think▷)"
    )


_OPENING, _CLOSING = _opening(" *"), re.compile(r">(?= *>)")
_SAID_OPENING, _SAID_CLOSING = _opening(""), re.compile(r">(?=>)")
"""Control tokens are those of Qwen, Llama, Phi, DeepSeek, Gemma, Mistral, Kimi, and others spelled like them."""


class _Mark(NamedTuple):
    """A marked span of a window, in bytes, and the note to write before it closes."""

    start: int
    end: int
    note: str


class Vocabulary:
    """The bytes of every token, [n_tokens], as in the table `tokens`."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._bytes = token_bytes

    def text(self, token_ids: Iterable[int]) -> str:
        """The tokens' text, unescaped: for comparisons, not for prompts."""
        return self._joined(token_ids).decode("utf-8", "replace")

    def whole_text(self, token_ids: Iterable[int]) -> str:
        """The same without the bytes of characters that a window's edges cut: for models that read plain text.

        A window of nothing but such bytes has the text of `text`, as no model reads an empty one.
        """
        joined = self._joined(token_ids)
        return joined.decode("utf-8", "ignore") or joined.decode("utf-8", "replace")

    def _joined(self, token_ids: Iterable[int]) -> bytes:
        # Bytes are joined before they are decoded: one character may be spelled by several tokens.
        return b"".join(self._bytes[token_id] for token_id in token_ids)

    def render(
        self, token_ids: Sequence[int], marked: Collection[int] = (), notes: Sequence[str] | None = None
    ) -> str:
        """A window as text, with runs of marked positions between << and >>.

        A line end is followed by a space or another line end; inside a mark it is written as \\n. A mark covers
        whole characters, even if its token is only part of one. Bytes of a character cut off by the window's edge
        are written as \\udcXX.

        Args:
            token_ids: The window's tokens.
            marked: Positions to mark, from 0.
            notes: Text to write after each marked token, before its mark closes, [len(token_ids)]; mostly empty.
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
        """The texts inside the marks of `render`, from left to right, as written there."""
        tokens = [self._bytes[token_id] for token_id in token_ids]
        window = b"".join(tokens)
        return [_spelled(window[mark.start : mark.end]) for mark in _marks(tokens, window, marked, None)]

    def pieces(self, token_ids: Sequence[int]) -> Iterator[tuple[str, range]]:
        """A window token by token: the text as `render` writes it in a mark, and the positions.

        Tokens that together encode one character form one piece.
        """
        return ((_spelled(piece), positions) for piece, positions in self.characters(token_ids))

    def characters(self, token_ids: Sequence[int]) -> Iterator[tuple[bytes, range]]:
        """The same pieces as bytes."""
        tokens = [self._bytes[token_id] for token_id in token_ids]
        window = b"".join(tokens)
        first = start = end = 0
        for position, token in enumerate(tokens):
            end += len(token)
            if _whole_characters(window, start, end) == (start, end):
                yield window[start:end], range(first, position + 1)
                first, start = position + 1, end

    def listed(self, token_ids: Iterable[int]) -> str:
        """Tokens in quotes, separated by commas."""
        return quoted(_spelled(self._bytes[each]) for each in token_ids)


def _marks(
    tokens: Sequence[bytes], window: bytes, marked: Collection[int], notes: Sequence[str] | None
) -> Iterator[_Mark]:
    """The marks of a window from left to right; neighbouring tokens share one unless a note separates them."""
    ends = [0, *accumulate(map(len, tokens))]
    last: _Mark | None = None
    for position in sorted(marked):
        start, end = _whole_characters(window, ends[position], ends[position + 1])
        note = notes[position] if notes else ""
        if last and (start < last.end or (start == last.end and not last.note)):
            last = _Mark(last.start, end, last.note + note)
            continue
        if last:
            yield last
        last = _Mark(start, end, note)
    if last:
        yield last


def _whole_characters(window: bytes, start: int, end: int) -> tuple[int, int]:
    """Byte bounds moved outwards to character boundaries, past UTF-8 continuation bytes (10xxxxxx)."""
    while 0 < start < len(window) and window[start] & 0xC0 == 0x80:
        start -= 1
    while end < len(window) and window[end] & 0xC0 == 0x80:
        end += 1
    return start, end


def _marked(piece: bytes, note: str) -> str:
    return f"<{_spelled(piece, before='<', after=f'{note}>')}>"


def _apart(left: str, right: str) -> str:
    """The right piece, after a space if it and the left one would meet in a longer run of angle brackets."""
    touch = left[-1:] == right[:1] and right[:1] in {"<", ">"}
    return f" {right}" if touch else right


def _spelled(piece: bytes, kept: str = "", before: str = "", after: str = "") -> str:
    """Bytes of a window as text without marks or control tokens of their own; no two byte strings give the same.

    Line ends and control characters are escaped, except for the character `kept`. A backslash that would read as
    an escape is doubled. Two equal angle brackets, and the parts of a control token, are separated by an added
    space; `before` and `after` are included in this, so that the text forms no mark or control token with them.
    """
    text = piece.decode("utf-8", "surrogateescape")
    text = _BACKSLASH.sub(lambda found: "\\" * (1 + _reads_as_escape(found[1])), text)
    text = kept.join(map(visible, text.split(kept))) if kept else visible(text)
    return _OPENING.sub(r"\g<0> ", _CLOSING.sub("> ", f"{before}{text}{after}"))


def _reads_as_escape(after: str) -> bool:
    """Whether a backslash before this character would look like the start of an escape."""
    return after in "\\nrtxuU" or visible(after) != after


def visible(text: str) -> str:
    """A text on one line, with line ends and control characters escaped."""
    return _NOT_PLAIN.sub(_spelled_out, text)


def _spelled_out(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable() or character in _SHOWN:
        return character
    return character.encode("unicode_escape").decode()


def quoted(texts: Iterable[str]) -> str:
    """Texts, written as in a window, in quotes and separated by commas.

    A quote in a text is escaped. Backslashes before a quote or at the end are doubled, so that no text can close
    its quotes, or keep them open.
    """
    return ", ".join('"' + _BEFORE_QUOTE.sub(r"\1\1", text).replace('"', '\\"') + '"' for text in texts)


def numbered(texts: Iterable[str]) -> str:
    """Windows, one after another, each preceded by its number and a TAB, which no window contains."""
    return "\n".join(f"{number}\t{text}" for number, text in enumerate(texts, start=1))


def load_vocabulary(lake: Lake) -> Vocabulary:
    """The vocabulary of the lake's subject model."""
    rows = lake.query("vocabulary")
    return Vocabulary(rows["bytes"].to_list())


def one_line(text: str) -> str:
    """A model's text for use in a prompt, without line ends, marks or control tokens; idempotent.

    Backslashes are kept, as the model writes escapes the way they were shown to it.
    """
    return _SAID_OPENING.sub(r"\g<0> ", _SAID_CLOSING.sub("> ", visible(text)))
