"""Checks of SAEs: that they load, have the config's number of features, and fit their hookpoints."""

import logging
import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.config import Config, SaeConfig, SubjectConfig
from pipeline.errors import SaeError
from pipeline.sae import load_sae
from pipeline.sae.coder import Side
from pipeline.subject.forward import Hookpoint
from pipeline.subject.hookpoints import (
    find_hookpoint,
    hookpoint_widths,
    is_same_tensor,
    resolve_hookpoint,
    written_hookpoint,
)

_log = logging.getLogger(__name__)

_LIKE_A_PATH = re.compile(r"[A-Za-z_]+[._]\d+")
"""What a folder's name contains if it names a layer."""


class _Seen(NamedTuple):
    """What is kept of an SAE after its weights were loaded; the weights of several may not fit into memory.

    `reads` and `writes` are where the config's hookpoint has it read and write.
    """

    n_features: int
    d_in: int
    d_out: int
    side: Side
    own_hookpoint: str | None
    target: str | None
    reads: Hookpoint
    writes: Hookpoint


def check_saes(config: Config, saes: Sequence[SaeConfig]) -> None:
    """Check that SAEs load, one at a time, have as many features as the config says, and fit their hookpoints."""
    found = [_load(config.subject, sae) for sae in saes]
    hookpoints = {hookpoint for seen in found for hookpoint in (seen.reads, seen.writes)}
    widths = hookpoint_widths(config.subject, hookpoints) if saes else {}
    for sae, seen in zip(saes, found, strict=True):
        width, d_out = widths[seen.reads], widths[seen.writes]
        if seen.n_features != sae.n_features:
            raise SaeError(
                f"SAE '{sae.name}' has {seen.n_features} features, but the config says "
                f"n_features: {sae.n_features}"
            )
        if seen.d_in != width:
            raise SaeError(
                f"SAE '{sae.name}' expects activations of width {seen.d_in}, but hookpoint '{sae.hookpoint}' of "
                f"'{config.subject.model}' has width {width}"
            )
        if seen.d_out != d_out:
            raise SaeError(
                f"SAE '{sae.name}' is a transcoder whose output has width {seen.d_out}, but at hookpoint "
                f"'{sae.hookpoint}' of '{config.subject.model}' it is to reconstruct the {seen.writes.reads} of "
                f"'{seen.writes.module}', which has width {d_out}; correct saes.hookpoint"
            )
        _check_hookpoint(config, sae, seen)


def _load(subject: SubjectConfig, sae: SaeConfig) -> _Seen:
    coder = load_sae(sae)
    writes = written_hookpoint(
        subject, sae.hookpoint, coder.reads, transcodes=coder.transcodes, target=coder.target
    )
    return _Seen(
        n_features=coder.n_features,
        d_in=coder.d_in,
        d_out=coder.decoder.shape[1],
        side=coder.reads,
        own_hookpoint=coder.hookpoint,
        target=coder.target,
        reads=resolve_hookpoint(subject, sae.hookpoint, coder.reads),
        writes=writes,
    )


def _check_hookpoint(config: Config, sae: SaeConfig, seen: _Seen) -> None:
    """Compare the hookpoint in an SAE's files with the config's: at a wrong one its firings mean nothing."""
    own, target, which = seen.own_hookpoint, seen.target, f"SAE '{sae.name}' at '{sae.source}'"
    if target is not None and find_hookpoint(config.subject, target) is None:
        _log.warning(
            f"{which} names '{target}' as the hookpoint that it reconstructs, which '{config.subject.model}' does "
            f"not have; using the usual one for a transcoder that reads '{sae.hookpoint}'"
        )
    if own is None:
        return
    named = find_hookpoint(config.subject, own, seen.side)
    if named is None and _LIKE_A_PATH.search(own):
        _log.warning(
            f"{which} names hookpoint '{own}', which '{config.subject.model}' does not have; using "
            f"'{sae.hookpoint}' from the config"
        )
    if named is not None and not is_same_tensor(config.subject, named, seen.reads):
        differs = f"{which} names hookpoint '{own}', but the config says '{sae.hookpoint}'"
        if sae.fit == "check":
            raise SaeError(
                f"{differs}; correct saes.hookpoint, or set saes.fit: accept (or rename the SAE's folder) if the "
                "config is right"
            )
        _log.warning(f"{differs}; using the config's, because saes.fit is accept")
