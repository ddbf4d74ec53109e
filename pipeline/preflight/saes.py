"""Checks of SAEs: that they load, have the config's number of features, and fit their hookpoints."""

import logging
import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.config import Config, SaeConfig
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
    """What is kept of an SAE after its weights were loaded; the weights of several may not fit into memory."""

    n_features: int
    d_in: int
    d_out: int
    transcodes: bool
    reads: Side
    own_hookpoint: str | None
    target: str | None


def check_saes(config: Config, saes: Sequence[SaeConfig]) -> None:
    """Check that SAEs load, one at a time, have as many features as the config says, and fit their hookpoints."""
    found = {sae.name: _load(sae) for sae in saes}
    read, written = {}, {}
    for sae in saes:
        seen = found[sae.name]
        read[sae.name] = resolve_hookpoint(config.subject, sae.hookpoint, seen.reads)
        written[sae.name] = written_hookpoint(
            config.subject, sae.hookpoint, seen.reads, transcodes=seen.transcodes, target=seen.target
        )
    widths = hookpoint_widths(config.subject, {*read.values(), *written.values()}) if saes else {}
    for sae in saes:
        seen, width, d_out = found[sae.name], widths[read[sae.name]], widths[written[sae.name]]
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
            target = written[sae.name]
            raise SaeError(
                f"SAE '{sae.name}' is a transcoder whose output has width {seen.d_out}, but at hookpoint "
                f"'{sae.hookpoint}' of '{config.subject.model}' it is to reconstruct the {target.reads} of "
                f"'{target.module}', which has width {d_out}; correct saes.hookpoint"
            )
        _check_hookpoint(config, sae, seen, read[sae.name])


def _load(sae: SaeConfig) -> _Seen:
    coder = load_sae(sae)
    d_out = coder.decoder.shape[1]
    return _Seen(coder.n_features, coder.d_in, d_out, coder.transcodes, coder.reads, coder.hookpoint, coder.target)


def _check_hookpoint(config: Config, sae: SaeConfig, seen: _Seen, hookpoint: Hookpoint) -> None:
    """Compare the hookpoint in an SAE's files with the config's: at a wrong one its firings mean nothing."""
    own, target = seen.own_hookpoint, seen.target
    if target is not None and find_hookpoint(config.subject, target) is None:
        _log.warning(
            "SAE '%s' at '%s' names '%s' as the hookpoint that it reconstructs, which '%s' does not have; using "
            "the usual one for a transcoder that reads '%s'",
            sae.name,
            sae.source,
            target,
            config.subject.model,
            sae.hookpoint,
        )
    if own is None:
        return
    named = find_hookpoint(config.subject, own, seen.reads)
    if named is None and _LIKE_A_PATH.search(own):
        _log.warning(
            "SAE '%s' at '%s' names hookpoint '%s', which '%s' does not have; using '%s' from the config",
            sae.name,
            sae.source,
            own,
            config.subject.model,
            sae.hookpoint,
        )
    if named is not None and not is_same_tensor(config.subject, named, hookpoint):
        differs = (
            f"SAE '{sae.name}' at '{sae.source}' names hookpoint '{own}', but the config says '{sae.hookpoint}'"
        )
        if sae.fit == "check":
            raise SaeError(
                f"{differs}; correct saes.hookpoint, or set saes.fit: accept (or rename the SAE's folder) if the "
                "config is right"
            )
        _log.warning("%s; using the config's, because saes.fit is accept", differs)
