"""Resolving a hookpoint's name in a model, without loading a weight.

    layers.9.mlp             a module path below the base model: the module's output (a transcoder's: its input)
    layers.9.mlp.input       the same with its side
    blocks.9.hook_mlp_out    a name from TransformerLens and SAELens
    mlp_out.9                the short name of the same hookpoint

A module path means that module's input or output, whatever it is. The other two mean the same in every family, in
modules that differ by family (see `families`).
"""

import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, NamedTuple, get_args

import torch
from transformers import AutoModel

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError, nearest
from pipeline.models.load import load_subject_config
from pipeline.sae.coder import Side
from pipeline.subject.families import Family, SiteName, family_of
from pipeline.subject.forward import Hookpoint, reading

_LENS: dict[str, tuple[SiteName, ...]] = {
    "hook_resid_pre": ("resid_pre",),
    "hook_resid_mid": ("resid_mid",),
    "hook_resid_post": ("resid_post",),
    "ln1.hook_normalized": ("attn_rms", "attn_in"),  # an RMSNorm's before its gain, a LayerNorm's after it
    "attn.hook_z": ("attn_z",),
    "hook_attn_out": ("attn_out",),
    "hook_mlp_in": ("resid_mid", "resid_pre"),  # the residual itself, before the MLP's norm
    "ln2.hook_normalized": ("mlp_rms", "mlp_in"),
    "mlp.hook_in": ("mlp_in",),
    "mlp.hook_post": ("mlp_act",),
    "mlp.hook_out": ("mlp_raw", "mlp_out"),
    "hook_mlp_out": ("mlp_out",),
}
"""TransformerLens' names below `blocks.<layer>`; of several sites, the first that the family has."""


class Address(NamedTuple):
    """A hookpoint named without a module path: the first of `sites` that the model has, in a layer."""

    sites: tuple[SiteName, ...]
    layer: int


def parse_address(name: str) -> Address | None:
    """A name parsed as an address, in either spelling; None if it is not one."""
    if name in {"embed", "hook_embed"}:
        return Address(("embed",), 0)
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        layer, hook = found.groups()
        return Address(_LENS[hook], int(layer)) if hook in _LENS else None
    site, _, layer = name.rpartition(".")
    is_known = site in get_args(SiteName) and site != "embed" and layer.isdecimal()
    return Address((site,), int(layer)) if is_known else None  # type: ignore[arg-type]


def resolve_hookpoint(
    subject: SubjectConfig, name: str, reads: Side = "output", *, centred: bool = False
) -> Hookpoint:
    """The module, and its input or output, that a name means in a model.

    Args:
        subject: The model.
        name: A module path, with or without `.input` or `.output`, or an address.
        reads: Input or output, for a module path that does not name it.
        centred: Whether the values are centred.

    Raises:
        SubjectError: The model cannot be found, or has no such hookpoint; the nearest ones are named.
    """
    hookpoint = find_hookpoint(subject, name, reads)
    if hookpoint is not None:
        return hookpoint._replace(centred=centred)
    layout = _layout(subject)
    address = parse_address(name)
    if address and address.sites == ("resid_mid",) and layout.family and "resid_mid" not in layout.family.sites:
        raise SubjectError(
            f"hookpoint '{name}' does not exist in '{subject.model}': its attention and MLP run in parallel, so "
            "the residual has no state between them"
        )
    if address and layout.family is None:
        raise SubjectError(
            f"hookpoint '{name}' cannot be found in '{subject.model}': latentlake does not know the structure "
            f"of models of type '{layout.model_type}'; write a module path, such as {nearest(name, layout.paths)}"
        )
    raise SubjectError(
        f"hookpoint '{name}' is not a module of '{subject.model}'; nearest: "
        f"{nearest(name, [*layout.paths, *layout.addresses()])}"
    )


def written_hookpoint(
    subject: SubjectConfig,
    name: str,
    reads: Side = "output",
    *,
    transcodes: bool = False,
    target: str | None = None,
) -> Hookpoint:
    """Where an SAE's decoder directions belong: at its hookpoint; for a transcoder, at its target.

    The target is the hookpoint that its files name. If they name none in this model: for a transcoder at a
    module's input, the module's output; at another hookpoint or a norm, what the layer's MLP adds to the residual;
    at the attention's input, what the attention adds. Raises SubjectError like `resolve_hookpoint`.
    """
    found = resolve_hookpoint(subject, name, reads)
    if not transcodes:
        return found
    if target is not None and (named := find_hookpoint(subject, target)) is not None:
        return named
    address = parse_address(name)
    layer = address.layer if address else layer_of(found)  # the state before a layer belongs to the layer below
    block = "attn_out" if address and address.sites[0].startswith("attn") else "mlp_out"
    added = find_hookpoint(subject, f"{block}.{layer}")
    is_module = address is None and found.reads == "input"
    return Hookpoint(found.module) if is_module or added is None else added


def layer_of(hookpoint: Hookpoint) -> int | None:
    """The layer that a hookpoint's module belongs to: the first number in its path."""
    found = re.search(r"\.(\d+)(\.|$)", hookpoint.module)
    return int(found[1]) if found else None


def find_hookpoint(subject: SubjectConfig, name: str, reads: Side = "output") -> Hookpoint | None:
    """Like `resolve_hookpoint`, but None for a name that the model does not have."""
    layout = _layout(subject)
    if (path := layout.module_path(name)) is not None:
        return Hookpoint(path, reads)
    path, _, side = name.rpartition(".")
    if side in get_args(Side) and (path := layout.module_path(path)) is not None:
        return Hookpoint(path, side)  # type: ignore[arg-type]
    address = parse_address(name)
    return layout.site(address) if address else None


def hookpoint_widths(subject: SubjectConfig, hookpoints: Collection[Hookpoint]) -> dict[Hookpoint, int]:
    """The width of each hookpoint. Raises SubjectError if one is not run, or is not an activation tensor."""
    return {hookpoint: value.shape[-1] for hookpoint, value in read_shapes(subject, hookpoints).items()}


def is_same_tensor(subject: SubjectConfig, one: Hookpoint, other: Hookpoint) -> bool:
    """Whether two hookpoints read the same tensor, as a layer's input is the previous layer's output."""
    read = read_shapes(subject, {one, other})
    return read[one] is read[other]


@cache
def names_of_hookpoints(subject: SubjectConfig) -> dict[Hookpoint, str]:
    """The short name of every hookpoint in the model's family; empty if the family is not known."""
    names: dict[Hookpoint, str] = {}
    for name in _layout(subject).addresses():
        found = find_hookpoint(subject, name)
        if found is not None and not name.startswith("blocks."):
            # The state between two layers has two names; the first, resid_post, is kept.
            names.setdefault(found, name)
    return names


def read_shapes(subject: SubjectConfig, hookpoints: Collection[Hookpoint]) -> dict[Hookpoint, torch.Tensor]:
    """Hookpoints' tensors without values; those of the same tensor are one object."""
    model = skeleton(subject)
    with torch.inference_mode(), reading(model, subject.model, hookpoints, copies=False) as read:
        # With a cache: transformers would look into the (absent) positions to find packed texts.
        model(input_ids=torch.zeros((1, 4), dtype=torch.long, device="meta"), use_cache=True)
    return read


class _Layout(NamedTuple):
    """A model's modules, and how its family names them.

    Attributes:
        model_type: The type of its text model.
        paths: All modules below the base model by path, in the model's order.
        prefix: Path of the text model's decoder below the base model, with a dot; empty if they are the same.
        base: The name under which a model with a head holds the base model, with a dot.
        family: None if it is not known.
    """

    model_type: str
    paths: dict[str, Any]
    prefix: str
    base: str
    family: Family | None

    def module_path(self, name: str) -> str | None:
        """The path below the base model of a name given from there, from the whole model, or from its decoder."""
        own = name.removeprefix(self.base)
        return next((path for path in (name, own, self.prefix + own) if path in self.paths), None)

    def site(self, address: Address) -> Hookpoint | None:
        """The hookpoint of an address; None if the model does not have it."""
        if self.family is None:
            return None
        if address.sites == ("embed",):
            return Hookpoint(self.prefix + self.family.embedding)
        name = next((name for name in address.sites if name in self.family.sites), None)
        if name is None:
            return None
        layer = address.layer
        if name == "resid_pre" and layer > 0:  # the pass ends earlier, and both names give one hookpoint
            name, layer = "resid_post", layer - 1
        layer_path = f"{self.prefix}{self.family.layers}.{layer}"
        site = self.family.sites[name]
        path = f"{layer_path}.{site.module}" if site.module else layer_path
        if path not in self.paths or f"{self.prefix}{self.family.layers}.{address.layer}" not in self.paths:
            return None
        return Hookpoint(path, site.side, rms_eps=self.family.rms_eps if site.by_rms else None)

    def addresses(self) -> Iterator[str]:
        """Every address that the model has, in both spellings."""
        if self.family is None:
            return
        yield "embed"
        start = f"{self.prefix}{self.family.layers}."
        n_layers = sum(path.startswith(start) and path.removeprefix(start).isdecimal() for path in self.paths)
        for layer in range(n_layers):
            names = [f"{name}.{layer}" for name in self.family.sites]
            names += [f"blocks.{layer}.{name}" for name in _LENS]
            yield from (name for name in names if (found := parse_address(name)) and self.site(found))


@cache
def _layout(subject: SubjectConfig) -> _Layout:
    model = skeleton(subject)
    decoder, text_config = model.get_decoder(), model.config.get_text_config()
    modules = dict(model.named_modules())
    prefix = next(path for path, module in modules.items() if module is decoder)
    return _Layout(
        text_config.model_type,
        {path: module for path, module in modules.items() if path},
        f"{prefix}." if prefix else "",
        f"{model.base_model_prefix}.",
        family_of(text_config),
    )


@cache
def skeleton(subject: SubjectConfig) -> Any:
    """The base model without weights, on torch's meta device; shared, so it must not be changed."""
    config = load_subject_config(subject)  # may convert a GGUF file, which needs real tensors
    for each in (config, config.get_text_config()):
        each.pad_token_id = None  # which transformers would look for in the (absent) tokens
    with torch.device("meta"):
        return AutoModel.from_config(config, dtype=torch.bfloat16).eval()  # which experts need there
