"""Files of the Hugging Face hub, downloaded into the hub's own cache."""

from collections.abc import Sequence
from fnmatch import fnmatch
from functools import cache
from glob import escape
from pathlib import Path, PurePosixPath

from pipeline.errors import SaeError, nearest

_SETTINGS = (".json", ".yaml")
_SUFFIXES = (*_SETTINGS, ".safetensors", ".npz", ".pt", ".pth")
_RUN = "config.json"
"""That of a training run, which says the subject model; it lies beside an SAE's folder."""

_NAMED = 6


@cache
def download(
    repository: str,
    revision: str | None,
    path: str,
    patterns: tuple[str, ...],
    unreadable: tuple[tuple[str, str], ...] = (),
) -> Path:
    """Bring the files of an SAE here, and no others; its folder's snapshot, named by the commit.

    Once a process, so that a push to the repository changes nothing between two steps of a run.

    Args:
        repository: OWNER/NAME.
        revision: A branch, tag or commit; None for the main branch.
        path: A folder or a file of the repository; empty for the root.
        patterns: Names, or patterns, that files of SAEs have below their folder; of what lies beside a file, those
            that are whole names are fetched.
        unreadable: Patterns of the files of what cannot be read, and what that is in words.

    Raises:
        SaeError: The hub cannot be reached, or does not have it.
    """
    source = f"hf://{repository}{f'@{revision}' if revision else ''}{f'/{path}' if path else ''}"
    names = [pattern for pattern in patterns if "*" not in pattern]
    beside = [_RUN, *(names if path.endswith(_SUFFIXES) else ())] if path else []
    others = [f"{path.rpartition('/')[0]}/{name}".removeprefix("/") for name in beside]
    below = f"{path}/" if path else ""
    own = [path, *(below + name for name in names)] if path else names  # a folder may be named as a file
    for pattern, kind in unreadable:
        if fnmatch(PurePosixPath(path).name, pattern):
            raise SaeError(f"SAE '{source}' is {kind}")
    root = _fetch(source, repository, revision, [*own, *others])
    if any((root / name).is_file() for name in own if not name.endswith(_SETTINGS)):
        return root
    inside = _names_in(repository, revision, path)
    for pattern, kind in unreadable:
        if any(fnmatch(name, pattern) for name in inside):
            raise SaeError(f"SAE '{source}' is {kind}")
    alike = [[name for name in inside if fnmatch(name, each)] for each in patterns if "*" in each]
    found = [below + each[0] for each in alike if len(each) == 1]  # several are several SAEs
    if found:
        return _fetch(source, repository, revision, [*own, *others, *found])
    if inside:
        more = f" and {len(inside) - _NAMED} more" if len(inside) > _NAMED else ""
        raise SaeError(
            f"'{source}' is not one SAE of a known format (docs/sae-formats.md): in it there is "
            f"{', '.join(inside[:_NAMED])}{more}; name the folder or the file of one SAE"
        )
    if not (root / path).exists():
        files = _listed(repository, revision)
        folders = {str(folder) for file in files for folder in PurePosixPath(file).parents}
        known = nearest(path, [*sorted(folders - {"."}), *files])
        raise SaeError(f"repository '{repository}' has no '{path}'" + (f"; nearest: {known}" if known else ""))
    return root


def _fetch(source: str, repository: str, revision: str | None, files: Sequence[str]) -> Path:
    """Download files, as far as they are there. Never by patterns: the hub's `*` goes through folders."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[*map(escape, files)]))
    except Exception as error:  # noqa: BLE001 (the hub client raises many kinds)
        raise SaeError(f"SAE '{source}' cannot be fetched from the Hugging Face hub: {_why(error)}") from None


def _names_in(repository: str, revision: str | None, path: str) -> list[str]:
    """The files and folders (with a slash) in a folder of a repository; none where it is none, or unknown."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFolder

    try:
        entries = [*HfApi().list_repo_tree(repository, path or None, revision=revision)]
    except Exception:  # noqa: BLE001 (what is wrong is said by the download)
        return []
    return [PurePosixPath(each.path).name + "/" * isinstance(each, RepoFolder) for each in entries]


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
