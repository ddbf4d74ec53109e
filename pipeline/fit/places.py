"""Other places of a model that an SAE may be meant for: those near its own, or the same one in other layers."""

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
    names_of_places,
    parse_address,
    read_shapes,
    resolve_hookpoint,
    written_hookpoint,
)


class Place(NamedTuple):
    """What is read and what should be reconstructed (the same, except for a transcoder).

    `name` is the hookpoint as a config would write it.
    """

    name: str
    reads: Hookpoint
    target: Hookpoint


def own_place(subject: SubjectConfig, sae: SaeConfig, coder: SparseCoder) -> Place:
    """The place that the config names. Raises SubjectError if the model does not have it."""
    reads = resolve_hookpoint(subject, sae.hookpoint, coder.reads, centred=sae.centred)
    target = reads
    if coder.transcodes:
        target = written_hookpoint(subject, sae.hookpoint, coder.reads, transcodes=True, target=coder.target)
    return Place(sae.hookpoint, reads, target)


def places_around(subject: SubjectConfig, coder: SparseCoder, own: Place) -> list[Place]:
    """The other side of the module, the same module one layer up and down, and every place in the layer."""
    address = parse_address(own.name)
    layer = address.layer if address else layer_of(own.reads)
    if layer is None or layer_of(own.reads) is None:
        return _distinct(subject, coder, own, [*_found(subject, ("resid_pre.0", "resid_post.0"))])
    names = names_of_places(subject)
    nearby = [place for place in names if layer_of(place) == layer]
    residual = _found(subject, (f"resid_pre.{layer}", f"resid_post.{layer + 1}"))
    modules = [_in_layer(own.reads, number) for number in (layer, layer - 1, layer + 1)]
    sides = [Hookpoint(place.module, side) for place in modules for side in get_args(Side)]
    return _distinct(subject, coder, own, [*residual, *nearby, *modules, *sides])


def places_everywhere(subject: SubjectConfig, coder: SparseCoder, own: Place) -> list[Place]:
    """The same module and the residual stream, in every layer."""
    found = list(_found(subject, (f"resid_post.{layer}" for layer in count())))
    if layer_of(own.reads) is not None:
        others = (_in_layer(own.reads, layer) for layer in count())
        found += takewhile(lambda place: find_hookpoint(subject, place.module) is not None, others)
    return _distinct(subject, coder, own, found)


def _distinct(
    subject: SubjectConfig, coder: SparseCoder, own: Place, hookpoints: Iterable[Hookpoint]
) -> list[Place]:
    """Those of the places that exist and are as wide as the coder's input, each once, without the config's own."""
    plain = own.reads._replace(centred=False)
    there = [each for each in dict.fromkeys(hookpoints) if find_hookpoint(subject, each.module) is not None]
    read = read_shapes(subject, [plain, *there])
    names, seen = names_of_places(subject), {id(read[plain])}
    places = []
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
        places.append(Place(name, reads, target))
    return places


def _target(own: Place, reads: Hookpoint, names: Mapping[Hookpoint, str]) -> Hookpoint:
    """What a transcoder that reads another place should reconstruct: its own target, shifted by as many layers.

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
    """The places with these names, up to the first that does not exist."""
    for name in names:
        if (found := find_hookpoint(subject, name)) is None:
            return
        yield found


def _in_layer(hookpoint: Hookpoint, layer: int) -> Hookpoint:
    """The same module in another layer, which may not exist."""
    return hookpoint._replace(module=re.sub(r"\.\d+(?=\.|$)", f".{layer}", hookpoint.module, count=1))
