"""Ctrl-C and SIGTERM in a run: a stop that is not lost.

An exception raised in a signal handler is lost while an object is being destroyed, and becomes a RuntimeError
during a DuckDB query; and Dagster replaces our handlers by its own, which may lose the signal. So Python itself
records the signal (`signal.set_wakeup_fd`), regardless of the handler, and the record is checked before each table
and after each step.
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
    """Raise KeyboardInterrupt at Ctrl-C and SIGTERM. Call it in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    signal.set_wakeup_fd(_pen, warn_on_full_buffer=False)
    sys.unraisablehook = _show_unless_asked


def raise_if_asked() -> None:
    """Raise KeyboardInterrupt if a stop was requested."""
    if _is_asked():
        raise KeyboardInterrupt


@contextmanager
def stops_noted() -> Iterator[None]:
    """Defer a stop until the end of the block: Dagster's own code would log it with a stack trace."""
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
