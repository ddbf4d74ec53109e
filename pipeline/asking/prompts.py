"""Prompt templates: a text file each in their plug-in's folder, with `{named}` fields checked both ways.

Values are inserted in one pass and not searched again, so that text from the corpus cannot introduce a field.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FIELD = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Prompt:
    """A prompt template."""

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
        """The text with every field filled in. Raises ValueError if a field or a value is left over."""
        if self.fields != values.keys():
            odd = ", ".join(sorted(self.fields.symmetric_difference(values)))
            raise ValueError(f"prompt '{self.name}' and the values given for it differ in: {odd}")
        return _FIELD.sub(lambda field: values[field[1]], self.text)


@cache
def load_prompt(path: Path) -> Prompt:
    """The prompt template in a text file."""
    return Prompt(path.stem, path.read_text(encoding="utf-8").strip())
