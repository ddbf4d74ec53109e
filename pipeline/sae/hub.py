"""Files of the Hugging Face hub, downloaded into the hub's own cache."""

from collections.abc import Sequence
from fnmatch import fnmatch
from functools import cache
from glob import escape
from pathlib import Path, PurePosixPath

import yaml

from pipeline.errors import SaeError, nearest, some_of

_SETTINGS = (".json", ".yaml")
_SUFFIXES = (*_SETTINGS, ".safetensors", ".npz", ".pt", ".pth")
_RUN = "config.json"
"""Config of a training run, beside an SAE's folder; it names the subject model."""

_NAMED = 6


@cache
def download(
    repository: str,
    revision: str | None,
    path: str,
    patterns: tuple[str, ...],
    unreadable: tuple[tuple[str, str], ...] = (),
) -> Path:
    """Download the files of an SAE and no others; returns the root of the snapshot, which is named by the commit.

    Cached for the process, so that a push to the repository changes nothing between two steps of a run.

    Args:
        repository: OWNER/NAME.
        revision: A branch, tag or commit; None for the main branch.
        path: A folder or a file of the repository; empty for the root.
        patterns: Names or patterns of an SAE's files relative to their folder. If `path` is a file, the files
            beside it are fetched only if they are listed by name, not by pattern.
        unreadable: Patterns of files that cannot be read, each with what they are, in words.

    Raises:
        SaeError: The hub cannot be reached, or has no readable SAE there.
    """
    source = f"hf://{repository}{f'@{revision}' if revision else ''}{f'/{path}' if path else ''}"
    names = [pattern for pattern in patterns if "*" not in pattern]
    beside = [_RUN, *(names if path.endswith(_SUFFIXES) else ())] if path else []
    others = [f"{path.rpartition('/')[0]}/{name}".removeprefix("/") for name in beside]
    below = f"{path}/" if path else ""
    own = [path, *(below + name for name in names)] if path else names  # a folder's name may look like a file's
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
    found = [below + each[0] for each in alike if len(each) == 1]  # several files would be several SAEs
    if found:
        return _fetch(source, repository, revision, [*own, *others, *found])
    if other := named_elsewhere(root / path):
        raise SaeError(f"'{source}' {other}")
    if inside:
        raise SaeError(
            f"'{source}' is not one SAE of a known format (docs/sae-formats.md): it contains "
            f"{some_of(inside, _NAMED)}; name the folder or file of one SAE"
        )
    if not (root / path).exists():
        files = _listed(repository, revision)
        folders = {str(folder) for file in files for folder in PurePosixPath(file).parents}
        known = nearest(path, [*sorted(folders - {"."}), *files])
        raise SaeError(f"repository '{repository}' has no '{path}'" + (f"; nearest: {known}" if known else ""))
    return root


def named_elsewhere(folder: Path) -> str | None:
    """What to do if a folder's config.yaml, one of circuit-tracer, only names SAEs of other repositories."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    listed = config.get("transcoders") if isinstance(config, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    return f"holds no SAE: its config.yaml names those of others; name one, such as '{first}'" if first else None


def _fetch(source: str, repository: str, revision: str | None, files: Sequence[str]) -> Path:
    """Download those of the files that exist. Never by patterns: the hub's `*` also matches slashes."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[*map(escape, files)]))
    except Exception as error:  # noqa: BLE001 (the hub client raises many kinds)
        raise SaeError(f"SAE '{source}' cannot be fetched from the Hugging Face hub: {_why(error)}") from None


def _names_in(repository: str, revision: str | None, path: str) -> list[str]:
    """The files and folders (with a slash) in a folder of a repository; empty if it is not one, or unknown."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFolder

    try:
        entries = [*HfApi().list_repo_tree(repository, path or None, revision=revision)]
    except Exception:  # noqa: BLE001 (the download reports what is wrong)
        return []
    return [PurePosixPath(each.path).name + "/" * isinstance(each, RepoFolder) for each in entries]


def _listed(repository: str, revision: str | None) -> list[str]:
    """The files of a repository; empty if the hub does not list them."""
    from huggingface_hub import HfApi

    try:
        return list(HfApi().list_repo_files(repository, revision=revision))
    except Exception:  # noqa: BLE001 (the download reports what is wrong)
        return []


def _why(error: Exception) -> str:
    """The meaning of an error of the hub's client, and what to do."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    match error:
        case GatedRepoError():
            return "the repository is gated; accept its terms on huggingface.co and set HF_TOKEN to a token"
        case RevisionNotFoundError():
            return "the repository has no such revision; write a branch, tag or commit after the @"
        case RepositoryNotFoundError():
            return "there is no such repository, or it is private (then set HF_TOKEN to a token)"
    return f"check the connection, or set saes.source to a local folder ({type(error).__name__})"
