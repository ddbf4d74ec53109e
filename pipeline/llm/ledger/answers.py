"""The ledger: every answer ever paid for, one JSON line each, synced to disk before it is used.

Files are `<table>/<sae>/<first>-<last feature>.jsonl` in the lake's ledger folder. They are outside every stage
hash and append-only. A batch reads every file whose range overlaps its own, so changing the batch size buys
nothing again, and two runs whose ranges overlap cannot work at the same time.
"""

import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pipeline.errors import LakeError
from pipeline.llm.ledger.prices import Prices
from pipeline.llm.requests import FAILED, Answer, Request

_RANGE = re.compile(r"(\d+)-(\d+)(?:@.+)?")
"""A file's name: its features, and after an @ the identity of lines that another machine has sealed."""

_SEAL_SECONDS = 30.0

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ANSWER_FIELDS = tuple(field.name for field in fields(Answer))
_LATER_FIELDS = dict.fromkeys(("choice_mass", "reasoning_tokens", "values", "batch_id"))
"""Fields missing from records of earlier versions."""


class Ledger:
    """The answers for one table and one range of an SAE's features; a context manager.

    Args:
        folder: The lake's ledger folder.
        table: The table whose stage asks.
        sae: The SAE's name.
        first: The first feature of the range.
        last: The last feature of the range, inclusive.
        prices: The prices used for answers that are recorded without prices of their own.
        seal: Publishes the file's lines to other machines; called periodically and at the end.
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
            _lock(file, self.path, fcntl.LOCK_EX)
            self._answers = self._read(file, stack)
            self._is_torn = not _ends_in_newline(file)
            _sync_folders(self.path.parent)
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

    def replay(self, request: Request, *, renew: bool = False) -> Answer | None:
        """The recorded answer; None if there is none or the transport failed, so that the request is sent again.

        With `renew`, also None if the request was not sent: the server may be able to answer it now.
        """
        answer = _replayed(self.last(request))
        return None if answer is not None and renew and answer.is_unsent else answer

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
        lines = [_compact(_record(request, answer, prices or self._prices)) for request, answer in paid]
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
        answers = _answers(_lines(own))
        for path in overlapping_files(self.path.parent, self.features):
            if "@" in path.name:
                _merge_file(answers, path)
            elif path != self.path:
                other = stack.enter_context(path.open("rb"))
                _lock(other, path, fcntl.LOCK_SH)
                _merge(answers, other)
        return answers


class ReadLedger(Ledger):
    """A ledger that is read without locking it; what is recorded stays in this process."""

    def __enter__(self) -> Self:
        """Read the recorded answers."""
        for path in overlapping_files(self.path.parent, self.features):
            _merge_file(self._answers, path)
        return self

    def record_all(self, paid: Sequence[tuple[Request, Answer]], prices: Prices | None = None) -> None:
        """Keep answers without writing them."""
        self._answers.update((answer.request_id, answer) for _, answer in paid)


def _replayed(answer: Answer | None) -> Answer | None:
    return None if answer is None or answer.status in FAILED else answer


def overlapping_files(folder: Path, features: range, suffix: str = ".jsonl") -> Iterator[Path]:
    """The files in a folder whose range overlaps a range of features, in the order of their names."""
    for path in sorted(folder.glob(f"*{suffix}")):
        match = _RANGE.fullmatch(path.stem)
        if match and int(match[1]) < features.stop and int(match[2]) >= features.start:
            yield path


def last_lines(folder: Path, most_bytes: int) -> Iterator[bytes]:
    """The lines written last for each table, about `most_bytes` each: the ends of its files, the latest first."""
    for table in folder.glob("*/"):
        left = most_bytes
        files = [(path.stat().st_mtime_ns, path) for path in table.rglob("*.jsonl")]
        for _, path in sorted(files, reverse=True):
            with path.open("rb") as file:
                begin = max(0, file.seek(0, os.SEEK_END) - left)
                file.seek(begin)
                data = file.read()
            yield data if begin == 0 else data.partition(b"\n")[2]
            left -= len(data)
            if left <= 0:
                break


def _lock(file: BinaryIO, path: Path, kind: int) -> None:
    """Lock a ledger file until it is closed. Raises LakeError if another run holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        raise LakeError(
            f"ledger '{path}' is in use by another run on some of the same features; wait for it or stop it"
        ) from None


def _merge_file(answers: dict[str, Answer], path: Path) -> None:
    with path.open("rb") as file:
        _merge(answers, file)


def _merge(answers: dict[str, Answer], file: BinaryIO) -> None:
    """Merge a file's answers into the known ones; of two for the same request, the later paid one is kept."""
    for answer in _answers(file).values():
        _keep(answers, answer)


def _record(request: Request, answer: Answer, prices: Prices) -> dict[str, Any]:
    """A ledger line: the columns of `llm_requests`, the parameters, and the probabilities."""
    answered = {field: getattr(answer, field) for field in _ANSWER_FIELDS}
    return {
        "request_id": answered.pop("request_id"),
        "purpose": request.purpose,
        "sae": request.sae,
        "feature": request.feature,
        "model": request.model,
        "resolved_model": answered.pop("resolved_model"),
        "messages": [message._asdict() for message in request.messages],
        "parameters": {
            "max_tokens": request.max_tokens,
            "stop": request.stop,
            "temperature": request.temperature,
            "choices": request.choices,
            "keys": request.keys,
            "blank": request.blank,
            "schema": request.schema,
            "reasoning_tokens": request.reasoning_tokens,
            "reasoning_effort": request.reasoning_effort,
        },
        "draw": request.draw,
        "repeats": request.repeats,
        "response": answered.pop("text"),
        **answered,
        "cost_usd": prices.usd(
            request.model,
            answer.prompt_tokens,
            answer.completion_tokens,
            answer.cached_tokens,
            in_batch=answer.batch_id is not None,
        ),
    }


def _answers(lines: Iterable[bytes]) -> dict[str, Answer]:
    """The last answer by request_id; torn lines and lines that are not records are skipped."""
    answers: dict[str, Answer] = {}
    for line in lines:
        try:
            record = json.loads(line)
            values = {**_LATER_FIELDS, **record, "text": record["response"]}
            answer = Answer(**{name: values[name] for name in _ANSWER_FIELDS})
        except (ValueError, TypeError, KeyError):
            continue
        _keep(answers, answer)
    return answers


def _keep(answers: dict[str, Answer], answer: Answer) -> None:
    """Replace an earlier answer by a later one, but never an answer that was paid for by a failure."""
    known = answers.get(answer.request_id)
    if known is None or _rank(answer) >= _rank(known):
        answers[answer.request_id] = answer


def _rank(answer: Answer) -> tuple[bool, str]:
    return answer.status not in FAILED, answer.requested_at


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of an unbuffered file from its start, read through the handle that holds the lock.

    On network filesystems, closing a second handle in the same process would release the lock.
    """
    file.seek(0)
    rest = b""
    while block := file.read(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _sync_folders(folder: Path) -> None:
    """Sync a new file's name to disk; syncing the file itself does not."""
    for each in (folder, folder.parent, folder.parent.parent):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _ends_in_newline(file: BinaryIO) -> bool:
    """Whether the file is empty or its last byte is a newline."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
