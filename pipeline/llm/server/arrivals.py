"""Passes answers from an event loop to the thread that records them: they are in flight until they are on disk.

The iterating thread records a group of answers before it asks for the next, and the coroutines that delivered it
wait until then. So requests at the server and answers not yet on disk are together never more than the coroutines,
and no more than that can be lost, and paid again, if the process is killed.

While one group is written, the next gathers: group commit (DeWitt et al. 1984). With 100 requests in flight, a
ledger synced answer by answer would be the bottleneck.
"""

import asyncio
import contextlib
import gc
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Self

from pipeline.llm.requests import Answer, Request

Deliver = Callable[[Answer], Awaitable[None]]
"""Takes an answer from a coroutine and returns when it is recorded."""


class Arrivals:
    """Groups of answers from coroutines on an event loop in a thread of its own; a context manager.

    When its block ends, requests still in flight are dropped and everything is closed.

    Args:
        bring: Delivers answers until there are no more. An exception that ends it is raised after the last answer.
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

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._call(self._task.cancel)
        self._thread.join()

    def __iter__(self) -> Iterator[list[Answer]]:
        """Groups of all answers that have arrived so far, at least one each."""
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
        finally:  # however the loop ends, the other thread must not wait for it
            self._started.set()
            self._arrived.put(None)

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.create_task(self._bring(self._deliver))
        self._started.set()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()):
            self._failure = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error

    def _tell(self, recorded: Iterator[asyncio.Future[None]]) -> None:
        """Notify coroutines that their answers are recorded, each in a separate turn of the loop.

        Notified together, they would send their next requests together, get the answers together, and wait for
        each other at every step, which costs a tenth of the throughput.
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
    # Each response makes a thousand objects, which would make Python's garbage collector scan all memory
    # repeatedly.
    gc.freeze()
    try:
        with Arrivals(lambda deliver: ask_all(requests, deliver)) as arrivals:
            yield from arrivals
    finally:
        gc.unfreeze()
