"""Finds a sparse autoencoder's files, recognises their format by names and contents, and loads them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pipeline.config import Config, SaeConfig
from pipeline.errors import SaeError
from pipeline.plugins import find_plugin, find_plugins
from pipeline.sae import baselines
from pipeline.sae.coder import SparseCoder
from pipeline.sae.files import SaeFiles
from pipeline.sae.hub import named_elsewhere
from pipeline.sae.sources import Source, fetch
from pipeline.sae.training import Training, complete
from pipeline.shipped import find
from pipeline.texts.delphi import find_cache

_CHECKPOINT = "ae_*.pt"
"""Checkpoints of dictionary_learning."""


class Format(Protocol):
    """A plug-in: a module of `pipeline/sae/formats`.

    It may also have:

    - `OPTIONAL_FILES`: names of files that may be absent;
    - `NEARBY_FILES`: names of files in its folder that only `outside` reads, to be fetched from the hub, too;
    - `is_format(files: SaeFiles) -> bool`: recognises the format by contents, if others have the same names;
    - `trained_on(files: SaeFiles) -> Training`: what files and path say about the subject model and its contexts;
    - `outside(files: SaeFiles) -> Mapping[str, Any]`: what `load` depends on apart from these files.

    Attributes:
        FILES: Names or patterns of an SAE's files relative to its folder, by which the format is recognised.
    """

    FILES: Sequence[str]

    def load(self, files: SaeFiles) -> SparseCoder:
        """The coder in these files, float32. Raises SaeError if they are damaged or contradict each other."""
        ...


def load_sparse_coder(path: Path | str, format: str | None = None, hookpoint: str | None = None) -> SparseCoder:
    """Load a sparse autoencoder, in float32; its attribute `format` is the format that was recognised.

    Args:
        path: A folder or a file, `hf://OWNER/REPO[@REVISION][/PATH]` on the hub, `saelens://RELEASE/ID`, or one of
            the baselines (`baseline://…`).
        format: The format of its files; recognised from their names and contents if left out.
        hookpoint: Its hookpoint. If `path` has a folder of this name, that folder is loaded; a coder whose files
            name no hookpoint gets this one.

    Raises:
        SaeError: The files are missing, damaged, of an unknown or another format, or contradict each other.
    """
    if str(path).startswith(baselines.PREFIX):
        return baselines.load_baseline(str(path), load_sparse_coder)
    return _load(*_find_files(str(path), format, hookpoint), hookpoint)


def load_with_training(source: str) -> tuple[SparseCoder, Training]:
    """A sparse autoencoder, and what its files, their path and SAELens' registry say about its training.

    Its files are fetched once. A random baseline has the training of the SAE whose shape it takes. Raises SaeError
    as `load_sparse_coder` does.
    """
    if source.startswith(baselines.PREFIX):
        like = baselines.like_of(source)
        if like is None:
            return load_sparse_coder(source), Training()
        coder, training = load_with_training(like)
        return baselines.load_baseline(source, lambda _: coder), training
    name, files = _find_files(source, None, None)
    trained_on = getattr(_formats()[name], "trained_on", None)
    training = complete(Training() if trained_on is None else trained_on(files), files)
    return _load(name, files), training


def _load(name: str, files: SaeFiles, hookpoint: str | None = None) -> SparseCoder:
    """The coder in the files of a format, with what is known about it from elsewhere."""
    coder = _formats()[name].load(files)
    return replace(
        coder,
        format=name,
        revision=files.revision,
        hookpoint=coder.hookpoint or hookpoint,
        declared_l0=coder.declared_l0 or files.overrides.get("l0"),
    )


def load_sae(sae: SaeConfig) -> SparseCoder:
    """The SAE of a config. Raises SaeError as `load_sparse_coder` does, or if the config names no weights."""
    if sae.source is None:
        raise SaeError(
            f"SAE '{sae.name}' has no weights here, because its firings are read from a cache; set saes.source to "
            "its folder or file"
        )
    return load_sparse_coder(sae.source, sae.format)


def check_weights(config: Config, what: str) -> None:
    """Raise SaeError if `what` needs the weights of an SAE of which only firings are available."""
    for sae in config.saes:
        if sae.source is None:
            raise SaeError(
                f"{what} needs the weights of SAE '{sae.name}', of which only firings are available; set "
                f"saes.source to its folder or file, or leave {what} out"
            )


def sae_files(source: str, format: str | None = None) -> SaeFiles:
    """The files of a sparse autoencoder or a baseline. Raises SaeError if they are missing."""
    if source.startswith(baselines.PREFIX):
        definition = source.removeprefix(baselines.PREFIX)
        like = baselines.like_of(source)
        files = sae_files(like) if like else SaeFiles(Path(), {})
        return replace(files, overrides={**files.overrides, "baseline": definition})
    return _find_files(source, format, None)[1]


def _find_files(source: str, format: str | None, hookpoint: str | None) -> tuple[str, SaeFiles]:
    """The format of a source, and its files. If it is not the requested format, the error names the actual one."""
    formats = _formats()
    if format is not None:
        formats = {find_plugin("formats", format).name: formats[format], **formats}  # tried first
    wanted = {name for each in formats.values() for name in (*_patterns(each), *_nearby(each))}
    fetched = fetch(source, sorted(wanted), _UNREADABLE)
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
        if (files := _match(path, each, fetched)) is not None:
            whole[name] = files
    for name, files in whole.items():
        is_format = getattr(formats[name], "is_format", None)
        if is_format is None or is_format(files):
            if format not in {None, name}:
                raise SaeError(f"SAE '{path}' is of format {name}, not {format}; set saes.format to {name}")
            return name, _with_outside(files, formats[name])
    if format in whole:
        return format, whole[format]  # its `load` reports what is wrong
    raise SaeError(_explain(path, {format: formats[format]} if format else formats))


def _with_outside(files: SaeFiles, format: Format) -> SaeFiles:
    """The files with what their format reads from elsewhere."""
    outside = getattr(format, "outside", None)
    return files if outside is None else replace(files, outside=outside(files))


def saes_inside(source: str) -> list[str]:
    """The sources of the SAEs in the subfolders of a local folder; empty if it is an SAE, or not a folder."""
    folder = find(source)
    if not folder.is_dir() or any(_is_sae(folder, each) for each in _formats().values()):
        return []
    return [str(Path(source) / name) for name, _ in _folders_inside(folder, _formats())]


def _match(path: Path, format: Format, fetched: Source) -> SaeFiles | None:
    """The files of a format at a path, either their folder or one of them; None if any is missing."""
    folder, given = path, ""
    if path.is_file():
        given = next((pattern for pattern in format.FILES if path.match(pattern)), "")
        if not given:
            return None
        folder = path.parents[given.count("/")]
    paths = {}
    for pattern in _patterns(format):
        found = [path] if pattern == given else _files(folder, pattern)
        if len(found) == 1:
            paths[pattern] = found[0]
        elif pattern in format.FILES:
            return None
    return SaeFiles(folder, paths, fetched.overrides, fetched.revision, fetched.model)


def _is_sae(folder: Path, format: Format) -> bool:
    """Whether a folder holds an SAE of a format: its files and, if others have such files, too, its tensors."""
    files, is_format = _match(folder, format, Source(folder)), getattr(format, "is_format", None)
    if files is None or is_format is None:
        return files is not None
    try:
        return bool(is_format(files))
    except SaeError:  # such as the state of an optimizer
        return False


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.is_file())


def _is_checkpoint(path: Path, formats: Mapping[str, Format]) -> str | None:
    """How to read a checkpoint of dictionary_learning, which has weights alone; None if it is none."""
    found = [path] if path.match(_CHECKPOINT) else _files(path, _CHECKPOINT)
    if not found:
        return None
    return (
        f"'{found[0]}' is a checkpoint of dictionary_learning; copy it as ae.pt into a folder of its own, with "
        "the config.json of its training run"
    )


def _is_unlike(path: Path, formats: Mapping[str, Format]) -> str | None:
    """Why files named like those of some formats belong to none of them; None if there are no such files."""
    named = {name: files for name, each in formats.items() if (files := _match(path, each, Source(path)))}
    for files in named.values():
        content = files.tensors(files.weights_name).content
        within = next((name for name, each in content.items() if isinstance(each, Mapping) and each), None)
        held = f"'{within}' with {_some_of(sorted(content[within]))}" if within else _some_of(sorted(content))
        return (
            f"SAE '{path}' has the file name of format {' or '.join(named)} but other tensors: {held}; {_OWN_SAE}"
        )
    return None


def _explain(path: Path, formats: Mapping[str, Format]) -> str:
    """Why a path holds no SAE of these formats: one line, or a line for the files of each format."""
    answers = (ask(path, formats) for ask in _ASKED)
    return next((answer for answer in answers if answer), "") or _of_no_format(path, formats)


def _is_cache(path: Path, formats: Mapping[str, Format]) -> str | None:
    if not find_cache(path):
        return None
    return (
        f"'{path}' is a delphi cache of activations, not an SAE; read it with a corpus source of kind delphi "
        "(make config FROM= writes the config)"
    )


def _is_unreadable(path: Path, formats: Mapping[str, Format]) -> str | None:
    for pattern, kind in _UNREADABLE.items():
        if path.match(pattern) or _files(path, pattern):
            return f"SAE '{path}' is {kind}"
    return None


def _holds_several(path: Path, formats: Mapping[str, Format]) -> str | None:
    for name, each in sorted(formats.items(), key=lambda item: -max(map(len, item[1].FILES))):  # specific first
        several = [file for pattern in each.FILES for file in _files(path, pattern) if "*" in pattern]
        if len(several) > 1:
            kind = "files that may be SAEs" if hasattr(each, "is_format") else f"SAEs (format {name})"
            return f"'{path}' holds {len(several)} {kind}; name one, such as '{several[0].name}'"
    return None


def _holds_folders(path: Path, formats: Mapping[str, Format]) -> str | None:
    inside = _folders_inside(path, formats)
    if not inside:
        return None
    name, kind = inside[0]
    saes = f"SAEs in {len(inside)} folders" if len(inside) > 1 else "an SAE in a folder"
    return f"'{path}' holds {saes}; name one, such as '{name}' ({kind})"


def _names_others(path: Path, formats: Mapping[str, Format]) -> str | None:
    other = named_elsewhere(path)
    return f"'{path}' {other}" if other else None


def _lacks_files(path: Path, formats: Mapping[str, Format]) -> str | None:
    """The files missing of the formats that are most complete; for a single format, whatever is missing."""
    if not path.is_dir():
        return None
    lacking = {
        name: [pattern for pattern in each.FILES if not _files(path, pattern)] for name, each in formats.items()
    }
    share = {name: len(files) / len(formats[name].FILES) for name, files in lacking.items()}
    least = min(share.values())
    if len(formats) > 1 and least == 1:
        return None
    nearest = [f"{' and '.join(lacking[name])} (format {name})" for name in lacking if share[name] == least]
    return f"SAE folder '{path}' lacks {' or '.join(nearest)}; it contains {_listed(path)}"


_ASKED = (
    *(_is_checkpoint, _is_cache, _is_unreadable, _holds_folders),
    *(_is_unlike, _holds_several, _names_others, _lacks_files),
)
"""What may be wrong with a path; the first that applies is reported."""


def _of_no_format(path: Path, formats: Mapping[str, Format]) -> str:
    found = f"; it contains {_listed(path)}" if path.is_dir() else ""
    width = max(map(len, formats))
    files = [f"  {name:<{width}}  {', '.join(each.FILES)}" for name, each in formats.items()]
    lines = [f"'{path}' is not an SAE of a known format{found}; {_OWN_SAE}", "The files of each format:", *files]
    return "\n".join(lines)


def _folders_inside(path: Path, formats: Mapping[str, Format]) -> list[tuple[str, str]]:
    """The subfolders that hold an SAE, by name, each with the SAE's format."""
    found: dict[str, str] = {}
    for folder in filter(Path.is_dir, sorted(path.glob("*"))):
        for name, each in formats.items():
            if _is_sae(folder, each):
                found.setdefault(folder.name, name)
    return [*found.items()]


def _listed(folder: Path) -> str:
    """The names in a folder, cut short if there are many."""
    return _some_of(sorted(each.name + "/" * each.is_dir() for each in folder.iterdir()))


def _some_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more if names else "nothing"


_NAMED = 6
_OWN_SAE = "docs/your-sae.md shows how to write an SAE that you trained yourself"


_OTHERWISE = "; latentlake reads SAEs that encode each token by itself, at one hookpoint"
_UNREADABLE = {
    "W_enc_*.safetensors": f"a cross-layer transcoder{_OTHERWISE}",
    "params_layer_*.safetensors": f"a crosscoder or a cross-layer transcoder{_OTHERWISE}",
    "latest_ckpt.safetensors": f"a temporal SAE{_OTHERWISE}",
    "sae*.safetensors.index.json": "saved in several files; save all of its tensors in one",
}
"""Published kinds that cannot be read, by a pattern of their files."""


def _formats() -> dict[str, Format]:
    return {name: plugin.load() for name, plugin in find_plugins("formats").items()}


def _patterns(format: Format) -> list[str]:
    return [*format.FILES, *getattr(format, "OPTIONAL_FILES", ())]


def _nearby(format: Format) -> Sequence[str]:
    names: Sequence[str] = getattr(format, "NEARBY_FILES", ())
    return names
