"""Announcing a download's size before a model is fetched from the hub."""

from collections.abc import Sequence
from pathlib import Path

import httpx2
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

from pipeline.progress import tell


def tell_download(name: str, files: Sequence[str], revision: str | None) -> None:
    """Announce the size of a model's files that are not downloaded yet, if any."""
    if Path(name).is_dir():
        return
    missing = [
        file for file in files if not isinstance(try_to_load_from_cache(name, file, revision=revision), str)
    ]
    try:
        sizes = [get_hf_file_metadata(hf_hub_url(name, file, revision=revision)).size or 0 for file in missing]
    except (OSError, httpx2.HTTPError):
        return  # downloading them will fail too, and say why
    if missing:
        tell(f"model '{name}': {sum(sizes) / 1e9:.1f} GB to download from the hub into its cache")
