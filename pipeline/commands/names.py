"""Names for an experiment and its SAEs, from their sources and hookpoints."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from pipeline.sae.sources import HUB_PREFIX, REGISTRY_PREFIX, split_hub

_LONGEST_NAME = 90
"""Names are limited to 100 characters, with room here for the numbers that tell equal names apart."""

_WEIGHTS = (".sae.pt", ".pt", ".pth", ".npz", ".safetensors")


def sae_names(sources: Sequence[str], hookpoints: Sequence[str]) -> list[str]:
    """The hookpoint of each SAE, if known and different; otherwise the parts in which the sources differ."""
    if all(hookpoints) and len(set(hookpoints)) == len(hookpoints):
        names = [_slug(hookpoint, "-") for hookpoint in hookpoints]
    else:
        parts = list(map(_parts, sources))
        shared = len(_shared(parts)) if len(parts) > 1 else 0
        names = [_slug("-".join(each[shared:]), "-") for each in parts]
    alike = Counter(name.lower() for name in names)
    return [name if alike[name.lower()] == 1 else f"{name}-{number}" for number, name in enumerate(names, 1)]


def experiment_name(sources: Sequence[str]) -> str:
    """A name for an experiment: the words that its sources share, and their number."""
    parts = [_parts(source) for source in sources]
    if len(parts) == 1:
        return _slug("_".join(parts[0]), "_")
    return _slug("_".join([*(_shared(parts) or parts[0][:1]), f"{len(parts)}_saes"]), "_")


def _shared(parts: Sequence[Sequence[str]]) -> list[str]:
    """The words that all begin with."""
    return [words[0] for words in takewhile(lambda words: len(set(words)) == 1, zip(*parts, strict=False))]


def _parts(source: str) -> list[str]:
    """The words of a source: repository or release and path, or the last folders of a local path."""
    for ending in _WEIGHTS:
        source = source.removesuffix(ending)
    if source.startswith(HUB_PREFIX):
        repository, _, path = split_hub(source)
        return [repository.partition("/")[2], *filter(None, path.split("/"))]
    if source.startswith(REGISTRY_PREFIX):
        return source.removeprefix(REGISTRY_PREFIX).split("/")
    return list(Path(source).expanduser().absolute().parts[-3:])


def _slug(text: str, between: str) -> str:
    allowed = "A-Za-z0-9" if between == "_" else "A-Za-z0-9._"
    return re.sub(rf"[^{allowed}]+", between, text).strip("-._")[:_LONGEST_NAME].rstrip("-._") or "sae"
