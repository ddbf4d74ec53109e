"""From texts to documents: read, tokenised, cut if long, and counted if left out."""

import hashlib
import logging
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import Config
from pipeline.errors import CorpusError
from pipeline.lake import Lake, Published, RowGroupWriter
from pipeline.make_table import make_table
from pipeline.models.load import load_tokenizer
from pipeline.models.tokenising import decode, tokenise
from pipeline.progress import progress
from pipeline.sources import corpus_texts
from pipeline.texts.text import Text

T = TypeVar("T")

_log = logging.getLogger(__name__)

_TEXTS_AT_ONCE = 64
_NAMED = 5
_BREAKS = ("\n\n", "\n", " ")
"""Where long texts are cut: at a blank line, else at a line end, else between words."""

READ_SCHEMA = pa.schema(
    [
        ("ordinal", pa.int64()),
        ("doc_id", pa.string()),
        ("source", pa.string()),
        ("unit", pa.string()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
    ]
)
"""The rows read, before `documents.sql` drops duplicates and numbers contexts."""


class Piece(NamedTuple):
    """A future document: a whole text, or a part of a long one."""

    source: str
    unit: str
    text: str
    token_ids: list[int]
    row: int | None = None

    @property
    def doc_id(self) -> str:
        """The hash of its text, so that duplicates are dropped; for a row of a cache, its number."""
        if self.row is not None:
            return f"{self.row:012d}"
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Read(NamedTuple):
    """Counts of what was read from the corpus, and of what was left out.

    Attributes:
        n_documents: Documents read, including those that were too short.
        n_tokens: Tokens of the documents that were long enough.
        n_short: Documents that were too short.
        n_empty: Texts without words.
        n_unreadable: Texts or files that could not be read.
        named: The first of these, described.
    """

    n_documents: int
    n_tokens: int
    n_short: int
    n_empty: int
    n_unreadable: int
    named: Sequence[str]

    def sentence(self) -> str | None:
        """A sentence about what was left out; None if nothing was."""
        more = "; …" if self.n_unreadable > len(self.named) else ""
        counts = [
            (self.n_unreadable, f"{self.n_unreadable:,} that cannot be read ({'; '.join(self.named)}{more})"),
            (self.n_empty, f"{self.n_empty:,} empty"),
            (self.n_short, f"{self.n_short:,} too short (corpus.min_document_tokens)"),
        ]
        words = ", ".join(word for count, word in counts if count)
        return f"texts left out of the corpus: {words}" if words else None


def write_documents(lake: Lake) -> Published:
    """Read the corpus into `documents`: cut, tokenised, duplicates dropped, roles and shards by hash.

    Texts are streamed to a temporary file; dropping, numbering and roles are one SQL select over it. Each
    generation has its own file; existing ones are not read again, unless all exist, in which case all are.
    Figures: documents read, too short, duplicate and kept, and their tokens; texts that are empty or unreadable.
    What was left out is logged.

    Raises:
        CorpusError: A source cannot be read, or the corpus is empty.
    """
    return [_write_generation(lake, generation) for generation in lake.missing_generations("documents")][-1]


def _write_generation(lake: Lake, generation: int) -> Published:
    earlier = earlier_documents(lake, generation)
    most = lake.config.corpus.max_tokens
    if most is not None:
        most -= sum(pc.sum(pq.read_table(path, columns=["n_tokens"])["n_tokens"]).as_py() or 0 for path in earlier)
    with lake.scratch("documents") as folder:
        path = folder / "read.parquet"
        read = read_documents(lake.config, path, most, generation)
        given: dict[str, Sequence[Path] | pa.Table] = {"read_documents": [path], "earlier_documents": earlier}
        published = make_table(lake, "documents", given=given, generation=generation)
    if left_out := read.sentence():
        _log.warning(left_out)
    counts = {
        "documents_read": read.n_documents,
        "unreadable": read.n_unreadable,
        "empty": read.n_empty,
        "too_short": read.n_short,
        "duplicates": read.n_documents - read.n_short - published.n_rows,
    }
    return replace(published, figures={**counts, **published.figures})


def earlier_documents(lake: Lake, generation: int) -> list[Path]:
    """The files of the documents of earlier generations; for the first, a file without rows."""
    paths = [lake.path("documents", generation=each) for each in range(generation)]
    return paths or [lake.ensure_schema_file("documents", generation=0)]


def read_documents(config: Config, path: Path, max_tokens: int | None, generation: int = 0) -> Read:
    """Read the first max_tokens tokens (None: all) of a generation into a Parquet file of READ_SCHEMA.

    Raises CorpusError if a source cannot be read, or the first generation is empty.
    """
    corpus = config.corpus
    texts = _Filled(config, generation)
    pieces = _pieces(texts, config)
    n_read = n_short = n_tokens = 0
    with RowGroupWriter(path, READ_SCHEMA) as writer, progress(None, "documents", "tokens") as bar:
        for batch in _batches(_first_tokens(pieces, max_tokens), _TEXTS_AT_ONCE):
            long_enough = [piece for piece in batch if len(piece.token_ids) >= corpus.min_document_tokens]
            writer.write(_rows(long_enough, first=n_read))
            n_read += len(batch)
            n_short += len(batch) - len(long_enough)
            n_new = sum(len(piece.token_ids) for piece in long_enough)
            n_tokens += n_new
            bar.update(n_new)
    if n_read == n_short and not generation:
        raise CorpusError(
            f"the corpus is empty: {n_read} documents read, none of {corpus.min_document_tokens} tokens or "
            "more (corpus.min_document_tokens)"
        )
    return Read(n_read, n_tokens, n_short, texts.n_empty, texts.n_unreadable, texts.named)


class _Filled:
    """The corpus's texts without empty and unreadable ones, which are counted."""

    def __init__(self, config: Config, generation: int) -> None:
        self._texts = corpus_texts(config, self.leave_out, generation)
        self._stops = config.corpus.unreadable == "stop"
        self.n_empty = self.n_unreadable = 0
        self.named: list[str] = []

    def __iter__(self) -> Iterator[Text]:
        for text in self._texts:
            if text.is_empty:
                self.n_empty += 1
            else:
                yield text

    def leave_out(self, error: CorpusError) -> None:
        """Count something unreadable. Raises the error if corpus.unreadable is `stop`."""
        if self._stops:
            raise error
        self.n_unreadable += 1
        if len(self.named) < _NAMED:
            self.named.append(str(error))


def _pieces(texts: _Filled, config: Config) -> Iterator[Piece]:
    """Tokenised texts; long ones in pieces."""
    tokenizer, most = load_tokenizer(config.subject), config.corpus.max_document_tokens
    for text, token_ids in tokenise(texts, config, texts.leave_out):
        if text.turns or text.token_ids:  # their words alone would not give their tokens
            for start in range(0, len(token_ids), most):
                part = token_ids[start : start + most]
                words = text.text if len(part) == len(token_ids) else decode(tokenizer, part)
                yield Piece(text.source, text.unit, words, part, text.row)
        else:
            yield from _cut(text, token_ids, tokenizer, most)


def _first_tokens(pieces: Iterable[Piece], max_tokens: int | None) -> Iterator[Piece]:
    """The first pieces with max_tokens tokens in total; all if it is None."""
    n_tokens = 0
    for piece in pieces if max_tokens is None or max_tokens > 0 else ():
        yield piece
        n_tokens += len(piece.token_ids)
        if max_tokens is not None and n_tokens >= max_tokens:
            return


def _cut(text: Text, token_ids: list[int], tokenizer: Any, max_tokens: int) -> Iterator[Piece]:
    """A text as pieces of at most max_tokens tokens, each cut at the last break that fits."""
    if len(token_ids) <= max_tokens:
        yield Piece(text.source, text.unit, text.text, token_ids)
        return
    offsets = tokenizer(text.text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    ends = [end for _, end in offsets]  # of each token, in characters; several tokens can spell one character
    parts, start = [], 0
    while start < len(text.text):
        first = bisect_right(ends, start)
        last = first + max_tokens  # the first token that does not fit
        end = len(text.text)
        if last < len(ends):
            while last > first + 1 and ends[last - 1] == ends[last]:
                last -= 1  # not in the middle of a character
            end = _last_break(text.text, start, ends[last - 1])
        parts.append(text.text[start:end])
        start = end
    filled = [part for part in parts if part.strip()]
    for part, part_ids in zip(filled, tokenizer(filled, add_special_tokens=False).input_ids, strict=True):
        piece = text._replace(text=part)
        if len(part) < len(text.text):
            # On its own, a part can have more tokens than within the whole text; then it is cut once more.
            yield from _cut(piece, part_ids, tokenizer, max_tokens)
        else:  # a character with more tokens than fit
            yield Piece(piece.source, piece.unit, piece.text, part_ids)


def _last_break(text: str, start: int, end: int) -> int:
    """Where to cut: after the last break in the second half of text[start:end], else at `end`."""
    for mark in _BREAKS:
        found = text.rfind(mark, (start + end) // 2, end)
        if found > start:
            return found + len(mark)
    return max(end, start + 1)


def _rows(pieces: list[Piece], first: int) -> pa.RecordBatch:
    columns = [
        range(first, first + len(pieces)),
        *([getattr(piece, name) for piece in pieces] for name in READ_SCHEMA.names[1:]),
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, READ_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=READ_SCHEMA)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
