"""The recorded content of a source's files, and what has been added since.

Sizes and times are recorded beside the hashes, so that an unchanged file is not read again. Files that are not
recorded are new; a file of lines may have grown past its recorded end. Any other difference is a change.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import FileTexts
from pipeline.texts.files import CorpusFile, is_appended_to, relative_names, source_files

Entry = dict[str, Any]
"""The record of a source in one generation of the corpus: a `digest`, and `files` by path or URL. For a file:
`size`, `mtime_ns` and `sha256` of all of it, and `start`, the byte after the part of earlier generations; for one
at a URL, its `stamp`."""

_BYTES_AT_ONCE = 1 << 20


class Look(NamedTuple):
    """How a source's files differ from the recorded ones, by a listing.

    Attributes:
        added: Files that are not recorded. An empty local file is none: it is still to be written.
        longer: Recorded files of lines that have grown, and the byte at which they ended.
        touched: Other recorded files with a different size or time.
        gone: Recorded files that no longer exist.
    """

    added: Sequence[CorpusFile]
    longer: Mapping[Path, int]
    touched: Sequence[Path]
    gone: Sequence[str]


def digest_of(parts: Iterable[str]) -> str:
    """A hash over texts, each as a whole."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()


def fingerprint(files: Sequence[Path], known: Mapping[str, Any]) -> Entry:
    """Size, time and SHA-256 of each file, and a digest over the hashes; unchanged files are not read again."""
    found = {}
    for path in files:
        stat = path.stat()
        entry = known.get(str(path.absolute()), {})
        if (entry.get("size"), entry.get("mtime_ns")) != (stat.st_size, stat.st_mtime_ns):
            entry = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": _sha256(path, stat.st_size)}
        found[str(path.absolute())] = entry
    names = relative_names(files)  # a name can be a unit, which decides the role
    content = [f"{names[path]} {found[str(path.absolute())]['sha256']}" for path in files]
    return {"digest": digest_of(content), "files": found}


def stamps(files: Sequence[CorpusFile]) -> Entry:
    """The stamp of each file at a URL, and a digest over them, without reading the files."""
    found = {file.location: {"stamp": file.stamp()} for file in files}
    return {"digest": digest_of(f"{file.name} {found[file.location]['stamp']}" for file in files), "files": found}


def _recorded_files(entries: Sequence[Entry]) -> dict[str, Any]:
    """The last record of each file in a source's entries, by its path or URL."""
    return {location: record for entry in entries for location, record in entry["files"].items()}


def files_to_read(source: FileTexts, entries: Sequence[Entry], entry: Entry) -> list[CorpusFile]:
    """The files, or parts of them, that one of a source's entries records; named as the first entry's are."""
    files = [file for file in source_files(source, [*entries[0]["files"]]) if _location(file) in entry["files"]]
    return [
        file._replace(start=record.get("start", 0), end=record["size"])
        if is_appended_to(source, file.location)
        else file
        for file in files
        for record in [entry["files"][_location(file)]]
    ]


def is_open(source: FileTexts) -> bool:
    """Whether documents can be added to a source: not if it is read up to a number of documents."""
    return source.max_documents is None


def look(source: FileTexts, entries: Sequence[Entry]) -> Look:
    """Compare a source's files with its entries, by sizes and times; nothing is read."""
    files, known = source_files(source), _recorded_files(entries)
    longer: dict[Path, int] = {}
    touched = []
    added = [file for file in files if source.is_remote and _location(file) not in known]
    for file in files if not source.is_remote else ():
        path = Path(file.location)
        stat = path.stat()
        if (record := known.get(_location(file))) is None:
            added += [file] if stat.st_size else []
        elif stat.st_size > record["size"] and is_appended_to(source, file.location):
            longer[path] = record["size"]
        elif (stat.st_size, stat.st_mtime_ns) != (record["size"], record["mtime_ns"]):
            touched.append(path)
    return Look(added, longer, touched, sorted(known.keys() - {_location(file) for file in files}))


def hold(
    source: FileTexts, entries: Sequence[Entry], *, reads_added: bool, reads_grown: bool = False
) -> Entry | None:
    """Check a source's files against its entries; returns the entry for additions, if these are to be read.

    A touched file's time is updated, and, if all files are in another folder now, their paths. The recorded part
    of a grown file is read when its growth is read, or with `reads_grown`: thousands of processes that do not read
    the corpus only check that the recorded lines end where they ended. Nothing is added to a source that is read
    up to `max_documents`, as it is not known how many of these remained.

    Raises ValueError, naming the first file, if recorded content has changed.
    """
    _follow(source, entries)
    seen, known = look(source, entries), _recorded_files(entries)
    if seen.gone:
        raise ValueError(seen.gone[0])
    if source.is_remote:
        recorded = [file for file in source_files(source) if file.location in known]
        for file in recorded:
            if file.stamp() != known[file.location]["stamp"]:
                raise ValueError(file.location)
        return stamps(seen.added) if seen.added and reads_added and is_open(source) else None
    for path in seen.touched:
        record, stat = known[str(path.absolute())], path.stat()
        if stat.st_size != record["size"] or _sha256(path, stat.st_size) != record["sha256"]:
            raise ValueError(str(path))
        record["mtime_ns"] = stat.st_mtime_ns
    if not reads_added or not is_open(source):
        for path in seen.longer:
            check = _check_beginning if reads_added or reads_grown else _check_line_end
            check(path, known[str(path.absolute())])
        return None
    added = [Path(file.location) for file in seen.added]
    files = fingerprint(added, {})["files"] if added else {}
    for path in seen.longer:
        if (more := _lines_behind(path, known[str(path.absolute())])) is not None:
            files[str(path.absolute())] = more
    if not files:
        return None
    names = relative_names(
        [Path(location) for location in files], [Path(location) for location in entries[0]["files"]]
    )
    content = sorted(f"{names[Path(location)]} {record['sha256']}" for location, record in files.items())
    return {"digest": digest_of(content), "files": files}


def _lines_behind(path: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of complete lines after a recorded end; None if there are none.

    Raises ValueError if the content before has changed, or its last line continues.
    """
    _check_beginning(path, record)
    if not has_whole_line(path, record["size"]):
        return None
    end, size = record["size"], path.stat().st_size
    with path.open("rb") as file:
        file.seek(end)
        while some := file.read(min(_BYTES_AT_ONCE, size - file.tell())):
            if (newline := some.rfind(b"\n")) >= 0:  # the last line may still be written
                end = file.tell() - len(some) + newline + 1
    own = {"size": end, "mtime_ns": path.stat().st_mtime_ns, "sha256": _sha256(path, end)}
    return {**own, "start": record["size"]}


def has_whole_line(path: Path, start: int) -> bool:
    """Whether a file has a line behind a byte that is not blank and ends in a newline."""
    with path.open("rb") as file:
        file.seek(start)
        first = next((line for line in file if line.strip()), b"")
    return first.endswith(b"\n")


def _check_beginning(path: Path, record: Mapping[str, Any]) -> None:
    """Raise ValueError if a file of lines changed before its recorded end, or its last line continues there."""
    _check_line_end(path, record)
    if _sha256(path, record["size"]) != record["sha256"]:
        raise ValueError(str(path))


def _check_line_end(path: Path, record: Mapping[str, Any]) -> None:
    """Raise ValueError if the line before the recorded end of a file of lines continues after it."""
    end = record["size"]
    with path.open("rb") as file:
        file.seek(max(end - 1, 0))
        if end and b"\n" not in file.read(2):  # at its recorded end, or right after it
            raise ValueError(str(path))


def _follow(source: FileTexts, entries: Sequence[Entry]) -> None:
    """Update the paths of a source's files in its entries, if all of them are in another folder now."""
    known, files = _recorded_files(entries), source_files(source)
    if source.is_remote or any(_location(file) in known for file in files):
        return
    old, here = (
        relative_names([Path(location) for location in known]),
        relative_names([Path(f.location) for f in files]),
    )
    now = {name: str(path.absolute()) for path, name in here.items()}
    if not set(old.values()) <= now.keys():
        return
    for entry in entries:
        entry["files"] = {now[old[Path(location)]]: record for location, record in entry["files"].items()}


def _location(file: CorpusFile) -> str:
    """The key under which a file is recorded: its URL or absolute path."""
    return file.location if file.filesystem is not None else str(Path(file.location).absolute())


def _sha256(path: Path, size: int) -> str:
    """The hash of a file's first bytes."""
    digest, left = hashlib.sha256(), size
    with path.open("rb") as file:
        while left and (some := file.read(min(left, _BYTES_AT_ONCE))):
            digest.update(some)
            left -= len(some)
    return digest.hexdigest()
