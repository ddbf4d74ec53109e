"""The files of the ledger: which ranges of features they hold, their lines, and locks on them."""

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import LakeError

_RANGE = re.compile(r"(\d+)-(\d+)(?:@.+)?")
"""A file's name: its features, and after an @ the identity of lines that another machine has sealed."""


def overlapping_files(folder: Path, features: range, suffix: str = ".jsonl") -> Iterator[Path]:
    """The files in a folder whose range overlaps a range of features, in the order of their names."""
    for path in sorted(folder.glob(f"*{suffix}")):
        match = _RANGE.fullmatch(path.stem)
        if match and int(match[1]) < features.stop and int(match[2]) >= features.start:
            yield path


def last_lines(folder: Path, most_bytes: int) -> Iterator[bytes]:
    """The lines written last for each table, about `most_bytes` each: the ends of its files, the latest first."""
    for table in folder.glob("*/"):
        left = most_bytes
        files = [(path.stat().st_mtime_ns, path) for path in table.rglob("*.jsonl")]
        for _, path in sorted(files, reverse=True):
            with path.open("rb") as file:
                begin = max(0, file.seek(0, os.SEEK_END) - left)
                file.seek(begin)
                data = file.read()
            yield data if begin == 0 else data.partition(b"\n")[2]
            left -= len(data)
            if left <= 0:
                break


def lock(file: BinaryIO, path: Path, kind: int) -> None:
    """Lock a ledger file until it is closed. Raises LakeError if another run holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:  # other errors: a filesystem without locks
        raise LakeError(
            f"ledger '{path}' is in use by another run on some of the same features; wait for it or stop it"
        ) from None


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of an unbuffered file from its start, read through the handle that holds the lock.

    On network filesystems, closing a second handle in the same process would release the lock.
    """
    file.seek(0)
    rest = b""
    while block := file.read(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def sync_folders(folder: Path) -> None:
    """Sync a new file's name to disk; syncing the file itself does not."""
    for each in (folder, folder.parent, folder.parent.parent):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def ends_in_newline(file: BinaryIO) -> bool:
    """Whether the file is empty or its last byte is a newline."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
