"""Progress bars and sentences that suit a terminal, and a log: there, a line now and then instead of a stream."""

import sys
from typing import Any

from tqdm import tqdm


def progress(total: int | None, what: str, unit: str) -> "tqdm[Any]":
    """A bar over `total` units (None: unknown); on anything but a terminal it speaks every 20 seconds.

    On a terminal, what is done in half a second has none.
    """
    mininterval, delay = (0.2, 0.5) if sys.stderr.isatty() else (20, 0)
    return tqdm(
        total=total, desc=what, unit=f" {unit}", unit_scale=True, mininterval=mininterval, delay=delay
    )


def tell(sentence: str) -> None:
    """Say something to whoever watches a run, between its bars."""
    tqdm.write(sentence, file=sys.stderr)
