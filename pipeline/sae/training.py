"""What is known of an SAE's training: its model, its context length, and whether contexts began with a BOS."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

from pipeline.sae.files import SaeFiles
from pipeline.sae.hub_names import begins_with_bos, has_no_bos, hub_name, model_in

T = TypeVar("T")

SAELENS_LOADER = "SAELens' loader of this format"
"""The origin of facts that neither files nor paths state."""


class Fact(NamedTuple, Generic[T]):
    """A value and its origin.

    Attributes:
        value: The value.
        origin: Where it is from, in words.
        is_guess: Whether it is only likely.
    """

    value: T
    origin: str
    is_guess: bool = False


@dataclass(frozen=True)
class Training:
    """What an SAE was trained on; None where unknown.

    Attributes:
        model: The subject model, by its name on the hub if that is known.
        context_length: Tokens per context.
        prepend_bos: Whether each context began with a BOS token.
    """

    model: Fact[str] | None = None
    context_length: Fact[int] | None = None
    prepend_bos: Fact[bool] | None = None


def training_in(
    config: Mapping[str, Any], origin: str, *, model: str, context_length: str = "", prepend_bos: str = ""
) -> Training:
    """What a config says under these keys; None for a key that is absent or whose value has another type."""
    name, length, bos = config.get(model), config.get(context_length), config.get(prepend_bos)
    is_length = isinstance(length, int) and not isinstance(length, bool) and length > 0
    return Training(
        _name_fact(name, f"{model} in {origin}") if isinstance(name, str) and name else None,
        Fact(length, f"{context_length} in {origin}") if is_length and isinstance(length, int) else None,
        Fact(bos, f"{prepend_bos} in {origin}") if isinstance(bos, bool) else None,
    )


def complete(training: Training, files: SaeFiles) -> Training:
    """What a format says about training, completed from the registry, the path and the model's tokenizer."""
    model = training.model
    if model is None and files.registered_model is not None:
        model = _name_fact(files.registered_model, "SAELens' registry")
    if model is None and (found := model_in(files.weights_path)) is not None:
        model = Fact(found.hub_name, f"'{found.text}' in its path", is_guess=True)
    return replace(training, model=model, prepend_bos=_bos_fact(training.prepend_bos, model))


def _name_fact(name: str, origin: str) -> Fact[str]:
    """A model by its name on the hub, even if a file calls it by another."""
    known = hub_name(name)
    if known is None:
        return Fact(name, f"{origin}, as written there: not a known name of a model on the hub", True)
    return Fact(known, origin if known == name else f"{origin}, '{name}'")


def _bos_fact(found: Fact[bool] | None, model: Fact[str] | None) -> Fact[bool] | None:
    name = model.value if model else ""
    if has_no_bos(name):
        says = f", though {found.origin} is true" if found and found.value else ""
        return Fact(False, f"the tokenizer of {name} has no BOS token{says}")
    adds = begins_with_bos(name)
    if found is not None or adds is None:
        return found
    does = "adds a BOS token" if adds else "adds no BOS token"
    return Fact(adds, f"the tokenizer of {name} {does} by default", is_guess=True)
