"""Texts from every kind of source, streamed; nothing that grows with the corpus is held.

What cannot be read (a damaged file, a line that is no JSON, bytes that are no UTF-8) comes as a CorpusError among
the texts, so that whoever reads can go on with the next.
"""

import codecs
import glob
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import FileTexts, HubTexts, PythonTexts, TextSource
from pipeline.corpus.python_texts import Text, python_texts
from pipeline.errors import CorpusError, nearest

_SUFFIXES = {"text": (".txt", ".md", ".rst"), "jsonl": (".jsonl", ".ndjson"), "parquet": (".parquet",)}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_ROWS_AT_ONCE = 256
_LEFT_OUT_AT_FIRST = 100
"""So many texts that cannot be read, before any that can, are a slip of the config."""

Item = Text | CorpusError


def read_texts(source: TextSource, leave_out: Callable[[CorpusError], None] | None = None) -> Iterator[Text]:
    """The texts of a source in its own order.

    What is no text is given to `leave_out`, and left out. Raises CorpusError, naming file and row, where there is
    nobody to be given to, or where the first hundred are no texts.
    """
    if isinstance(source, PythonTexts):
        yield from python_texts()
    else:
        yield from islice(_readable(_items(source), leave_out), source.max_documents)


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


def _items(source: FileTexts | HubTexts) -> Iterator[Item]:
    match source:
        case HubTexts():
            yield from _hub_texts(source)
        case FileTexts(kind="text"):
            yield from _text_files(source)
        case FileTexts(kind="jsonl"):
            yield from _json_lines(source)
        case FileTexts():
            yield from _parquet_rows(source)


def source_name(source: TextSource) -> str:
    """What a source is called in messages and tables."""
    match source:
        case PythonTexts():
            return "python"
        case HubTexts():
            return source.dataset
        case FileTexts():
            return source.path


def source_files(source: FileTexts) -> list[Path]:
    """Its files, sorted. Raises CorpusError if there are none."""
    path = Path(source.path).expanduser()
    suffixes = _SUFFIXES[source.kind]
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if _kind_suffix(each) in suffixes and each.is_file())
        wanted = f"no {' or '.join(suffixes)} file in folder '{path}'"
    else:
        files = sorted(each for each in map(Path, glob.glob(str(path), recursive=True)) if each.is_file())  # noqa: PTH207
        wanted = f"no file at '{path}'"
    if not files:
        raise CorpusError(f"corpus source: {wanted}; set corpus.sources to files that are there")
    return files


def relative_names(files: Sequence[Path]) -> dict[Path, str]:
    """Each file's path below the folder that they all are in: the same wherever that folder is."""
    if not files:
        return {}
    root = os.path.commonpath([path.absolute().parent for path in files])
    return {path: path.absolute().relative_to(root).as_posix() for path in files}


def _kind_suffix(path: Path) -> str:
    """The end of a file's name that tells its kind, in lower case; that of a compression does not."""
    if path.suffix.lower() in _COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix.lower()


def _open(path: Path) -> io.BufferedReader:
    """A file's bytes, decompressed. Raises OSError if it cannot be read."""
    compression = _COMPRESSIONS.get(path.suffix.lower())
    return io.BufferedReader(pa.input_stream(str(path), compression=compression))


def _decode(data: bytes) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so; no such mark is a part of the text."""
    is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf_16 else "utf-8-sig")


def _text_files(source: FileTexts) -> Iterator[Item]:
    files = source_files(source)
    names = relative_names(files)
    for path in files:
        try:
            with _open(path) as file:
                text = _decode(file.read())
        except UnicodeDecodeError as error:
            yield CorpusError(f"corpus file '{path}' is not UTF-8 text: {error}")
        except OSError as error:
            yield _unreadable(path, error)
        else:
            yield Text(source.path, names[path], text.replace("\r\n", "\n").replace("\r", "\n"))


def _json_lines(source: FileTexts) -> Iterator[Item]:
    files = source_files(source)
    names = relative_names(files)
    for path in files:
        try:
            with _open(path) as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        place = f"corpus file '{path}', line {number}"
                        yield _line_text(source, line, f"{names[path]}:{number}", place)
        except OSError as error:
            yield _unreadable(path, error)


def _line_text(source: FileTexts, line: bytes, unit: str, place: str) -> Item:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return CorpusError(f"{place} is not UTF-8 text: {error}")
    except (json.JSONDecodeError, RecursionError) as error:
        return CorpusError(f"{place} is not JSON: {error}")
    if not isinstance(row, dict):
        return CorpusError(f"{place} is no JSON object")
    return _row_text(source, row, source.path, unit, place)


def _parquet_rows(source: FileTexts) -> Iterator[Item]:
    columns = [source.text_field, *([source.unit_field] if source.unit_field else [])]
    files = source_files(source)
    names = relative_names(files)
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for column in columns:
                    if column not in file.schema_arrow.names:
                        known = nearest(column, file.schema_arrow.names)
                        raise CorpusError(f"corpus file '{path}' has no column '{column}'; nearest: {known}")
                number = 0
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                    for row in batch.to_pylist():
                        number += 1
                        place = f"corpus file '{path}', row {number}"
                        yield _row_text(source, row, source.path, f"{names[path]}:{number}", place)
        except CorpusError as error:
            yield error
        except (pa.ArrowInvalid, OSError) as error:
            yield CorpusError(f"corpus file '{path}' is no readable Parquet file: {' '.join(str(error).split())}")


def _unreadable(path: Path, error: OSError) -> CorpusError:
    return CorpusError(f"corpus file '{path}' is damaged or cannot be read: {' '.join(str(error).split())}")


def _hub_texts(source: HubTexts) -> Iterator[Item]:
    for number, row in enumerate(_open_dataset(source), start=1):
        yield _row_text(source, row, source.dataset, f"row {number}", f"dataset '{source.dataset}', row {number}")


def _open_dataset(source: HubTexts) -> Any:
    try:
        from datasets import load_dataset
    except ImportError:
        raise CorpusError(
            "a corpus source of kind 'hub' needs the package 'datasets': pip install 'latentlake[hub]'"
        ) from None
    try:
        return load_dataset(
            source.dataset, source.subset, split=source.split, revision=source.revision, streaming=True
        )
    except Exception as error:  # noqa: BLE001 (datasets raises many kinds for what is not there)
        raise CorpusError(
            f"dataset '{source.dataset}' cannot be opened ({type(error).__name__}: {error}); it needs the "
            "Hugging Face hub, or a local folder in its place"
        ) from None


def _row_text(source: FileTexts | HubTexts, row: dict[str, Any], name: str, unit: str, place: str) -> Item:
    """A row's text and unit; a CorpusError where a field is missing or no text."""
    if source.text_field not in row:
        return CorpusError(f"{place} has no '{source.text_field}'; nearest: {nearest(source.text_field, row)}")
    text = row[source.text_field]
    if not isinstance(text, str):
        return CorpusError(f"{place}: '{source.text_field}' is {type(text).__name__}, not text")
    if source.unit_field:
        if row.get(source.unit_field) is None:
            return CorpusError(f"{place} has no '{source.unit_field}', which corpus.sources names as the unit")
        unit = str(row[source.unit_field])
    # JSON can hold half a surrogate pair, which is no text; it becomes U+FFFD.
    return Text(name, unit, text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
