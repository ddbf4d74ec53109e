"""Finds the files of a sparse autoencoder, here or on the hub, and its format."""

from dataclasses import replace
from pathlib import Path

from pipeline.errors import SaeError
from pipeline.plugins import find_plugin
from pipeline.sae import baselines
from pipeline.sae.diagnosis import UNREADABLE, explain
from pipeline.sae.files import SaeFiles
from pipeline.sae.matching import Format, files_to_fetch, folders_inside, is_sae, known_formats, match
from pipeline.sae.sources import fetch
from pipeline.shipped import find


def sae_files(source: str, format: str | None = None) -> SaeFiles:
    """The files of a sparse autoencoder or a baseline. Raises SaeError if they are missing."""
    if source.startswith(baselines.PREFIX):
        definition = source.removeprefix(baselines.PREFIX)
        like = baselines.like_of(source)
        files = sae_files(like) if like else SaeFiles(Path(), {})
        return replace(files, overrides={**files.overrides, "baseline": definition})
    return find_files(source, format, None)[1]


def find_files(source: str, format: str | None, hookpoint: str | None) -> tuple[str, SaeFiles]:
    """The format of a source, and its files. If it is not the requested format, the error names the actual one."""
    formats = known_formats()
    if format is not None:
        formats = {find_plugin("formats", format).name: formats[format], **formats}  # tried first
    fetched = fetch(source, files_to_fetch(formats), UNREADABLE)
    path = fetched.path
    if hookpoint and (path / hookpoint).is_dir():
        path /= hookpoint
    if not path.exists():
        raise SaeError(
            f"there is no folder or file '{path}'; set saes.source to the folder or file of an SAE, or to "
            "hf://OWNER/REPO/PATH on the hub"
        )
    whole = {}
    for name, each in formats.items():
        if (files := match(path, each, fetched)) is not None:
            whole[name] = files
    for name, files in whole.items():
        is_format = getattr(formats[name], "is_format", None)
        if is_format is None or is_format(files):
            if format not in {None, name}:
                raise SaeError(f"SAE '{path}' is of format {name}, not {format}; set saes.format to {name}")
            return name, _with_outside(files, formats[name])
    if format in whole:
        return format, whole[format]  # its `load` reports what is wrong
    raise SaeError(explain(path, {format: formats[format]} if format else formats))


def _with_outside(files: SaeFiles, format: Format) -> SaeFiles:
    """The files with what their format reads from elsewhere."""
    outside = getattr(format, "outside", None)
    return files if outside is None else replace(files, outside=outside(files))


def saes_inside(source: str) -> list[str]:
    """The sources of the SAEs in the subfolders of a local folder; empty if it is an SAE, or not a folder."""
    folder = find(source)
    if not folder.is_dir() or any(is_sae(folder, each) for each in known_formats().values()):
        return []
    return [str(Path(source) / name) for name, _ in folders_inside(folder, known_formats())]
