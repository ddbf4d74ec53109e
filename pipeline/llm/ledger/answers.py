"""The ledger: every answer ever paid for, one JSON line each, synced to disk before it is used.

Files are `<table>/<sae>/<first>-<last feature>.jsonl` in the lake's ledger folder. They are outside every stage
hash and append-only. A batch reads every file whose range overlaps its own, so changing the batch size buys
nothing again, and two runs whose ranges overlap cannot work at the same time.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pipeline.errors import LakeError
from pipeline.llm.ledger.files import ends_in_newline, lines_of, lock, overlapping_files, sync_folders
from pipeline.llm.ledger.prices import Prices
from pipeline.llm.ledger.records import line_of, merge
from pipeline.llm.requests import FAILED, Answer, Request

_SEAL_SECONDS = 30.0


class Ledger:
    """The answers for one table and one range of an SAE's features; a context manager.

    Args:
        folder: The lake's ledger folder.
        table: The table whose stage asks.
        sae: The SAE's name.
        first: The first feature of the range.
        last: The last feature of the range, inclusive.
        prices: The prices used for answers that are recorded without prices of their own.
        seal: Publishes the file's lines to other machines; called periodically and at the end, where it must not
            fail.
    """

    def __init__(
        self,
        folder: Path,
        table: str,
        sae: str,
        first: int,
        last: int,
        prices: Prices | None = None,
        seal: Callable[[Path, BinaryIO], None] | None = None,
    ) -> None:
        self._prices = prices or Prices({})
        self.seal = seal
        self._sealed = time.monotonic()
        self.path = folder / table / sae / f"{first}-{last}.jsonl"
        self.features = range(first, last + 1)
        self._answers: dict[str, Answer] = {}
        self._mutex = threading.Lock()
        self._file: BinaryIO | None = None
        self._handles = ExitStack()
        """The file and all overlapping files, locked while they are open."""
        self._is_torn = False
        """Whether a write failed half-way, so that the next one must begin on a new line."""

    def __enter__(self) -> Self:
        """Lock the batch's own file and all overlapping files, and read the recorded answers.

        Raises:
            LakeError: Another run holds one of the files, or a file cannot be opened.
        """
        with ExitStack() as stack:
            file = stack.enter_context(self._open())
            lock(file, self.path, fcntl.LOCK_EX)
            self._answers = self._read(file, stack)
            self._is_torn = not ends_in_newline(file)
            sync_folders(self.path.parent)
            self._file, self._handles = file, stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._mutex:
            file, self._file = self._file, None
            if file is None:
                return
            try:
                if self.seal is not None:
                    self.seal(self.path, file)
            finally:
                self._handles.close()  # releases the locks

    def replay(self, request: Request, *, renews: bool = False) -> Answer | None:
        """The recorded answer; None if there is none or the transport failed, so that the request is sent again.

        With `renews`, also None if the request was not sent: the server may be able to answer it now.
        """
        answer = self.last(request)
        if answer is None or answer.status in FAILED or (renews and answer.is_unsent):
            return None
        return answer

    def last(self, request: Request) -> Answer | None:
        """The last record of a request, including a failure."""
        with self._mutex:
            return self._answers.get(request.request_id)

    def record(self, request: Request, answer: Answer) -> None:
        """Append one line and sync it to disk. Raises LakeError if it cannot be written."""
        self.record_all([(request, answer)])

    def record_all(self, paid: Sequence[tuple[Request, Answer]], prices: Prices | None = None) -> None:
        """Append one line per answer and sync them to disk. Raises LakeError if they cannot be written.

        `prices` are those of the client that answered: of two clients with the same model name, one may be free.
        """
        lines = [line_of(request, answer, prices or self._prices) for request, answer in paid]
        # JSON allows a lone surrogate and UTF-8 does not; an answer that was paid for must not be lost to one.
        data = "".join(f"{line}\n" for line in lines).encode(errors="replace")
        with self._mutex:
            if self._file is None:
                raise LakeError(f"ledger '{self.path}' is not open")
            if self._is_torn:
                data = b"\n" + data
            self._is_torn = True
            try:
                while data:
                    data = data[self._file.write(data) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                raise LakeError(f"ledger '{self.path}' cannot be written: {error.strerror}") from None
            self._is_torn = False
            self._answers.update((answer.request_id, answer) for _, answer in paid)
            if self.seal is not None and time.monotonic() - self._sealed > _SEAL_SECONDS:
                # While the store does not answer, what is paid for is safe here, and more is in flight.
                with suppress(LakeError):
                    self.seal(self.path, self._file)
                self._sealed = time.monotonic()

    def _open(self) -> BinaryIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that the rest of a failed write is not written again when the file is closed.
            return self.path.open("a+b", buffering=0)
        except OSError as error:
            raise LakeError(f"ledger '{self.path}' cannot be opened: {error.strerror}") from None

    def _read(self, own: BinaryIO, stack: ExitStack) -> dict[str, Answer]:
        """The last answer by request_id, over its own file and all overlapping ones.

        The other files stay locked for shared reading: their owner, a run with another batch size, would send the
        same requests. Copies of lines that another machine has sealed have no owner here.
        """
        answers: dict[str, Answer] = {}
        merge(answers, lines_of(own))
        for path in overlapping_files(self.path.parent, self.features):
            if "@" in path.name:
                with path.open("rb") as sealed:
                    merge(answers, sealed)
            elif path != self.path:
                other = stack.enter_context(path.open("rb"))
                lock(other, path, fcntl.LOCK_SH)
                merge(answers, other)
        return answers


class ReadLedger(Ledger):
    """A ledger that is read without locking it; what is recorded stays in this process."""

    def __enter__(self) -> Self:
        """Read the recorded answers."""
        for path in overlapping_files(self.path.parent, self.features):
            with path.open("rb") as file:
                merge(self._answers, file)
        return self

    def record_all(self, paid: Sequence[tuple[Request, Answer]], prices: Prices | None = None) -> None:
        """Keep answers without writing them."""
        self._answers.update((answer.request_id, answer) for _, answer in paid)
