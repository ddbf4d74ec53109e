"""What the settings of explainers and scorers tell other code about them."""

from collections.abc import Set
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import ConfigError, nearest


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    prompts_of: str | None = None


class _ByExplainer(_Declared):
    of: str | None = None
    show_logits: bool = False
    n_judging: int = 0
    n_silent: int = 0


class _ByScorer(_Declared):
    scored_as: Literal["population", "grades", "activations"] | None = None
    asks_role: Literal["embedder"] | None = None
    judges: Literal["firing", "effect"] = "firing"
    sees_positions: bool = False


class Declared(_ByExplainer, _ByScorer):
    """What a plug-in's settings may declare, each by a class variable, property or key of this name.

    An explainer or a scorer:
        prompts_of: The plug-in of its kind whose prompts it uses; part of its version.

    An explainer:
        of: The explainer that it is built on.
        show_logits: Whether its prompt also lists the tokens that a feature promotes.
        n_judging: Train windows per answer, yes or no, that judge its drafts.
        n_silent: Silent train windows that it is shown.

    A scorer:
        scored_as: What is scored in addition to correctness: `population` if it asks yes/no questions about
            windows drawn from all candidate slots, so that figures hold for these; `grades` if it grades such
            windows 0, 1 or 2; `activations` if it predicts a value for each token.
        asks_role: `embedder` if its `model` embeds texts on a server.
        judges: What it judges an explanation by: when the feature fires, or its effect on what the model writes.
        sees_positions: Whether its questions show where in a context a token stands.

    A version also covers `content`, a hash of the files that the settings name.
    """

    @classmethod
    def by(cls, settings: Any) -> Self:
        """What settings declare, with defaults for the rest; a class counts with the defaults of its keys.

        Raises ConfigError if a value is not one that can be declared.
        """
        if isinstance(settings, type):
            settings = settings()
        declared = {name: getattr(settings, name) for name in cls.model_fields if hasattr(settings, name)}
        try:
            return cls(**declared)
        except ValidationError as error:
            problem = error.errors()[0]
            must = problem["msg"].removeprefix("Input ").replace("should", "must")
            what = f"`{problem['loc'][0]}` of {type(settings).__module__}"
            raise ConfigError(f"{what} is {problem['input']!r} and {must}") from None


_DECLARABLE: dict[str, Set[str]] = {
    "explainers": {*_ByExplainer.model_fields, "content"},
    "scorers": {*_ByScorer.model_fields, "content"},
}


def check_declared(kind: str, settings: type[BaseModel]) -> None:
    """Check what a class of settings declares with the defaults of its keys.

    Raises ConfigError if it would accept unknown keys, a key has no default, a class variable has no meaning for
    this kind of plug-in, or its value is not one of those that are known.
    """
    if settings.model_config.get("extra") != "forbid":
        raise ConfigError(
            "its class `Settings` would ignore misspelt keys; give it the line "
            '`model_config = ConfigDict(frozen=True, extra="forbid")`'
        )
    for key, field in settings.model_fields.items():
        if field.is_required():
            raise ConfigError(f"its key '{key}' has no default")
    known = _DECLARABLE[kind]
    for name in sorted(settings.__class_vars__):
        if not name.startswith("_") and name not in known:
            raise ConfigError(
                f"its class variable `{name}` is nothing that {kind} declare; nearest: {nearest(name, known)}"
            )
    Declared.by(settings)
