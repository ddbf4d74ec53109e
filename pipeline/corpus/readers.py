"""Texts from every kind of source, streamed; nothing that grows with the corpus is held."""

import glob
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import FileTexts, HubTexts, PythonTexts, TextSource
from pipeline.corpus.python_texts import Text, python_texts
from pipeline.errors import CorpusError, nearest

_SUFFIXES = {"text": (".txt", ".md", ".rst"), "jsonl": (".jsonl", ".ndjson"), "parquet": (".parquet",)}
_ROWS_AT_ONCE = 256


def read_texts(source: TextSource) -> Iterator[Text]:
    """The texts of a source in its own order. Raises CorpusError, naming file and row, for what is no text."""
    match source:
        case PythonTexts():
            yield from python_texts()
        case HubTexts():
            yield from islice(_hub_texts(source), source.max_documents)
        case FileTexts(kind="text"):
            yield from islice(_text_files(source), source.max_documents)
        case FileTexts(kind="jsonl"):
            yield from islice(_json_lines(source), source.max_documents)
        case FileTexts():
            yield from islice(_parquet_rows(source), source.max_documents)


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
        files = sorted(each for each in path.rglob("*") if each.suffix in suffixes and each.is_file())
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


def _text_files(source: FileTexts) -> Iterator[Text]:
    files = source_files(source)
    names = relative_names(files)
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CorpusError(f"corpus file '{path}' is not UTF-8 text: {error}") from None
        yield Text(source.path, names[path], text)


def _json_lines(source: FileTexts) -> Iterator[Text]:
    files = source_files(source)
    names = relative_names(files)
    for path in files:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                place = f"corpus file '{path}', line {number}"
                try:
                    row = json.loads(line.decode("utf-8"))
                except UnicodeDecodeError as error:
                    raise CorpusError(f"{place} is not UTF-8 text: {error}") from None
                except json.JSONDecodeError as error:
                    raise CorpusError(f"{place} is not JSON: {error}") from None
                if not isinstance(row, dict):
                    raise CorpusError(f"{place} is no JSON object")
                yield _row_text(source, row, source.path, f"{names[path]}:{number}", place)


def _parquet_rows(source: FileTexts) -> Iterator[Text]:
    columns = [source.text_field, *([source.unit_field] if source.unit_field else [])]
    files = source_files(source)
    names = relative_names(files)
    for path in files:
        try:
            file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorpusError(f"corpus file '{path}' is no readable Parquet file: {error}") from None
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


def _hub_texts(source: HubTexts) -> Iterator[Text]:
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


def _row_text(source: FileTexts | HubTexts, row: dict[str, Any], name: str, unit: str, place: str) -> Text:
    """A row's text and unit. Raises CorpusError where a field is missing or no text."""
    if source.text_field not in row:
        raise CorpusError(f"{place} has no '{source.text_field}'; nearest: {nearest(source.text_field, row)}")
    text = row[source.text_field]
    if not isinstance(text, str):
        raise CorpusError(f"{place}: '{source.text_field}' is {type(text).__name__}, not text")
    if source.unit_field:
        if row.get(source.unit_field) is None:
            raise CorpusError(f"{place} has no '{source.unit_field}', which corpus.sources names as the unit")
        unit = str(row[source.unit_field])
    # JSON can hold half a surrogate pair, which is no text; it becomes U+FFFD.
    return Text(name, unit, text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
