"""Records each provider's batch before and after it is created, so that its requests are sent once despite a kill.

The record is a file next to the batch's ledger, `<first>-<last feature>.batches`. It is locked by that ledger, and
all files with an overlapping range are read. A line before a provider's batch is created holds its requests and
the key that identifies it in the provider's list of batches; a line afterwards holds the provider's id. If a
process is killed in between, only the first line exists, and the next process looks for the key in the provider's
list. The requests are sent again only if the list still lacks the key a minute later. In an object store lines are
sealed as they are written, so that another machine waits for the batches of one that is lost.
"""

import json
import os
import uuid
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from pipeline.errors import LakeError
from pipeline.llm.ledger.answers import Ledger
from pipeline.llm.ledger.files import overlapping_files
from pipeline.llm.requests import now

SUFFIX = ".batches"


class Sent(NamedTuple):
    """A batch that was sent to a provider, or was about to be.

    Attributes:
        key: Unique key that identifies it in the provider's list.
        sent_at: Time of sending, ISO 8601 in UTC.
        request_ids: The requests in it.
        batch_id: The provider's id; None if the answer to its creation was not recorded.
    """

    key: str
    sent_at: str
    request_ids: Sequence[str]
    batch_id: str | None = None


class Journal:
    """The provider's batches of a ledger's requests.

    Args:
        ledger: The batch's ledger, open and therefore locked.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.path = ledger.path.with_suffix(SUFFIX)
        self._ledger = ledger

    def holding(self, wanted: Collection[str]) -> list[Sent]:
        """The last batch of each wanted request, as far as there is one.

        A file's lines are in their order; those of several files are ordered by their times.
        """
        begun: dict[str, tuple[str, Sent]] = {}
        ended: dict[str, str] = {}  # possibly by another machine, in another file
        for path in overlapping_files(self.path.parent, self._ledger.features, SUFFIX):
            latest = ""  # a clock that was set back must not make a line earlier than those before it
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                try:
                    record = json.loads(line)
                    if "request_ids" in record:
                        latest = max(latest, record["sent_at"])
                        begun[record["key"]] = latest, Sent(**record)
                    else:
                        ended[record["key"]] = record["batch_id"]
                except (ValueError, TypeError, KeyError):  # torn by a kill: nothing was sent, or it is listed
                    continue
        last: dict[str, Sent] = {}
        for _, sent in sorted(begun.values(), key=lambda timed: timed[0]):
            each = sent._replace(batch_id=ended.get(sent.key))
            last |= dict.fromkeys(set(wanted).intersection(each.request_ids), each)
        return list({each.key: each for each in last.values()}.values())

    def begin(self, request_ids: Sequence[str]) -> Sent:
        """Record that a batch of these requests is about to be sent."""
        sent = Sent(uuid.uuid4().hex, now(), list(request_ids))
        self._append({"key": sent.key, "sent_at": sent.sent_at, "request_ids": sent.request_ids})
        return sent

    def end(self, sent: Sent, batch_id: str) -> Sent:
        """Record the provider's id of a batch."""
        self._append({"key": sent.key, "batch_id": batch_id})
        return sent._replace(batch_id=batch_id)

    def _append(self, record: dict[str, Any]) -> None:
        """Append a line, separated from whatever a kill has left, and sync it to disk."""
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
