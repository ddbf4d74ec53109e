"""Why a path holds no sparse autoencoder that can be read, and what to do instead, in words."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import some_of
from pipeline.sae.hub import named_elsewhere
from pipeline.sae.matching import Format, files_like, folders_inside, match
from pipeline.sae.sources import Source
from pipeline.texts.delphi import find_cache

_CHECKPOINT = "ae_*.pt"
"""Checkpoints of dictionary_learning."""

_NAMED = 6
"""The maximum number of names in a message."""

_OWN_SAE = "docs/your-sae.md shows how to write an SAE that you trained yourself"
_OTHERWISE = "; latentlake reads SAEs that encode each token by itself, at one hookpoint"
UNREADABLE = {
    "W_enc_*.safetensors": f"a cross-layer transcoder{_OTHERWISE}",
    "params_layer_*.safetensors": f"a crosscoder or a cross-layer transcoder{_OTHERWISE}",
    "latest_ckpt.safetensors": f"a temporal SAE{_OTHERWISE}",
    "sae*.safetensors.index.json": "saved in several files; save all of its tensors in one",
}
"""Published kinds that cannot be read, by a pattern of their files."""


def explain(path: Path, formats: Mapping[str, Format]) -> str:
    """Why a path holds no SAE of these formats: one line, or a line for the files of each format."""
    return (
        _checkpoint(path)
        or _cache(path)
        or _unreadable(path)
        or _folders_of_saes(path, formats)
        or _other_tensors(path, formats)
        or _several_saes(path, formats)
        or _named_elsewhere(path)
        or _missing_files(path, formats)
        or _of_no_format(path, formats)
    )


def _checkpoint(path: Path) -> str | None:
    """How to read a checkpoint of dictionary_learning, which has weights alone; None if it is none."""
    found = [path] if path.match(_CHECKPOINT) else files_like(path, _CHECKPOINT)
    if not found:
        return None
    return (
        f"'{found[0]}' is a checkpoint of dictionary_learning; copy it as ae.pt into a folder of its own, with "
        "the config.json of its training run"
    )


def _other_tensors(path: Path, formats: Mapping[str, Format]) -> str | None:
    """Why files named like those of some formats belong to none of them; None if there are no such files."""
    named = {name: files for name, each in formats.items() if (files := match(path, each, Source(path)))}
    if not named:
        return None
    files = next(iter(named.values()))
    content = files.tensors(files.weights_name).content
    within = next((name for name, each in content.items() if isinstance(each, Mapping) and each), None)
    held = some_of(sorted(content[within] if within else content), _NAMED) or "nothing"
    held = f"'{within}' with {held}" if within else held
    return f"SAE '{path}' has the file name of format {' or '.join(named)} but other tensors: {held}; {_OWN_SAE}"


def _cache(path: Path) -> str | None:
    if not find_cache(path):
        return None
    return (
        f"'{path}' is a delphi cache of activations, not an SAE; read it with a corpus source of kind delphi "
        "(make config FROM= writes the config)"
    )


def _unreadable(path: Path) -> str | None:
    for pattern, kind in UNREADABLE.items():
        if path.match(pattern) or files_like(path, pattern):
            return f"SAE '{path}' is {kind}"
    return None


def _several_saes(path: Path, formats: Mapping[str, Format]) -> str | None:
    for name, each in sorted(formats.items(), key=lambda item: -max(map(len, item[1].FILES))):  # specific first
        several = [file for pattern in each.FILES for file in files_like(path, pattern) if "*" in pattern]
        if len(several) > 1:
            kind = "files that may be SAEs" if hasattr(each, "is_format") else f"SAEs (format {name})"
            return f"'{path}' holds {len(several)} {kind}; name one, such as '{several[0].name}'"
    return None


def _folders_of_saes(path: Path, formats: Mapping[str, Format]) -> str | None:
    inside = folders_inside(path, formats)
    if not inside:
        return None
    name, kind = inside[0]
    saes = f"SAEs in {len(inside)} folders" if len(inside) > 1 else "an SAE in a folder"
    return f"'{path}' holds {saes}; name one, such as '{name}' ({kind})"


def _named_elsewhere(path: Path) -> str | None:
    other = named_elsewhere(path)
    return f"'{path}' {other}" if other else None


def _missing_files(path: Path, formats: Mapping[str, Format]) -> str | None:
    """The files missing of the formats that are most complete; for a single format, whatever is missing."""
    if not path.is_dir():
        return None
    lacking = {
        name: [pattern for pattern in each.FILES if not files_like(path, pattern)]
        for name, each in formats.items()
    }
    share = {name: len(files) / len(formats[name].FILES) for name, files in lacking.items()}
    least = min(share.values())
    if len(formats) > 1 and least == 1:
        return None
    nearest = [f"{' and '.join(lacking[name])} (format {name})" for name in lacking if share[name] == least]
    return f"SAE folder '{path}' lacks {' or '.join(nearest)}; it contains {_listed(path)}"


def _of_no_format(path: Path, formats: Mapping[str, Format]) -> str:
    found = f"; it contains {_listed(path)}" if path.is_dir() else ""
    width = max(map(len, formats))
    files = [f"  {name:<{width}}  {', '.join(each.FILES)}" for name, each in formats.items()]
    lines = [f"'{path}' is not an SAE of a known format{found}; {_OWN_SAE}", "The files of each format:", *files]
    return "\n".join(lines)


def _listed(folder: Path) -> str:
    """The names in a folder, cut short if there are many."""
    names = sorted(each.name + "/" * each.is_dir() for each in folder.iterdir())
    return some_of(names, _NAMED) or "nothing"
