"""Matches the files at a path with the formats of sparse autoencoders, by their names and contents."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pipeline.errors import SaeError
from pipeline.plugins import find_plugins
from pipeline.sae.coder import SparseCoder
from pipeline.sae.files import SaeFiles
from pipeline.sae.sources import Source


class Format(Protocol):
    """A plug-in: a module of `pipeline/sae/formats`.

    It may also have:

    - `OPTIONAL_FILES`: names of files that may be absent;
    - `NEARBY_FILES`: names of files in its folder that only `outside` reads, to be fetched from the hub, too;
    - `is_format(files: SaeFiles) -> bool`: recognises the format by contents, if others have the same names;
    - `trained_on(files: SaeFiles) -> Training`: what files and path say about the subject model and its contexts;
    - `outside(files: SaeFiles) -> Mapping[str, Any]`: what `load` depends on apart from these files.

    Attributes:
        FILES: Names or patterns of an SAE's files relative to its folder, by which the format is recognised.
    """

    FILES: Sequence[str]

    def load(self, files: SaeFiles) -> SparseCoder:
        """The coder in these files, float32. Raises SaeError if they are damaged or contradict each other."""
        ...


def known_formats() -> dict[str, Format]:
    """Every format by its name."""
    return {name: plugin.load() for name, plugin in find_plugins("formats").items()}


def files_to_fetch(formats: Mapping[str, Format]) -> list[str]:
    """The names and patterns of all files that formats read."""
    return sorted({name for each in formats.values() for name in (*_patterns(each), *_nearby(each))})


def match(path: Path, format: Format, fetched: Source) -> SaeFiles | None:
    """The files of a format at a path, either their folder or one of them; None if any is missing."""
    folder, given = path, ""
    if path.is_file():
        given = next((pattern for pattern in format.FILES if path.match(pattern)), "")
        if not given:
            return None
        folder = path.parents[given.count("/")]
    paths = {}
    for pattern in _patterns(format):
        found = [path] if pattern == given else files_like(folder, pattern)
        if len(found) == 1:
            paths[pattern] = found[0]
        elif pattern in format.FILES:
            return None
    return SaeFiles(folder, paths, fetched.overrides, fetched.revision, fetched.model)


def is_sae(folder: Path, format: Format) -> bool:
    """Whether a folder holds an SAE of a format: its files and, if others have such files, too, its tensors."""
    files, is_format = match(folder, format, Source(folder)), getattr(format, "is_format", None)
    if files is None or is_format is None:
        return files is not None
    try:
        return bool(is_format(files))
    except SaeError:  # such as the state of an optimizer
        return False


def files_like(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that a pattern matches, by name."""
    return sorted(file for file in folder.glob(pattern) if file.is_file())


def folders_inside(path: Path, formats: Mapping[str, Format]) -> list[tuple[str, str]]:
    """The subfolders that hold an SAE, by name, each with the SAE's format."""
    found: dict[str, str] = {}
    for folder in filter(Path.is_dir, sorted(path.glob("*"))):
        for name, each in formats.items():
            if is_sae(folder, each):
                found.setdefault(folder.name, name)
    return [*found.items()]


def _patterns(format: Format) -> list[str]:
    return [*format.FILES, *getattr(format, "OPTIONAL_FILES", ())]


def _nearby(format: Format) -> Sequence[str]:
    names: Sequence[str] = getattr(format, "NEARBY_FILES", ())
    return names
