"""Where an SAE's files come from: a local path, the Hugging Face hub, or SAELens' registry."""

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import SaeError, nearest
from pipeline.sae.hub import download
from pipeline.shipped import find

HUB_PREFIX = "hf://"
REGISTRY_PREFIX = "saelens://"

DESCRIPTIVE = ("l0", "dataset_path", "model_name")
"""What SAELens' registry says about an SAE but no number depends on. Left out of the SAE's hash, so that the
registry may correct it."""


@dataclass(frozen=True)
class Source:
    """Local files.

    Attributes:
        path: A folder or a file.
        revision: Their commit on the hub; None if they are not from there.
        overrides: What SAELens' registry says about them, by SAELens' config keys.
        model: The subject model in that registry; None if they were not named through it.
    """

    path: Path
    revision: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None


def fetch(source: str, patterns: Sequence[str] = (), unreadable: Mapping[str, str] | None = None) -> Source:
    """The files of a source, made local: those on the hub are downloaded into the hub's own cache.

    Args:
        source: A path, `hf://OWNER/REPO[@REVISION][/PATH]` or `saelens://RELEASE/ID`.
        patterns: Names or patterns of an SAE's files relative to their folder, to be fetched from the hub.
        unreadable: Patterns of files that cannot be read and are not fetched, each with what they are, in words.

    Raises:
        SaeError: The hub cannot be reached or has no such files, or the registry does not list the SAE.
    """
    fetched = (tuple(patterns), tuple((unreadable or {}).items()))
    if source.startswith(REGISTRY_PREFIX):
        repository, path, overrides, model = _look_up(source)
        root = download(repository, None, path, *fetched)
        return Source(root / path, root.name, overrides, model)
    if source.startswith(HUB_PREFIX):
        repository, revision, path = split_hub(source)
        root = download(repository, revision, path, *fetched)
        return Source(root / path, root.name)
    if "://" in source:
        raise SaeError(f"SAE '{source}' is at a URL: {_instead_of(source)}")
    return Source(find(source))


def _instead_of(url: str) -> str:
    """What to write instead of a URL; for the page of a repository on the hub, its address."""
    page = re.match(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([^/]+/[^/?#]+)([^?#]*)", url)
    if page is None:
        return "download it, or name its repository on the hub as hf://OWNER/REPO/PATH"
    within = re.match(r"/(?:tree|blob|resolve|raw)/([^/]+)(.*)", page[2])
    revision, path = within.groups() if within else ("main", "")
    return f"write hf://{page[1]}{'' if revision == 'main' else f'@{revision}'}{path.rstrip('/')}"


def split_hub(source: str) -> tuple[str, str | None, str]:
    """Repository, revision and path (may be empty) of `hf://OWNER/REPO[@REVISION][/PATH]`."""
    owner, _, rest = source.removeprefix(HUB_PREFIX).partition("/")
    name, _, path = rest.partition("/")
    name, _, revision = name.partition("@")
    path = path.strip("/")
    if not (owner and name):
        raise SaeError(f"'{source}' names no repository on the hub; write hf://OWNER/REPO[@REVISION]/PATH")
    return f"{owner}/{name}", revision or None, path


def _look_up(source: str) -> tuple[str, str, dict[str, Any], str | None]:
    """Repository, path, overrides and subject model of `saelens://RELEASE/ID`."""
    release, _, sae_id = source.removeprefix(REGISTRY_PREFIX).partition("/")
    if not (release and sae_id):
        raise SaeError(f"'{source}' names no SAE of SAELens' registry; write saelens://RELEASE/ID")
    registry = _registry(source)
    if release not in registry:
        raise SaeError(f"SAELens' registry has no release '{release}'; nearest: {nearest(release, registry)}")
    entry = registry[release]
    saes = {str(each["id"]): each for each in entry["saes"]}
    if sae_id not in saes:
        raise SaeError(f"release '{release}' of SAELens has no SAE '{sae_id}'; nearest: {nearest(sae_id, saes)}")
    if entry.get("conversion_func") == _LAYER_OF_CLT:
        raise SaeError(f"'{source}' is a layer of a cross-layer transcoder, which also writes to later layers")
    own = saes[sae_id]
    overrides = {**(entry.get("config_overrides") or {})}
    overrides |= {key: own[key] for key in ("norm_scaling_factor", "l0") if own.get(key)}
    return str(entry["repo_id"]), str(own["path"]), overrides, entry.get("model")


_LAYER_OF_CLT = "mntss_clt_layer_transcoder"
"""The loader of releases whose paths are layer numbers instead of folders."""


def _registry(source: str) -> dict[str, Any]:
    """SAELens' list of releases, read from the installed package without importing it."""
    spec = importlib.util.find_spec("sae_lens")
    if spec is None or spec.origin is None:
        raise SaeError(
            f"'{source}' needs SAELens' registry, which is not installed; install sae-lens, or name the "
            "repository as hf://OWNER/REPO/PATH"
        )
    return _read_registry(Path(spec.origin).parent / "pretrained_saes.yaml")


@cache
def _read_registry(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            registry: dict[str, Any] = yaml.load(file, Loader=_LOADER)  # noqa: S506 (a safe loader, in C)
    except (OSError, yaml.YAMLError) as error:
        raise SaeError(f"SAELens' registry '{path}' cannot be read: {str(error).partition(chr(10))[0]}") from None
    return registry


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
