"""Recording beside receiving: a disk takes milliseconds to have an answer, and a hundred can share them.

Group commit: one thread writes what has come in some milliseconds, or while the disk was busy, and syncs it once
(DeWitt et al. 1984). With 100 requests in flight a ledger synced answer by answer would be the slowest part.
"""

import queue
import threading
from types import TracebackType
from typing import Self

from pipeline.llm.ledger import Ledger
from pipeline.llm.requests import Answer, Request

_UNRECORDED = 128
"""Answers that may wait for the disk; with more, whoever brings them waits."""

_GATHERING_SECONDS = 0.01
"""How long the first answer of a group waits for others. No request waits for it; each sync costs CPU time."""

_Paid = tuple[Request, Answer]


class Recorder:
    """Records answers in a thread of its own and gives them back when the disk has them; a context manager.

    However its block ends, everything that was put into it is recorded first.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._unrecorded: queue.Queue[_Paid | None] = queue.Queue(_UNRECORDED)
        self._recorded: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._no_more_come = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._record, name="ledger", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def put(self, request: Request, answer: Answer) -> None:
        """Have an answer recorded. Raises LakeError if an earlier one could not be."""
        self._raise_failure()
        self._unrecorded.put((request, answer))

    def recorded(self) -> list[Answer]:
        """The answers that have been recorded since this was last asked."""
        return [self._recorded.get() for _ in range(self._recorded.qsize())]

    def finish(self) -> list[Answer]:
        """Wait for all that was put, and give the rest back. Raises LakeError if some could not be recorded."""
        self._stop()
        self._raise_failure()
        return self.recorded()

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._no_more_come.set()
            self._unrecorded.put(None)
            self._thread.join()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _record(self) -> None:
        is_open = True
        while is_open:
            group = [self._unrecorded.get()]
            self._no_more_come.wait(_GATHERING_SECONDS)
            group += [self._unrecorded.get() for _ in range(self._unrecorded.qsize())]
            is_open = None not in group
            paid = [each for each in group if each is not None]
            try:
                if paid and self._failure is None:
                    self._ledger.record_all(paid)
            except BaseException as failure:  # noqa: BLE001 - raised again by the thread that waits for it
                self._failure = failure
            else:
                if self._failure is None:
                    for _, answer in paid:
                        self._recorded.put(answer)
