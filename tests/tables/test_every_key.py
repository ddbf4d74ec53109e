"""Every key of the config is in some table's version, or is named here with the reason why it changes no row."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from pipeline.config import UNHASHED, Config
from pipeline.tables.stages import STAGES
from pipeline.tables.versions import SourceHashes, Versions

pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")]

CHANGES_NO_ROW = {
    "name": "the name of the lake's folder",
    "subject.compile": "changes the last digits only",
    "saes.0.source": "weights count by their content",
    "saes.0.n_features": "checked against the weights",
    "saes.0.fit": "stops a run, or does not",
    "saes.0.aliases": "names in files; they count for explainers that read files",
    "corpus.sources": "texts count by their content, and how they are read with it",
    "corpus.unreadable": "stops a run, or does not; what was read counts by its content",
    "explaining.oracle": "part of the model's name, if an oracle answers",
    "scoring.oracle": "part of the model's name, if an oracle answers",
    "scoring.models.mini.oracle": "as scoring.oracle",
    "scoring.models.mini.endpoint": "as the section endpoints",
}
"""The keys, or sections of them, in no version, in addition to the sections in `UNHASHED`."""

PLUGINS = ("default", "detection")


def test_every_key_of_the_config_is_in_a_version_or_changes_no_row() -> None:
    uncovered = {key for key in keys(config(*PLUGINS)) if not is_covered(key)}
    named = {next((each for each in CHANGES_NO_ROW if f"{key}.".startswith(f"{each}.")), key) for key in uncovered}
    assert named == CHANGES_NO_ROW.keys()


@cache
def config(explainer: str, scorer: str) -> Config:
    """An experiment with an explainer, a scorer, and a second model that scores."""
    return Config.model_validate(
        {
            "name": "every_key",
            "subject": {"model": "none", "dtype": "float32"},
            "saes": [{"name": "one", "source": "none", "hookpoint": "layers.1", "n_features": 8}],
            "corpus": {"sources": [{"kind": "text", "path": "none"}]},
            "explaining": {"explainers": [*dict.fromkeys((explainer, "rule"))]},
            "scoring": {"scorers": [scorer, "detection@mini"], "models": {"mini": {"model": "another"}}},
        }
    )


@cache
def versions(explainer: str, scorer: str) -> list[str]:
    """The versions of that experiment's tables."""
    return [*versions_of(config(explainer, scorer))]


def versions_of(config: Config) -> Iterator[str]:
    [sae] = config.sae_names
    own = Versions(config, SourceHashes("texts", {sae: "weights"}))
    return (own.of(table, sae) for table in STAGES)


def keys(value: Any, above: str = "") -> Iterator[str]:
    """The dotted keys of a config, down to values that are no sections; without those in `UNHASHED`."""
    inner = inside(value)
    if inner is None:
        yield above
    for key, each in (inner or {}).items():
        if above or key not in UNHASHED:
            yield from keys(each, f"{above}.{key}".removeprefix("."))


def inside(value: Any) -> dict[str, Any] | None:
    """The values in a section, or in a collection of sections, by key; None for any other value."""
    match value:
        case BaseModel():
            return {key: getattr(value, key) for key in type(value).model_fields}
        case (BaseModel(), *_):
            return {f"{number}": each for number, each in enumerate(value)}
        case {"mini": BaseModel()}:
            return value
    return None


def is_covered(key: str) -> bool:
    """Whether another value of a key makes another version of some table; of a plug-in's key, where it is used."""
    path = key.split(".")
    plugins = [
        path[1] if len(path) > 2 and path[0] == section and path[1] not in {"oracle", "models"} else plugin
        for section, plugin in zip(("explaining", "scoring"), PLUGINS, strict=True)
    ]
    after = versions_of(changed(config(*plugins), path))
    return any(before != now for before, now in zip(versions(*plugins), after, strict=True))


def changed(value: Any, path: list[str], kind: Any = None) -> Any:
    """The value with another one at the end of a path of keys; it need not be valid."""
    if not path:
        return another(value, kind)
    key, rest = path[0], path[1:]
    match value:
        case BaseModel():
            field = type(value).model_fields[key]
            return value.model_copy(update={key: changed(getattr(value, key), rest, field.annotation)})
        case dict():
            return {**value, key: changed(value[key], rest)}
    return tuple(changed(each, rest) if f"{number}" == key else each for number, each in enumerate(value))


def another(value: Any, kind: Any) -> Any:
    """Another value of a field with this annotation."""
    if words := {
        word for each in (kind, *get_args(kind)) if get_origin(each) is Literal for word in get_args(each)
    }:
        return max(words - {value}, default=None)
    match value:
        case bool():
            return not value
        case int() | float():
            return value / 2 if 0 < value <= 1 else value + 1
        case tuple():
            return value[1:] or ("other",)
        case None:
            return 7 if any(number in str(kind) for number in ("int", "float")) else "other"
        case "default":
            return "contrastive"  # which explainer is meant: there must be one
    return f"{value}_other"
