"""Converted models, kept beside the lakes: made at first use, identified by the content of their files."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.lake.publishing import TEMPORARY_FOLDER, is_left_over, remove, temporary_path

SOURCE_FILE = "source.json"

_Source = dict[str, str | int]
"""Path, size, modification time and SHA-256 of the converted file; for several files the first path, the total
size, the latest time, and the SHA-256 of all together."""


def converted_folder(files: Sequence[Path], models: Path, convert: Callable[[Path], None], form: str = "") -> Path:
    """The folder below `models`, named by the files' SHA-256 and the form, that `convert` filled.

    Processes that convert at the same time write separate folders, and the first to rename its folder wins. What a
    killed one left is removed. Raises what `convert` raises.
    """
    for path in (models / TEMPORARY_FOLDER).glob("*"):
        if is_left_over(path):
            remove(path)
    stats = [file.stat() for file in files]
    source: _Source = {
        "file": str(files[0].absolute()),
        "size": sum(stat.st_size for stat in stats),
        "mtime_ns": max(stat.st_mtime_ns for stat in stats),
        "form": form,
    }
    known = _find(source, models)
    if known is not None:
        return known
    source["sha256"] = _digest(files)
    folder = models / f"{str(source['sha256'])[:16]}{form and f'-{form}'}"
    if not folder.exists():
        _write(convert, source, folder)
    return folder


def _find(source: _Source, models: Path) -> Path | None:
    """The folder made from these files, which are not read again as long as size and time are the same."""
    for path in models.glob(f"*/{SOURCE_FILE}"):
        recorded = {"form": "", **json.loads(path.read_text(encoding="utf-8"))}
        if source.items() <= recorded.items():
            return path.parent
    return None


def _digest(files: Sequence[Path]) -> str:
    """The SHA-256 of a file, or of several read one after another."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            hashlib.file_digest(opened, lambda: digest)
    return digest.hexdigest()


def _write(convert: Callable[[Path], None], source: _Source, folder: Path) -> None:
    temporary = temporary_path(folder.parent, folder.name)
    temporary.mkdir()
    try:
        convert(temporary)
        (temporary / SOURCE_FILE).write_text(json.dumps(source, indent=1) + "\n", encoding="utf-8")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
