"""Streaming texts from every kind of source; memory does not grow with the corpus.

What cannot be read (a damaged file, a line that is not JSON, bytes that are not UTF-8) is yielded as a CorpusError
among the texts, so that a reader can continue with the next.
"""

import codecs
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import DelphiRows, FileTexts, HubTexts, PythonTexts, TextSource
from pipeline.errors import CorpusError, nearest
from pipeline.texts.delphi import read_rows
from pipeline.texts.files import CorpusFile, source_files
from pipeline.texts.python_texts import python_texts
from pipeline.texts.text import Text, Turn, decode_text

_ROWS_AT_ONCE = 256
_LEFT_OUT_AT_FIRST = 100
"""If this many texts are unreadable before the first readable one, the config is wrong."""

Item = Text | CorpusError


def read_texts(
    source: TextSource,
    leave_out: Callable[[CorpusError], None] | None = None,
    files: Sequence[CorpusFile] | None = None,
) -> Iterator[Text]:
    """The texts of a source in order; only of some of its files, or parts of these, if given.

    Unreadable items are skipped, and `leave_out` is called with a CorpusError that names file and row. Without
    `leave_out` it is raised; so is the hundredth, if no text came before it.
    """
    if isinstance(source, PythonTexts):
        yield from python_texts()
    elif isinstance(source, DelphiRows):
        yield from _cached_rows(source)
    else:
        yield from islice(_readable(_items(source, files), leave_out), source.max_documents)


def _readable(items: Iterator[Item], leave_out: Callable[[CorpusError], None] | None) -> Iterator[Text]:
    n_texts = n_left_out = 0
    for item in items:
        if isinstance(item, CorpusError):
            n_left_out += 1
            if leave_out is None or (not n_texts and n_left_out >= _LEFT_OUT_AT_FIRST):
                raise item
            leave_out(item)
        else:
            n_texts += 1
            yield item


def _items(source: FileTexts | HubTexts, files: Sequence[CorpusFile] | None) -> Iterator[Item]:
    if isinstance(source, HubTexts):
        yield from _hub_texts(source)
        return
    read = {"text": _text_files, "jsonl": _json_lines, "parquet": _parquet_rows}[source.kind]
    yield from read(source, source_files(source) if files is None else files)


def source_name(source: TextSource) -> str:
    """A source's name in messages and tables."""
    match source:
        case PythonTexts():
            return "python"
        case HubTexts():
            return source.dataset
        case FileTexts() | DelphiRows():
            return source.path


def _text_files(source: FileTexts, files: Sequence[CorpusFile]) -> Iterator[Item]:
    for file in files:
        try:
            with file.open_text() as opened:
                text = decode_text(opened.read())
        except UnicodeDecodeError as error:
            yield CorpusError(f"corpus file '{file.location}' is not UTF-8 text: {error}; save it as UTF-8")
        except OSError as error:
            yield _unreadable(file, error)
        else:
            yield Text(source.path, file.name, text.replace("\r\n", "\n").replace("\r", "\n"))


def _json_lines(source: FileTexts, files: Sequence[CorpusFile]) -> Iterator[Item]:
    for file in files:
        end = 0  # of the line, in bytes
        try:
            with file.open_text() as lines:
                for number, line in enumerate(lines, start=1):
                    start, end = end, end + len(line)
                    if file.end is not None and start >= file.end:
                        break
                    if number == 1 and (what := _no_lines(line)):
                        yield CorpusError(
                            f"corpus file '{file.location}' is {what}; JSON lines are objects in UTF-8"
                        )
                        break
                    if start >= file.start and line.strip():
                        location = f"corpus file '{file.location}', line {number}"
                        yield _line_text(source, line, f"{file.name}:{number}", location)
        except OSError as error:
            yield _unreadable(file, error)


def _no_lines(first: bytes) -> str | None:
    """A file's actual kind, by its first line, if it cannot be JSON lines; None if it may be."""
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    return "a JSON array" if first.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[") else None


def _line_text(source: FileTexts, line: bytes, unit: str, location: str) -> Item:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return CorpusError(f"{location} is not UTF-8 text: {error}")
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        return CorpusError(f"{location} is not JSON: {error}")
    if not isinstance(row, dict):
        return CorpusError(f"{location} is not a JSON object")
    return _row_text(source, row, source.path, unit, location)


def _parquet_rows(source: FileTexts, files: Sequence[CorpusFile]) -> Iterator[Item]:
    columns = {source.read_key: source.read_field}
    columns |= {"unit_field": source.unit_field} if source.unit_field else {}
    for file in files:
        try:
            with file.open() as opened, pq.ParquetFile(opened) as parquet:
                for key, column in columns.items():
                    if column not in parquet.schema_arrow.names:
                        known = f"{nearest(column, parquet.schema_arrow.names)} ({key} names it)"
                        raise CorpusError(
                            f"corpus file '{file.location}' has no column '{column}'; nearest: {known}"
                        )
                number = 0
                for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=[*columns.values()]):
                    for row in _rows_of(batch):
                        number += 1
                        location = f"corpus file '{file.location}', row {number}"
                        if isinstance(row, UnicodeDecodeError):
                            yield CorpusError(f"{location} is not UTF-8 text: {row}")
                        else:
                            yield _row_text(source, row, source.path, f"{file.name}:{number}", location)
        except CorpusError as error:
            yield error
        except (pa.ArrowException, OSError) as error:
            words = " ".join(str(error).split())
            yield CorpusError(f"corpus file '{file.location}' is not a readable Parquet file: {words}")


def _rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    """The rows of a batch; or the error, if a text is not UTF-8, which Parquet writers do not check."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for number in range(batch.num_rows):
            try:
                yield batch.slice(number, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield error


def _unreadable(file: CorpusFile, error: OSError) -> CorpusError:
    return CorpusError(
        f"corpus file '{file.location}' is damaged or cannot be read: {' '.join(str(error).split())}"
    )


def _cached_rows(source: DelphiRows) -> Iterator[Text]:
    """The rows of a cache; a row's unit is its content, so that equal rows share a role."""
    for number, token_ids in enumerate(read_rows(source.folder)):
        unit = hashlib.sha256(" ".join(map(str, token_ids)).encode()).hexdigest()[:32]
        yield Text(source.path, unit, "", token_ids=token_ids, row=number)


def _hub_texts(source: HubTexts) -> Iterator[Item]:
    for number, row in enumerate(_hub_rows(source), start=1):
        yield _row_text(source, row, source.dataset, f"row {number}", f"dataset '{source.dataset}', row {number}")


def _hub_rows(source: HubTexts) -> Iterator[dict[str, Any]]:
    """The streamed rows of a dataset. Raises CorpusError if the stream breaks off."""
    n_read = 0
    try:
        for row in _open_dataset(source):
            yield row
            n_read += 1
    except CorpusError:
        raise
    except Exception as error:  # noqa: BLE001 (datasets, its readers and the hub's client raise many kinds)
        reason = " ".join(str(error).split())[:200]
        raise CorpusError(
            f"dataset '{source.dataset}' broke off after {n_read:,} rows ({type(error).__name__}: {reason}); run "
            "again to read it once more, or download it and name its folder"
        ) from None


def _open_dataset(source: HubTexts) -> Any:
    try:
        from datasets import load_dataset
    except ImportError:
        raise CorpusError(
            "a corpus source of kind 'hub' needs the package 'datasets'; install it: pip install datasets"
        ) from None
    try:
        return load_dataset(
            source.dataset, source.subset, split=source.split, revision=source.revision, streaming=True
        )
    except Exception as error:  # noqa: BLE001 (datasets raises many kinds for what is not there)
        raise CorpusError(
            f"dataset '{source.dataset}' cannot be opened ({type(error).__name__}: {error}); it needs the "
            "Hugging Face Hub, or a local folder instead"
        ) from None


def _row_text(source: FileTexts | HubTexts, row: dict[str, Any], name: str, unit: str, location: str) -> Item:
    """A row's text, chat or tokens, and its unit; a CorpusError if a field is missing or has the wrong type."""
    field = source.read_field
    if field not in row:
        known = f"{nearest(field, row)} ({source.read_key} names it)"
        return CorpusError(f"{location} has no '{field}'; nearest: {known}")
    if source.unit_field:
        if row.get(source.unit_field) is None:
            return CorpusError(f"{location} has no '{source.unit_field}', which corpus.sources names as the unit")
        unit = str(row[source.unit_field])
    try:
        if source.messages_field:
            turns = [_turn(each) for each in _list(row[field])]
            return Text(name, unit, "\n".join(turn.content for turn in turns), turns=tuple(turns))
        if source.tokens_field:
            return Text(name, unit, "", token_ids=tuple(_token_id(each) for each in _list(row[field])))
        return Text(name, unit, _text(row[field]))
    except ValueError as error:
        return CorpusError(f"{location}: '{field}' {error}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {_kind(value)}, not text")
    # JSON can hold half a surrogate pair, which is not text; it becomes U+FFFD.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"is {_kind(value)}, not a list")
    return value


def _token_id(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"holds {value!r}, which is not a token id")
    return value


_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
"""Other names for the roles of a chat."""
_TURN = "a turn is {role, content} or {from, value}"


def _turn(value: Any) -> Turn:
    """A turn given as `{role, content}`, with a text or parts of one, or as ShareGPT's `{from, value}`.

    A key of the other spelling may be there without a value: the rows of a Parquet file have all keys.
    """
    if not isinstance(value, dict):
        raise ValueError(f"holds {_kind(value)} as a turn; {_TURN}")
    said = value.get("role") or value.get("from")
    content = value.get("value") if value.get("content") is None else value["content"]
    if not isinstance(said, str):
        raise ValueError(f"holds a turn without a role; {_TURN}")
    if isinstance(content, list):
        content = "".join(map(_part, content))
    if not isinstance(content, str):
        raise ValueError(f"holds a turn of '{said}' without text, such as a tool call; {_TURN}")
    return Turn(_ROLES.get(said, said), _text(content))


def _part(value: Any) -> str:
    """A part of a turn's content, given as a text or as `{type: text, text}`."""
    if isinstance(value, dict):
        if (text := value.get("text")) is None:
            raise ValueError(f"holds a part of type '{value.get('type')}', which is not text")
        value = text
    return _text(value)
