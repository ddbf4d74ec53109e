"""Find a sparse autoencoder's files, tell their format, and load them without executing anything."""

from pathlib import Path
from typing import Literal

from pipeline.errors import SaeError
from pipeline.sae.coder import SparseCoder
from pipeline.sae.formats import sparsify
from pipeline.shipped import find

Format = Literal["sparsify"]
HUB_PREFIX = "hf://"


def load_sparse_coder(path: Path | str, format: Format | None = None) -> SparseCoder:
    """Load a sparse autoencoder from a folder, or from `hf://OWNER/REPO[@REVISION]/FOLDER`, in float32.

    Args:
        path: Where its files are.
        format: Their layout; found out by the files' names if left out.

    Raises:
        SaeError: The files are missing, damaged, of an unknown format, or do not fit each other.
    """
    folder = fetch_sae(str(path))
    return sparsify.load(folder, sae_files(str(path), format))


def sae_files(source: str, format: Format | None = None) -> list[Path]:
    """The files that make up a sparse autoencoder. Raises SaeError if they are not there."""
    folder = fetch_sae(source)
    if not folder.is_dir():
        raise SaeError(f"no folder '{folder}' for an SAE; set saes.source to one with its files")
    files = [folder / name for name in sparsify.FILES]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise SaeError(
            f"SAE folder '{folder}' lacks {' and '.join(missing)} (known format: sparsify, with "
            f"{' and '.join(sparsify.FILES)})"
        )
    return files


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
