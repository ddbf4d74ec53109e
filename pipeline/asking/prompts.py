"""Prompt templates: a text file each in their plug-in's folder, with `{named}` fields checked both ways.

Values are inserted in one pass and not searched again, so that text from the corpus cannot introduce a field.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.plugins import text_of

_FIELD = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Prompt:
    """A prompt template. Its name, in errors, is the path of its file."""

    name: str
    text: str

    @property
    def fields(self) -> frozenset[str]:
        """The names in braces."""
        return frozenset(_FIELD.findall(self.text))

    @property
    def own_texts(self) -> list[str]:
        """The text between the fields."""
        return _FIELD.split(self.text)[::2]

    def render(self, **values: str) -> str:
        """The text with every field filled in. Raises ConfigError if a field or a value is left over."""
        self.check_fields(values, needed=values)
        return _FIELD.sub(lambda field: values[field[1]], self.text)

    def check_fields(self, known: Collection[str], needed: Collection[str] = ()) -> None:
        """Check that it has only known fields, and all that are needed. Raises ConfigError."""
        there = f"the fields here are {_listed(known)}" if known else "there are no fields here"
        if odd := self.fields - {*known}:
            raise ConfigError(f"prompt '{self.name}' has a field {_listed(odd)}, but {there}")
        if missing := {*needed} - self.fields:
            raise ConfigError(f"prompt '{self.name}' lacks the field {_listed(missing)}; {there}")


def _listed(fields: Collection[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(fields))


@cache
def load_prompt(path: Path) -> Prompt:
    """The prompt template in a text file. Raises ConfigError if it cannot be read."""
    return Prompt(str(path), text_of(path).strip())
