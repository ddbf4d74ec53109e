"""Progress bars and messages: bars on a terminal, a plain line now and then in a log."""

import io
import sys
import time
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from typing import Any, Self

from tqdm import tqdm

_LINE_SECONDS = 20.0


def progress(total: int | None, what: str, unit: str) -> "tqdm[Any] | _Lines":
    """A bar over `total` units (None: unknown). Without a terminal, a line every 20 seconds instead.

    Anything that is done within half a second shows no bar, and within 20 seconds no line.
    """
    if not sys.stderr.isatty():
        return _Lines(total, what, unit)
    return tqdm(total=total, desc=what, unit=f" {unit}", unit_scale=True, mininterval=0.2, delay=0.5)


class _Lines:
    """A bar for a log, used as tqdm's."""

    def __init__(self, total: int | None, what: str, unit: str) -> None:
        self.total: float | None = total
        self._what, self._unit = what, unit
        self._n = self._n_printed = 0.0
        self._started = self._printed = time.monotonic()

    def update(self, n: float = 1) -> None:
        """Count `n` more units as done."""
        self._n += n
        if time.monotonic() - self._printed >= _LINE_SECONDS:
            self._print()

    def _print(self) -> None:
        self._printed, self._n_printed = time.monotonic(), self._n
        of_total = f" of {self.total:,.0f}" if self.total else ""
        tell(f"{self._what}: {self._n:,.0f}{of_total} {self._unit}, {self._printed - self._started:.0f} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._n_printed and self._n > self._n_printed and error is None:  # only after an earlier line
            self._print()


def without_bars_in_logs() -> AbstractContextManager[object]:
    """Keeps a library's progress bars out of a log, where a bar is one endless line, if it has no switch for them.

    Without a terminal, everything printed to stderr in the block is dropped.
    """
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())


def tell(sentence: str) -> None:
    """Print a sentence between the progress bars."""
    tqdm.write(sentence, file=sys.stderr)
