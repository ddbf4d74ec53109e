"""Ctrl-C and SIGTERM in a run: a stop that is not lost.

What a signal's handler raises is lost while an object is destroyed, and becomes a RuntimeError within a query of
DuckDB; and Dagster puts handlers of its own in place of ours, which may lose it. So Python itself notes the signal
(`signal.set_wakeup_fd`), whoever handles it. The note is looked for before each table and after each step.
"""

import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_reader, _writer = socket.socketpair()
_writer.setblocking(False)
_notes, _pen = _reader.detach(), _writer.detach()

_is_dagster_at_work = False


def catch_signals() -> None:
    """Stop this process at Ctrl-C and at SIGTERM, by a KeyboardInterrupt. To be called in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    signal.set_wakeup_fd(_pen, warn_on_full_buffer=False)
    sys.unraisablehook = _show_unless_asked


def raise_if_asked() -> None:
    """Raise KeyboardInterrupt if a stop was asked for."""
    if _is_asked():
        raise KeyboardInterrupt


@contextmanager
def stops_noted() -> Iterator[None]:
    """A stop is only noted in Dagster's own code, which would log it with a stack trace, and raised at the end."""
    global _is_dagster_at_work
    _is_dagster_at_work = True
    try:
        yield
    finally:
        _is_dagster_at_work = False
        raise_if_asked()


def _stop(_number: int, _frame: FrameType | None) -> None:
    if not _is_dagster_at_work:
        raise KeyboardInterrupt


def _is_asked() -> bool:
    return bool(select.select([_notes], [], [], 0)[0])


def _show_unless_asked(dropped: "sys.UnraisableHookArgs") -> None:
    if not _is_asked():
        sys.__unraisablehook__(dropped)
