"""Prompts: one text file each, with `{named}` places that are checked both ways.

A value is put in once and never looked into again, so that text from the corpus cannot open a place.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "prompts"
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

    def render(self, **values: str) -> str:
        """The text with every place filled. Raises ValueError if a place or a value is left over."""
        if self.places != values.keys():
            odd = ", ".join(sorted(self.places.symmetric_difference(values)))
            raise ValueError(f"prompt '{self.name}' and its values differ in: {odd}")
        return _PLACE.sub(lambda place: values[place[1]], self.text)


@cache
def load_prompt(name: str) -> Prompt:
    """The prompt in `pipeline/prompts/<name>.txt`."""
    return Prompt(name, (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip())


def prompt_texts() -> dict[str, str]:
    """Every prompt's text by name: part of the stage hashes of what is made with them."""
    return {path.stem: load_prompt(path.stem).text for path in sorted(_FOLDER.glob("*.txt"))}
