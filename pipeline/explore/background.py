"""Work in a thread, which a page waits for only shortly: it reloads itself until the work is done."""

import threading
from collections.abc import Callable

from pipeline.errors import LatentlakeError, sentence_of


class Background:
    """Work in a thread of its own; after a failure, the next attempt to start it is told why.

    Args:
        work: What is done.
        failure: What its failure means, in words, where the error itself has no sentence for people.
    """

    def __init__(self, work: Callable[[], None], failure: str) -> None:
        self._work = work
        self._failure = failure
        self._error = ""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the work unless it is under way. Raises LatentlakeError, once, if it failed before."""
        if self._error:
            sentence, self._error, self._thread = self._error, "", None
            raise LatentlakeError(sentence)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for the end of the work, but no longer than this."""
        if self._thread is not None:
            self._thread.join(timeout=seconds)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # of any kind: the page that waits for this thread has to show it
            sentence = sentence_of(error)
            self._error = sentence or f"{self._failure} ({type(error).__name__}: {error})"
            if sentence is None:
                raise
