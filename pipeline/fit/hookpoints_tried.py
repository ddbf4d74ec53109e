"""Other hookpoints that an SAE may be meant for: those near its own, or the same one in other layers."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count, takewhile
from typing import NamedTuple, get_args

from pipeline.config import SaeConfig, SubjectConfig
from pipeline.sae import SparseCoder
from pipeline.sae.coder import Side
from pipeline.subject.forward import Hookpoint
from pipeline.subject.hookpoints import (
    find_hookpoint,
    layer_of,
    names_of_hookpoints,
    parse_address,
    read_shapes,
    resolve_hookpoint,
    written_hookpoint,
)


class Hookpoints(NamedTuple):
    """What is read and what should be reconstructed (the same, except for a transcoder).

    `name` is the hookpoint as a config would write it.
    """

    name: str
    reads: Hookpoint
    target: Hookpoint


def own_hookpoints(subject: SubjectConfig, sae: SaeConfig, coder: SparseCoder) -> Hookpoints:
    """The hookpoint that the config names. Raises SubjectError if the model does not have it."""
    reads = resolve_hookpoint(subject, sae.hookpoint, coder.reads, centred=sae.centred)
    target = reads
    if coder.transcodes:
        target = written_hookpoint(subject, sae.hookpoint, coder.reads, transcodes=True, target=coder.target)
    return Hookpoints(sae.hookpoint, reads, target)


def nearby_hookpoints(subject: SubjectConfig, coder: SparseCoder, own: Hookpoints) -> list[Hookpoints]:
    """The other side of the module, the same module one layer up and down, and every hookpoint in the layer."""
    address = parse_address(own.name)
    layer = address.layer if address else layer_of(own.reads)
    if layer is None or layer_of(own.reads) is None:
        return _distinct(subject, coder, own, [*_found(subject, ("resid_pre.0", "resid_post.0"))])
    names = names_of_hookpoints(subject)
    nearby = [hookpoint for hookpoint in names if layer_of(hookpoint) == layer]
    residual = _found(subject, (f"resid_pre.{layer}", f"resid_post.{layer + 1}"))
    modules = [_in_layer(own.reads, number) for number in (layer, layer - 1, layer + 1)]
    sides = [Hookpoint(hookpoint.module, side) for hookpoint in modules for side in get_args(Side)]
    return _distinct(subject, coder, own, [*residual, *nearby, *modules, *sides])


def hookpoints_of_all_layers(subject: SubjectConfig, coder: SparseCoder, own: Hookpoints) -> list[Hookpoints]:
    """The same module and the residual stream, in every layer."""
    found = list(_found(subject, (f"resid_post.{layer}" for layer in count())))
    if layer_of(own.reads) is not None:
        others = (_in_layer(own.reads, layer) for layer in count())
        found += takewhile(lambda hookpoint: find_hookpoint(subject, hookpoint.module) is not None, others)
    return _distinct(subject, coder, own, found)


def named_instead(
    subject: SubjectConfig, coder: SparseCoder, tried: Iterable[Hookpoints]
) -> dict[Hookpoints, str | None]:
    """For each, the hookpoint that the coder's files or path name if that is another one of the model's."""
    plain = {each: each.reads._replace(centred=False) for each in tried}
    named = find_hookpoint(subject, coder.hookpoint, coder.reads) if coder.hookpoint else None
    if named is None:
        return dict.fromkeys(plain)
    read = read_shapes(subject, {named, *plain.values()})
    return {each: None if read[reads] is read[named] else coder.hookpoint for each, reads in plain.items()}


def _distinct(
    subject: SubjectConfig, coder: SparseCoder, own: Hookpoints, hookpoints: Iterable[Hookpoint]
) -> list[Hookpoints]:
    """Those that exist and are as wide as the coder's input, each once, without the config's own."""
    plain = own.reads._replace(centred=False)
    there = [each for each in dict.fromkeys(hookpoints) if find_hookpoint(subject, each.module) is not None]
    read = read_shapes(subject, [plain, *there])
    names, seen = names_of_hookpoints(subject), {id(read[plain])}
    found = []
    for hookpoint in there:
        value = read[hookpoint]
        if id(value) in seen or value.shape[-1] != coder.d_in or not value.is_floating_point():
            continue
        seen.add(id(value))
        reads = hookpoint._replace(centred=own.reads.centred)
        name = names.get(hookpoint, f"{hookpoint.module}.{hookpoint.reads}")
        target = _target(own, hookpoint, names) if coder.transcodes else reads
        if find_hookpoint(subject, target.module) is None:  # after the last layer
            continue
        found.append(Hookpoints(name, reads, target))
    return found


def _target(own: Hookpoints, reads: Hookpoint, names: Mapping[Hookpoint, str]) -> Hookpoint:
    """What a transcoder that reads elsewhere should reconstruct: its own target, shifted by as many layers.

    A residual state between two layers belongs to both; it counts for the same one of the two as the transcoder's
    own.
    """
    address, own_layer, target_layer = parse_address(own.name), layer_of(own.reads), layer_of(own.target)
    named_layer, layer = address.layer if address else own_layer, layer_of(reads)
    if layer is None or named_layer is None or target_layer is None:
        return own.target
    plain = own.reads._replace(centred=False)
    are_states = all(names.get(each, "").startswith("resid_post.") for each in (reads, plain))
    if are_states and own_layer is not None:
        layer += named_layer - own_layer
    return _in_layer(own.target, target_layer + layer - named_layer)


def _found(subject: SubjectConfig, names: Iterable[str]) -> Iterator[Hookpoint]:
    """The hookpoints with these names, up to the first that does not exist."""
    for name in names:
        if (found := find_hookpoint(subject, name)) is None:
            return
        yield found


def _in_layer(hookpoint: Hookpoint, layer: int) -> Hookpoint:
    """The same module in another layer, which may not exist."""
    return hookpoint._replace(module=re.sub(r"\.\d+(?=\.|$)", f".{layer}", hookpoint.module, count=1))
