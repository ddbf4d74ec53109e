"""Ctrl-C and SIGTERM in `make run`: a stop that is not lost.

Python drops what a signal's handler raises while an object is destroyed or a weak reference's callback runs, and
libraries log it where they clean up. So the handler always leaves a note, which is looked for before each table,
and raises nothing while Dagster is at work, which has a handler of its own for what a table's function does.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_asked = threading.Event()
_only_noted = threading.Event()


def catch_signals() -> None:
    """Stop this process at Ctrl-C and at SIGTERM, by a KeyboardInterrupt."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.unraisablehook = _show_but_a_stop


def raise_if_asked() -> None:
    """Raise KeyboardInterrupt if a stop was asked for and lost."""
    if _asked.is_set():
        raise KeyboardInterrupt


@contextmanager
def stops_noted() -> Iterator[None]:
    """A stop is noted meanwhile, and raised at the end."""
    _only_noted.set()
    try:
        yield
    finally:
        _only_noted.clear()
    raise_if_asked()


def _stop(_number: int, _frame: FrameType | None) -> None:
    _asked.set()
    if not _only_noted.is_set():
        raise KeyboardInterrupt


def _show_but_a_stop(dropped: "sys.UnraisableHookArgs") -> None:
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
