"""Reading an experiment's YAML file; errors in it become one sentence."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config.corpus import DelphiRows, FileTexts, HubTexts, PythonTexts
from pipeline.config.experiment import Config
from pipeline.config.machine import LLM_VARIABLE
from pipeline.config.yaml_text import parse_yaml
from pipeline.errors import ConfigError, nearest
from pipeline.shipped import find

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def load_config(path: Path | str) -> Config:
    """Read an experiment's YAML file. Raises ConfigError, one sentence about the first problem.

    A file may extend another: `extends: post.yaml` takes that file's keys, which its own override. The model named
    by `LATENTLAKE_LLM` (`make demo LLM=…`) replaces those of the file that run in this process.
    """
    path = find(path)
    try:
        config = Config.model_validate(_values(path))
    except ValidationError as error:
        raise ConfigError(f"config file '{path}': {first_problem(error)}") from None
    llm = os.environ.get(LLM_VARIABLE)
    return config.with_llm(llm) if llm else config


def _values(path: Path, extended: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a file over those of the file that it `extends`, a path relative to its own folder."""
    if path in extended:
        raise ConfigError(f"config file '{path}' extends itself; name another file in `extends`")
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        by = f" (from extends in '{extended[-1]}')" if extended else ""
        raise ConfigError(f"no config file '{path}'{by}; {_instead_of(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"'{path}' is a folder, not a config file; {_instead_of(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file '{path}' cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"config file '{path}' is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"config file '{path}' has no keys; {_HOW_TO_WRITE}")
    base = values.pop("extends", None)
    if base is None:
        return values
    return _over(_values(path.parent / str(base), (*extended, path)), values)


_HOW_TO_WRITE = "write one for an SAE with make config FROM=…, or latentlake config FROM"


def _instead_of(path: Path) -> str:
    """The cure for a path that is no file: the file in `config/` with the nearest name, if there is one.

    What has no suffix may have been meant as another argument: a query, a text.
    """
    files = {file.stem: file for file in sorted(Path("config").glob("*.yaml"))}
    if close := difflib.get_close_matches(path.stem, files, n=1):
        return f"nearest: '{files[close[0]]}'"
    is_named_so = path.suffix in {".yaml", ".yml"}
    return _HOW_TO_WRITE if is_named_so else f"a command's first argument is its config; {_HOW_TO_WRITE}"


def _over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Keys that override others: sections key by key, anything else as a whole."""
    return base | {
        key: _over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in values.items()
    }


_WANTED = {
    "tuple_type": "it must be a list; write [a, b], or one item per line after a dash",
    "model_type": "it must be a section; write its keys below it",
    "model_attributes_type": "it must be a section; write its keys below it",
    "union_tag_not_found": "key 'kind' is missing",
    "string_type": "it is text; a number, a date, yes or no needs quotes to be one",
    "dict_type": "it must be a section; write its keys below it, or {key: value}",
    "too_short": "it is an empty list; write at least 1 entry",
}
"""Messages for errors that pydantic words in terms of Python, by error type."""

_ALLOWED = {
    r"^[A-Za-z0-9_]+$": "use only letters, digits and underscores",
    r"^[A-Za-z0-9-]+$": "use only letters, digits and dashes",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "use only letters, digits, dots, dashes and underscores, and a letter or "
    "digit first",
    r"^[a-z]+$": "use only small letters",
    r"(?i)^\d+(\.\d+)? ?([KMGT]i?B|%)$": "it is a number with KB, MB, GB, TB or %, such as 8 GB",
}
"""What each pattern of the config's texts asks for."""


def first_problem(error: ValidationError, whole: str = "the file") -> str:
    """The first problem in words: where, what, and for an unknown key the nearest known one.

    Args:
        error: What is wrong with a file, or with one of its sections.
        whole: What to call it, where no key of it is to blame.
    """
    problem = error.errors()[0]
    # Pydantic adds the kind of a text source after its number, and [key] after a key; they are not in the file.
    loc = problem["loc"]
    path = [
        str(part)
        for number, part in enumerate(loc)
        if part != "[key]" and not (number == 3 and loc[:2] == ("corpus", "sources"))
    ]
    where = ".".join(path) or whole
    if problem["type"] == "extra_forbidden":
        known = list(_section_at(problem["loc"][:-1]).model_fields)
        return f"unknown key '{where}'; nearest known: {nearest(path[-1], known)}"
    if problem["type"] == "missing":
        return f"key '{where}' is missing"
    given = problem["input"]
    if given is None:
        return f"key '{where}' is empty; write a value after the colon"
    if problem["type"] == "union_tag_invalid":
        context = problem["ctx"]
        known = context["expected_tags"].replace("'", "").split(", ")
        tag = context["tag"]
        return f"'{where}.kind': there is no '{tag}'; nearest: {nearest(tag, known, len(known))}"
    message = _message(problem)
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"'{where}': {message[0].lower()}{message[1:]}{shown}"


def _message(problem: "ErrorDetails") -> str:
    """What is wrong with a value, in our own words where pydantic's are those of Python."""
    kind, given, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "string_type" and isinstance(given, list | dict):
        *above, key = problem["loc"]
        field = _section_at(above).model_fields.get(str(key))
        what = f": {field.description}" if field is not None and field.description else ""
        return f"it must be one text, not a {'list' if isinstance(given, list) else 'section'}{what}"
    if kind == "string_pattern_mismatch" and context["pattern"] in _ALLOWED:
        return _ALLOWED[context["pattern"]]
    return _WANTED.get(kind) or problem["msg"].removeprefix("Value error, ")


def _section_at(path: Sequence[int | str]) -> type[BaseModel]:
    """The section at a path of keys; for a text source, that of the kind in the path."""
    kinds: dict[int | str, type[BaseModel]] = {
        "python": PythonTexts,
        "hub": HubTexts,
        "delphi": DelphiRows,
        **dict.fromkeys(("text", "jsonl", "parquet"), FileTexts),
    }
    section: type[BaseModel] = Config
    for part in path:
        if part in kinds:
            section = kinds[part]
        elif part in section.model_fields:
            section = _section_in(section.model_fields[str(part)].annotation) or section
    return section


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, by itself or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
