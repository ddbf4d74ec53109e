"""The ledger: every answer that was ever paid for, one JSON line each, synced before it is used.

Files are `<asset>/<sae>/<first>-<last feature>.jsonl` below the lake's ledger folder, outside every stage
hash, and only ever appended to. A batch reads every file whose range overlaps its own, so that another
batch size buys nothing again.
"""

import fcntl
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pipeline.errors import LakeError
from pipeline.llm.requests import FAILED, Answer, Request

_RANGE = re.compile(r"(\d+)-(\d+)")
_ANSWER_FIELDS = tuple(field.name for field in fields(Answer))


class Ledger:
    """The answers of one asset to one range of an SAE's features; use it as a context manager.

    Args:
        folder: The lake's ledger folder.
        asset: The table whose stage asks.
        sae: The SAE's name.
        first: The range's first feature.
        last: Its last one, included.
    """

    def __init__(self, folder: Path, asset: str, sae: str, first: int, last: int) -> None:
        self.path = folder / asset / sae / f"{first}-{last}.jsonl"
        self._range = range(first, last + 1)
        self._answers: dict[str, Answer] = {}
        self._mutex = threading.Lock()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Lock the batch's own file and read what is known.

        Raises:
            LakeError: Another run holds the file, or it cannot be opened.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what a failed write leaves behind must not be written again when the file closes.
            file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise LakeError(f"ledger '{self.path}' cannot be opened: {error.strerror}") from None
        try:
            self._lock(file)
            self._answers = self._read(file)
            if not _ends_in_newline(file):
                file.write(b"\n")
        except BaseException:
            file.close()
            raise
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._mutex:
            if self._file is not None:
                self._file.close()  # which gives up the lock
            self._file = None

    def replay(self, request: Request) -> Answer | None:
        """The answer that is known, unless it is a failure of the transport, which is to be asked again."""
        with self._mutex:
            answer = self._answers.get(request.request_id)
        return None if answer is None or answer.status in FAILED else answer

    def record(self, request: Request, answer: Answer) -> None:
        """Append one line, and return when the disk has it. Raises LakeError if it cannot be written."""
        line = json.dumps(_record(request, answer), ensure_ascii=False, separators=(",", ":"))
        # A lone surrogate, which JSON can carry and UTF-8 cannot, must not cost an answer that was paid for.
        data = line.encode(errors="replace") + b"\n"
        with self._mutex:
            if self._file is None:
                raise LakeError(f"ledger '{self.path}' is not open")
            try:
                while data:
                    data = data[self._file.write(data) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                raise LakeError(f"ledger '{self.path}' cannot be written: {error.strerror}") from None
            self._answers[answer.request_id] = answer

    def _lock(self, file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LakeError(
                f"ledger '{self.path}' is in use by another run on the same batch; wait for it or stop it"
            ) from None

    def _read(self, own: BinaryIO) -> dict[str, Answer]:
        """The last answer by request_id over the own file and all whose range overlaps it."""
        answers = _answers(_lines(own))
        for path in sorted(self.path.parent.glob("*.jsonl")):
            match = _RANGE.fullmatch(path.stem)
            overlaps = match and int(match[1]) < self._range.stop and int(match[2]) >= self._range.start
            if overlaps and path != self.path:
                with path.open("rb") as file:
                    for request_id, answer in _answers(file).items():
                        known = answers.get(request_id)
                        if known is None or known.requested_at < answer.requested_at:
                            answers[request_id] = answer
        return answers


def _record(request: Request, answer: Answer) -> dict[str, Any]:
    """A line of the ledger: the columns of `llm_requests`, which has one row per request_id."""
    answered = asdict(answer)
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
            "stop": list(request.stop),
            "temperature": request.temperature,
            "choices": request.choices,
            "schema": request.schema,
        },
        "draw": request.draw,
        "response": answered.pop("text"),
        **answered,
        "cost_usd": None,
    }


def _answers(lines: Iterable[bytes]) -> dict[str, Answer]:
    """The last answer by request_id; a line that is torn or no record is passed over."""
    answers = {}
    for line in lines:
        try:
            record = json.loads(line)
            values = {**record, "text": record["response"]}
            answer = Answer(**{name: values[name] for name in _ANSWER_FIELDS})
        except (ValueError, TypeError, KeyError):
            continue
        answers[answer.request_id] = answer
    return answers


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of an unbuffered file, from its start, read through the handle that holds the lock.

    On network filesystems closing a second handle of the same process would give the lock up.
    """
    file.seek(0)
    rest = b""
    while block := file.read(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _ends_in_newline(file: BinaryIO) -> bool:
    """Whether the file is empty or its last byte is a newline."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
