"""Files of the Hugging Face hub, downloaded into the hub's own cache."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from pipeline.errors import SaeError, nearest

_SUFFIXES = (".json", ".yaml", ".safetensors", ".npz", ".pt", ".pth")
_RUN = "config.json"
"""That of a training run, which says the subject model; it lies beside an SAE's folder."""


@cache
def download(repository: str, revision: str | None, path: str, beside: tuple[str, ...]) -> Path:
    """Bring a folder or a file of a repository here; its folder's snapshot, named by the commit.

    Once a process, so that a push to the repository changes nothing between two steps of a run.

    Args:
        repository: OWNER/NAME.
        revision: A branch, tag or commit; None for the main branch.
        path: In the repository; empty for what lies at its root.
        beside: Names of files that belong to a file in the same folder, and are fetched with it.

    Raises:
        SaeError: The hub cannot be reached, or does not have it.
    """
    from huggingface_hub import snapshot_download

    source = f"hf://{repository}{f'@{revision}' if revision else ''}{f'/{path}' if path else ''}"
    wanted = _wanted(path, beside) if path else [name for name in _listed(repository, revision) if "/" not in name]
    try:
        root = Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    except Exception as error:  # noqa: BLE001 (the hub client raises many kinds)
        raise SaeError(f"SAE '{source}' cannot be fetched from the Hugging Face hub: {_why(error)}") from None
    if not (root / path).exists():
        files = _listed(repository, revision)
        folders = {str(folder) for file in files for folder in PurePosixPath(file).parents}
        known = nearest(path, [*sorted(folders - {"."}), *files])
        raise SaeError(f"repository '{repository}' has no '{path}'" + (f"; nearest: {known}" if known else ""))
    return root


def _wanted(path: str, beside: Sequence[str]) -> list[str]:
    """The patterns of what is fetched for a path: a file, or a folder and all in it."""
    parent = "" if "/" not in path else f"{path.rpartition('/')[0]}/"
    names = [f"{parent}{name}" for name in beside] if path.endswith(_SUFFIXES) else []
    return [path, f"{path}/*", *names, f"{parent}{_RUN}"]  # a folder may be named like a file


def _listed(repository: str, revision: str | None) -> list[str]:
    """The files of a repository; none where the hub does not say."""
    from huggingface_hub import HfApi

    try:
        return list(HfApi().list_repo_files(repository, revision=revision))
    except Exception:  # noqa: BLE001 (what is wrong is said by the download)
        return []


def _why(error: Exception) -> str:
    """What the hub's client means, and what to do."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    match error:
        case GatedRepoError():
            return "its repository is gated; accept its terms on huggingface.co, and put a token into HF_TOKEN"
        case RevisionNotFoundError():
            return "its repository has no such revision; write a branch, tag or commit after the @"
        case RepositoryNotFoundError():
            return "there is no such repository, or it is private (then put a token into HF_TOKEN)"
    return f"it needs a connection, or a local folder as saes.source ({type(error).__name__})"
