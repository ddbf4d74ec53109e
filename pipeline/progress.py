"""Progress bars and sentences that suit a terminal, and a log: there, a plain line now and then."""

import io
import sys
import time
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from types import TracebackType
from typing import Protocol, Self

from tqdm import tqdm

_LINE_SECONDS = 20.0


class Bar(Protocol):
    """Shows how far something is."""

    total: float | None

    def update(self, n: float = 1) -> object:
        """Count `n` more units as done."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def progress(total: int | None, what: str, unit: str) -> Bar:
    """A bar over `total` units (None: unknown); on anything but a terminal a line every 20 seconds instead.

    What is done in half a second has neither.
    """
    if not sys.stderr.isatty():
        return _Lines(total, what, unit)
    return tqdm(total=total, desc=what, unit=f" {unit}", unit_scale=True, mininterval=0.2, delay=0.5)


class _Lines:
    """A bar for a log."""

    def __init__(self, total: int | None, what: str, unit: str) -> None:
        self.total: float | None = total
        self._what, self._unit = what, unit
        self._n = self._said = 0.0
        self._started = self._spoke = time.monotonic()

    def update(self, n: float = 1) -> None:
        """See `Bar`."""
        self._n += n
        if time.monotonic() - self._spoke >= _LINE_SECONDS:
            self._speak()

    def _speak(self) -> None:
        self._spoke, self._said = time.monotonic(), self._n
        of_total = f" of {self.total:,.0f}" if self.total else ""
        tell(f"{self._what}: {self._n:,.0f}{of_total} {self._unit}, {self._spoke - self._started:.0f} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._said and self._n > self._said and error is None:  # it took long enough to be said
            self._speak()


def without_bars_in_logs() -> AbstractContextManager[object]:
    """Keeps the bars of a library that has no switch for them out of a log, where one is a single endless line.

    All that is printed to stderr meanwhile is dropped there; a terminal shows it.
    """
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())


def tell(sentence: str) -> None:
    """Print a sentence between the progress bars."""
    tqdm.write(sentence, file=sys.stderr)
