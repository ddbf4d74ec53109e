"""An experiment's YAML file, read; what is wrong with it in one sentence."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config.sections import (
    BudgetConfig,
    Config,
    CorpusConfig,
    EndpointConfig,
    EndpointsConfig,
    ExplainingConfig,
    FileTexts,
    HeuristicsConfig,
    HubTexts,
    MachineConfig,
    PythonTexts,
    RoutingConfig,
    RulesConfig,
    SaeConfig,
    SamplingConfig,
    ScoringConfig,
    ScramblingConfig,
    SelectionConfig,
    SubjectConfig,
)
from pipeline.errors import ConfigError, nearest
from pipeline.shipped import find


def load_config(path: Path | str) -> Config:
    """Read an experiment's YAML file. Raises ConfigError, one sentence for the first thing that is wrong."""
    path = find(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file '{path}'; config/demo.yaml is one to copy") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file '{path}' cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"config file '{path}' is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"config file '{path}' holds no keys; config/demo.yaml is one to copy")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"config file '{path}': {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """The first problem in words: where, what, and for an unknown key the nearest known one."""
    problem = error.errors()[0]
    # Pydantic adds the kind of a text source to the place, behind its number; it is no key of the file.
    loc = problem["loc"]
    place = [
        str(part) for number, part in enumerate(loc) if not (number == 3 and loc[:2] == ("corpus", "sources"))
    ]
    where = ".".join(place) or "the file"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        return f"unknown key '{where}'; nearest known: {nearest(place[-1], known)}"
    if problem["type"] == "missing":
        return f"key '{where}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"'{where}': {message[0].lower()}{message[1:]}{shown}"


def _known_keys(place: tuple[Any, ...]) -> list[str]:
    """The keys of the section at `place` in the config."""
    variants: dict[str, type[BaseModel]] = {
        "python": PythonTexts,
        "hub": HubTexts,
        "text": FileTexts,
        "jsonl": FileTexts,
        "parquet": FileTexts,
    }
    section: type[BaseModel] = Config
    sections: dict[str, type[BaseModel]] = {
        "subject": SubjectConfig,
        "saes": SaeConfig,
        "corpus": CorpusConfig,
        "sampling": SamplingConfig,
        "heuristics": HeuristicsConfig,
        "scrambling": ScramblingConfig,
        "rules": RulesConfig,
        "routing": RoutingConfig,
        "explaining": ExplainingConfig,
        "scoring": ScoringConfig,
        "endpoints": EndpointsConfig,
        "explainer": EndpointConfig,
        "scorer": EndpointConfig,
        "selection": SelectionConfig,
        "budget": BudgetConfig,
        "machine": MachineConfig,
        **variants,
    }
    for part in place:
        section = sections.get(str(part), section)
    return list(section.model_fields)
