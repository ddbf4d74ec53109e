"""Loads a sparse autoencoder, with what its files say about its training."""

from dataclasses import replace
from pathlib import Path

from pipeline.config import Config, SaeConfig
from pipeline.errors import SaeError
from pipeline.sae import baselines
from pipeline.sae.coder import SparseCoder
from pipeline.sae.files import SaeFiles
from pipeline.sae.finding import find_files
from pipeline.sae.matching import known_formats
from pipeline.sae.training import Training, complete


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
    return _load(*find_files(str(path), format, hookpoint), hookpoint)


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
    name, files = find_files(source, None, None)
    trained_on = getattr(known_formats()[name], "trained_on", None)
    training = complete(Training() if trained_on is None else trained_on(files), files)
    return _load(name, files), training


def _load(name: str, files: SaeFiles, hookpoint: str | None = None) -> SparseCoder:
    """The coder in the files of a format, with what is known about it from elsewhere."""
    coder = known_formats()[name].load(files)
    return replace(
        coder,
        format=name,
        revision=files.revision,
        hookpoint=coder.hookpoint or hookpoint,
        declared_l0=coder.declared_l0 or coder.k or files.overrides.get("l0"),
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
