"""What was handed to a provider, noted before it goes and again when it is there, so that a kill sends it once.

A file beside the batch's ledger, `<first>-<last feature>.batches`, locked by that ledger and read likewise, with
all whose range overlaps. One JSON line before a provider's batch is created, with the key by which the provider's
list of batches knows it and the requests that it holds; one after, with the provider's id of it. A process that is
killed between the two leaves the first line alone, and the next one looks for the key in the provider's list. Only
where that lacks it, a minute after it was handed over, is it sent again. In an object store lines are sealed as
they are written, so that another machine waits for the batches of one that is lost.
"""

import json
import os
import uuid
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pipeline.errors import LakeError
from pipeline.llm.ledger.answers import Ledger, overlapping_files

SUFFIX = ".batches"


class Sent(NamedTuple):
    """A batch that was handed to a provider, or was about to be.

    Attributes:
        key: By which the provider's list knows it; no two are alike.
        sent_at: When, ISO 8601 in UTC.
        request_ids: The requests in it.
        batch_id: The provider's id of it; None where the answer to its creation was not noted.
    """

    key: str
    sent_at: str
    request_ids: Sequence[str]
    batch_id: str | None = None


class Journal:
    """The provider's batches of a ledger's requests.

    Args:
        ledger: The batch's ledger; it is open, and so holds the lock.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.path = ledger.path.with_suffix(SUFFIX)
        self._ledger = ledger

    def holding(self, wanted: Collection[str]) -> list[Sent]:
        """For each wanted request the last batch that holds it, where there is one."""
        begun: dict[str, Sent] = {}
        ended: dict[str, str] = {}  # perhaps by another machine, whose lines are in another file
        for line in self._lines():
            try:
                record = json.loads(line)
                if "request_ids" in record:
                    begun[record["key"]] = Sent(**record)
                else:
                    ended[record["key"]] = record["batch_id"]
            except (ValueError, TypeError, KeyError):  # torn by a kill: nothing was sent yet, or the list knows it
                continue
        sent = (each._replace(batch_id=ended.get(each.key)) for each in begun.values())
        last: dict[str, Sent] = {}
        for each in sorted(sent, key=lambda each: each.sent_at):
            last |= dict.fromkeys(set(wanted).intersection(each.request_ids), each)
        return list({each.key: each for each in last.values()}.values())

    def begin(self, request_ids: Sequence[str]) -> Sent:
        """Note that a batch of these requests is about to be handed over."""
        sent = Sent(uuid.uuid4().hex, datetime.now(UTC).isoformat(timespec="milliseconds"), list(request_ids))
        self._append({"key": sent.key, "sent_at": sent.sent_at, "request_ids": sent.request_ids})
        return sent

    def end(self, sent: Sent, batch_id: str) -> Sent:
        """Note the provider's id of a batch."""
        self._append({"key": sent.key, "batch_id": batch_id})
        return sent._replace(batch_id=batch_id)

    def _lines(self) -> Iterator[str]:
        for path in overlapping_files(self.path.parent, self._ledger.features, SUFFIX):
            yield from path.read_text(encoding="utf-8", errors="replace").split("\n")

    def _append(self, record: dict[str, Any]) -> None:
        """Append a line after whatever a kill has left, and return when the disk has it."""
        data = f"\n{json.dumps(record)}\n".encode()
        try:
            with self.path.open("ab", buffering=0) as file:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            if self._ledger.seal is not None:
                with self.path.open("rb") as written:
                    self._ledger.seal(self.path, written)
        except OSError as error:
            raise LakeError(f"'{self.path}' cannot be written: {error.strerror}") from None
