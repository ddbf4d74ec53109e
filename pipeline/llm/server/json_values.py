"""Values in JSON that a server may have left out or written in another form."""

from typing import Any

_MOST_TOKENS = 10**9


def dict_of(value: Any) -> dict[str, Any]:
    """An object; empty for anything else."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    """A string that UTF-8 can encode (JSON may contain half a surrogate pair), or None."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def count_of(value: Any) -> int | None:
    """A token count or a status, given as a number or as digits; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        count = int(value)
    except (ValueError, OverflowError):
        return None
    return count if 0 <= count <= _MOST_TOKENS else None


def choice_in(content: Any) -> dict[str, Any]:
    """The first choice of a completion; empty if there is none."""
    choices = dict_of(content).get("choices")
    return dict_of(choices[0]) if isinstance(choices, list) and choices else {}
