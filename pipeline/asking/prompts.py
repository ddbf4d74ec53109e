"""Prompts: one text file each in its plug-in's folder, with `{named}` places that are checked both ways.

A value is put in once and never looked into again, so that text from the corpus cannot open a place.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Prompt:
    """A prompt's text and the names of its places."""

    name: str
    text: str

    @property
    def places(self) -> frozenset[str]:
        """The names in braces."""
        return frozenset(_PLACE.findall(self.text))

    @property
    def own_texts(self) -> list[str]:
        """The text between the places."""
        return _PLACE.split(self.text)[::2]

    def render(self, **values: str) -> str:
        """The text with every place filled. Raises ValueError if a place or a value is left over."""
        if self.places != values.keys():
            odd = ", ".join(sorted(self.places.symmetric_difference(values)))
            raise ValueError(f"prompt '{self.name}' and its values differ in: {odd}")
        return _PLACE.sub(lambda place: values[place[1]], self.text)


@cache
def load_prompt(path: Path) -> Prompt:
    """The prompt in a text file."""
    return Prompt(path.stem, path.read_text(encoding="utf-8").strip())
