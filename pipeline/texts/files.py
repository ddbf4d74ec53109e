"""The corpus's files: below a local path, or at the URL of any filesystem that fsspec knows (s3://, gs://, https://)."""

import glob
import io
import os
import posixpath
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.config import FileTexts
from pipeline.errors import CorpusError

_SUFFIXES = {"text": (".txt", ".md", ".rst"), "jsonl": (".jsonl", ".ndjson"), "parquet": (".parquet",)}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_BEGINNINGS = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
"""The first bytes of compressed files, by suffix."""


class CorpusFile(NamedTuple):
    """A file of a source.

    Attributes:
        location: Its path or URL, as shown in messages.
        name: Its path below the common folder of its source's files, so it does not depend on where that is.
        filesystem: Its fsspec filesystem; None for a local file.
        start: The byte at which reading a file of lines begins.
        end: The byte before which it ends; None for the file's end.
    """

    location: str
    name: str
    filesystem: Any = None
    start: int = 0
    end: int | None = None

    def open(self) -> io.BufferedReader:
        """Its bytes as they are. Raises OSError if it cannot be read."""
        if self.filesystem is None:
            return Path(self.location).open("rb")
        return io.BufferedReader(self.filesystem.open(self.location, "rb"))

    def open_text(self) -> io.BufferedReader:
        """Its bytes, decompressed by its suffix; a .gz that a download has already decompressed is read as is.

        Raises OSError if it cannot be read, or is compressed without the suffix.
        """
        opened = self.open()
        start, ending = opened.peek(4), Path(self.location).suffix.lower()
        found = next((each for each, first in _BEGINNINGS.items() if start.startswith(first)), None)
        if found and ending not in _COMPRESSIONS:
            opened.close()
            raise OSError(f"it is compressed; rename it to end in {found}")
        if ending not in _COMPRESSIONS or (ending == ".gz" and start and not found):
            return opened
        return io.BufferedReader(pa.input_stream(pa.PythonFile(opened, "r"), compression=_COMPRESSIONS[ending]))

    def stamp(self) -> str:
        """A stamp that changes with the content of a file at a URL: its size, and its ETag, checksum or time."""
        return f"{self.filesystem.ukey(self.location)} {self.filesystem.size(self.location)}"


def source_files(source: FileTexts, among: Collection[str] = ()) -> list[CorpusFile]:
    """A source's files, sorted; named relative to the common folder of all, or of those `among` them.

    Raises CorpusError if there are none.
    """
    if source.is_remote:
        return _remote_files(source, among)
    path = Path(source.path).expanduser()
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(each for each in path.rglob("*") if _is_of(source, str(each)) and each.is_file())
    else:
        files = sorted(each for each in map(Path, glob.glob(str(path), recursive=True)) if each.is_file())  # noqa: PTH207
    if not files:
        raise _nothing(source, is_folder=path.is_dir())
    names = relative_names(files, map(Path, among))
    return [CorpusFile(str(path), names[path]) for path in files]


def relative_names(files: Sequence[Path], among: Iterable[Path] = ()) -> dict[Path, str]:
    """Each file's path relative to the common folder of all files (or of those `among` them).

    Bytes of a name that are not UTF-8 are escaped, because tables hold text.
    """
    if not files:
        return {}
    root = os.path.commonpath([path.absolute().parent for path in list(among) or files])
    named = {path: Path(os.path.relpath(path.absolute(), root)).as_posix() for path in files}
    return {path: name.encode(errors="backslashreplace").decode() for path, name in named.items()}


def _remote_files(source: FileTexts, among: Collection[str]) -> list[CorpusFile]:
    import fsspec

    is_folder = False
    try:
        filesystem, path = fsspec.url_to_fs(source.path)
        if any(each in path for each in "*?["):
            locations = [each for each in filesystem.glob(path) if filesystem.isfile(each)]
        elif is_folder := filesystem.isdir(path):
            locations = [each for each in filesystem.find(path) if _is_of(source, each)]
        else:
            locations = [path] if filesystem.isfile(path) else []
    except (ImportError, ValueError) as error:  # missing package for this kind of URL, or unknown kind
        raise CorpusError(f"corpus source '{source.path}' cannot be opened: {error}") from None
    except Exception as error:  # noqa: BLE001 (each filesystem raises its own kinds)
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise CorpusError(f"corpus source '{source.path}' cannot be reached ({words})") from None
    if not locations:
        raise _nothing(source, is_folder)
    first, *others = list(among) or locations
    root = os.path.commonpath([first, *others]) if others else first.rpartition("/")[0]
    return [CorpusFile(each, posixpath.relpath(each, root or "."), filesystem) for each in sorted(locations)]


def is_appended_to(source: FileTexts, location: str) -> bool:
    """Whether a file may grow, and can be read from where it ended: local, uncompressed lines."""
    return source.kind == "jsonl" and not source.is_remote and Path(location).suffix.lower() not in _COMPRESSIONS


def _nothing(source: FileTexts, is_folder: bool) -> CorpusError:
    kinds = " or ".join(_SUFFIXES[source.kind])
    wanted = f"no {kinds} file in folder '{source.path}'" if is_folder else f"no file at '{source.path}'"
    return CorpusError(f"corpus source: {wanted}; set corpus.sources to files that are there")


def _is_of(source: FileTexts, location: str) -> bool:
    """Whether a file's suffix fits its source's kind, ignoring a compression suffix."""
    path = Path(location)
    if path.suffix.lower() in _COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix.lower() in _SUFFIXES[source.kind]
