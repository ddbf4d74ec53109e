"""What is known of an SAE's training: its model, the length of its contexts, and whether a BOS began them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

from pipeline.sae.files import SaeFiles
from pipeline.sae.hub_names import begins_with_bos, has_no_bos, hub_name, model_in

T = TypeVar("T")

SAELENS_LOADER = "SAELens' loader of this format"
"""Where a fact is from that neither files nor paths say."""


class Fact(NamedTuple, Generic[T]):
    """A value and its origin.

    Attributes:
        value: What is so.
        origin: Where it is from, in words.
        is_guess: Whether that makes it likely, and no more.
    """

    value: T
    origin: str
    is_guess: bool = False


@dataclass(frozen=True)
class Training:
    """What an SAE was trained on; None where it is not known.

    Attributes:
        model: The subject model, by its name on the hub where that is known.
        context_length: Tokens of a context.
        prepend_bos: Whether a BOS token came before each.
    """

    model: Fact[str] | None = None
    context_length: Fact[int] | None = None
    prepend_bos: Fact[bool] | None = None


def training_in(
    config: Mapping[str, Any], origin: str, *, model: str, context_length: str = "", prepend_bos: str = ""
) -> Training:
    """What a config file says under these keys; nothing, where a key is absent or its value of another kind."""
    name, length, bos = config.get(model), config.get(context_length), config.get(prepend_bos)
    is_length = isinstance(length, int) and not isinstance(length, bool) and length > 0
    return Training(
        _name_fact(name, f"{model} in {origin}") if isinstance(name, str) and name else None,
        Fact(length, f"{context_length} in {origin}") if is_length and isinstance(length, int) else None,
        Fact(bos, f"{prepend_bos} in {origin}") if isinstance(bos, bool) else None,
    )


def complete(training: Training, files: SaeFiles) -> Training:
    """What a format says of its training, and what the registry, the path and the model's tokenizer add to it."""
    model = training.model
    if model is None and files.registered_model is not None:
        model = _name_fact(files.registered_model, "SAELens' registry")
    if model is None and (found := model_in(files.weights_path)) is not None:
        model = Fact(found.hub_name, f"'{found.text}' in its path", is_guess=True)
    return replace(training, model=model, prepend_bos=_bos_fact(training.prepend_bos, model))


def _name_fact(name: str, origin: str) -> Fact[str]:
    """A model by its name on the hub, where a file has it by another."""
    known = hub_name(name)
    if known is None:
        return Fact(name, f"{origin}, as it is written there: no model of the hub is known by this name", True)
    return Fact(known, origin if known == name else f"{origin}, '{name}'")


def _bos_fact(found: Fact[bool] | None, model: Fact[str] | None) -> Fact[bool] | None:
    name = model.value if model else ""
    if has_no_bos(name):
        says = f", though {found.origin} is true" if found and found.value else ""
        return Fact(False, f"the tokenizer of {name} has no BOS token{says}")
    adds = begins_with_bos(name)
    if found is not None or adds is None:
        return found
    does = "puts one before each text" if adds else "puts none before a text"
    return Fact(adds, f"the tokenizer of {name} {does} by itself", is_guess=True)
