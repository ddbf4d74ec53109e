"""Answers on their way from an event loop to the thread that records them: in flight until the disk has them.

Whoever iterates records a group of answers before asking for the next, and until then the coroutines that brought
it wait. So requests at the server and answers that the disk does not have yet are together never more than there
are coroutines, and no more than that can be lost, and paid again, when the process is killed.

While the disk takes one group the next gathers: group commit (DeWitt et al. 1984). With 100 requests in flight a
ledger synced answer by answer would be the slowest part.
"""

import asyncio
import contextlib
import gc
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from pipeline.llm.requests import Answer, Request

Deliver = Callable[[Answer], Awaitable[None]]
"""What a coroutine gives an answer to; it returns when the answer is recorded."""


class Arrivals:
    """Groups of answers, from coroutines on an event loop of its own thread; a context manager.

    When its block ends, what is still under way is dropped, and everything is closed.

    Args:
        bring: Delivers answers until there are no more. If an exception ends it, that is raised after the last.
    """

    def __init__(self, bring: Callable[[Deliver], Coroutine[Any, Any, None]]) -> None:
        self._bring = bring
        self._arrived: queue.SimpleQueue[tuple[Answer, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._started = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run_loop, name="llm requests", daemon=True)
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._call(self._task.cancel)
        self._thread.join()

    def __iter__(self) -> Iterator[list[Answer]]:
        """All that has arrived, at least one answer, again and again."""
        is_open = True
        while is_open:
            items = [self._arrived.get()]
            items += [self._arrived.get() for _ in range(self._arrived.qsize())]
            is_open = None not in items
            group = [item for item in items if item is not None]
            if group:
                yield [answer for answer, _ in group]
                self._call(self._tell, iter([recorded for _, recorded in group]))
        if self._failure is not None:
            raise self._failure

    async def _deliver(self, answer: Answer) -> None:
        recorded = self._loop.create_future()
        self._arrived.put((answer, recorded))
        await recorded

    def _run_loop(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as failure:  # noqa: BLE001 - raised again by the thread that iterates
            self._failure = failure
        finally:  # whatever ends the loop, nobody waits for it
            self._started.set()
            self._arrived.put(None)

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.create_task(self._bring(self._deliver))
        self._started.set()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()):
            self._failure = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error

    def _tell(self, recorded: Iterator[asyncio.Future[None]]) -> None:
        """Tell coroutines that their answers are recorded, each in a turn of the loop of its own.

        Told at once, they would send their next requests together, have them answered together, and wait for each
        other at every step: a tenth of the throughput.
        """
        for each in recorded:
            if not each.done():  # it may have been cancelled
                each.set_result(None)
                self._loop.call_soon(self._tell, recorded)
                return

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the event loop call a function."""
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(function, *arguments)


def arriving(
    requests: Sequence[Request], ask_all: Callable[[Sequence[Request], Deliver], Coroutine[Any, Any, None]]
) -> Iterator[list[Answer]]:
    """The answers to requests, as `ask_all` delivers them."""
    if not requests:
        return
    # The thousand objects of each response would have Python go over all that is in memory again and again.
    gc.freeze()
    try:
        with Arrivals(lambda deliver: ask_all(requests, deliver)) as arrivals:
            yield from arrivals
    finally:
        gc.unfreeze()
