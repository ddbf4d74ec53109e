"""Find a sparse autoencoder's files, tell their format, and load them without executing anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pipeline.errors import SaeError
from pipeline.plugins import find_plugin, find_plugins
from pipeline.sae.coder import SparseCoder
from pipeline.shipped import find

HUB_PREFIX = "hf://"


class Format(Protocol):
    """A plug-in: a module of `pipeline/sae/formats`.

    Attributes:
        FILES: The names of its files in an SAE's folder, by which it is known.
    """

    FILES: Sequence[str]

    def load(self, folder: Path, files: Sequence[Path]) -> SparseCoder:
        """The coder in these files of a folder, float32. Raises SaeError if they are damaged or do not fit."""
        ...


def load_sparse_coder(path: Path | str, format: str | None = None) -> SparseCoder:
    """Load a sparse autoencoder from a folder, or from `hf://OWNER/REPO[@REVISION]/FOLDER`, in float32.

    Args:
        path: Where its files are.
        format: Their layout; found out by the files' names if left out.

    Raises:
        SaeError: The files are missing, damaged, of an unknown format, or do not fit each other.
    """
    folder = fetch_sae(str(path))
    name, files = _find_files(folder, format)
    return _load_format(name).load(folder, files)


def sae_files(source: str, format: str | None = None) -> list[Path]:
    """The files that make up a sparse autoencoder. Raises SaeError if they are not there."""
    return _find_files(fetch_sae(source), format)[1]


def sae_format(source: str, format: str | None = None) -> str:
    """The name of a sparse autoencoder's format, as it is given or found. Raises SaeError if there is none."""
    return format or _find_files(fetch_sae(source), format)[0]


def _find_files(folder: Path, format: str | None) -> tuple[str, list[Path]]:
    """The format of the files in a folder, and these."""
    if not folder.is_dir():
        raise SaeError(f"no folder '{folder}' for an SAE; set saes.source to one with its files")
    wanted = [format] if format else list(find_plugins("formats"))
    missing = {}
    for name in wanted:
        files = [folder / file for file in _load_format(name).FILES]
        missing[name] = [path.name for path in files if not path.is_file()]
        if not missing[name]:
            return name, files
    known = ", ".join(f"{name}, with {' and '.join(_load_format(name).FILES)}" for name in wanted)
    lacking = min(missing.values(), key=len)
    raise SaeError(f"SAE folder '{folder}' lacks {' and '.join(lacking)} (known format: {known})")


def _load_format(name: str) -> Format:
    module: Format = find_plugin("formats", name).load()
    return module


def fetch_sae(source: str) -> Path:
    """The local folder of a source; from the hub it is downloaded into the hub's own cache.

    Raises SaeError where the hub cannot be reached or does not have it.
    """
    if not source.startswith(HUB_PREFIX):
        return find(source)
    repository, revision, folder = _split_hub(source)
    from huggingface_hub import snapshot_download

    try:
        root = snapshot_download(repository, revision=revision, allow_patterns=f"{folder}/*")
    except Exception as error:  # noqa: BLE001 (the hub client raises many kinds)
        raise SaeError(
            f"SAE '{source}' cannot be fetched from the Hugging Face hub ({type(error).__name__}); it needs a "
            "connection, or a local folder as saes.source"
        ) from None
    return Path(root) / folder


def _split_hub(source: str) -> tuple[str, str | None, str]:
    """Repository, revision and folder of `hf://OWNER/REPO[@REVISION]/FOLDER`."""
    owner, _, rest = source.removeprefix(HUB_PREFIX).partition("/")
    name, _, folder = rest.partition("/")
    name, _, revision = name.partition("@")
    if not (owner and name and folder):
        raise SaeError(f"'{source}' names no folder on the hub; write hf://OWNER/REPO[@REVISION]/FOLDER")
    return f"{owner}/{name}", revision or None, folder
