"""The oracle with a provider's batch API: files and batches as OpenAI documents them, which fail as theirs do.

    with BatchOracle(brain, ends=[End("expired", lambda number: "answer" if number < 3 else "expired")]) as oracle:

Each batch that is created takes the next of `ends`, and the last one stays. Batches are listed newest first, and a
line's outcome is the answer that the brain gives to its body.
"""

import email
import email.policy
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from llm.oracle import Handler, Oracle, Reply, completion

LineEnd = Literal["answer", "expired", "cancelled", "overloaded", "refused", "missing"]
CreateFault = Literal["rate_limit", "error_after", "drop_after", "drop_before"]


@dataclass(frozen=True)
class End:
    """How a batch ends.

    Attributes:
        status: Of its end.
        line: What comes of its line of that number.
        errors: Of its validation, with status `failed`.
        n_looks: How often it is still in progress when it is looked up.
        n_unknown: So many times it is not known when it is looked up, at first.
        twice: Every answer comes twice, the second time another.
        backwards: The lines come in reverse order.
        strange: Lines to requests that it was not given, and one that is no JSON, come first.
        breaks_off: So many times the file breaks off in the middle.
    """

    status: str = "completed"
    line: Callable[[int], LineEnd] = lambda number: "answer"
    errors: tuple[dict[str, Any], ...] = ()
    n_looks: int = 1
    n_unknown: float = 0
    twice: bool = False
    backwards: bool = False
    strange: bool = False
    breaks_off: int = 0


@dataclass
class Batch:
    """A batch at the provider."""

    id: str
    lines: list[dict[str, Any]]
    end: End
    metadata: dict[str, str]
    input_file_id: str
    n_looks: int = 0
    n_unknown: int = 0
    n_broken: int = 0
    created_at: int = field(default_factory=lambda: int(time.time()))

    @property
    def is_ended(self) -> bool:
        return self.n_looks > self.end.n_looks

    def json(self) -> dict[str, Any]:
        status = self.end.status if self.is_ended else "in_progress"
        has_output = self.is_ended and status != "failed"
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "input_file_id": self.input_file_id,
            "status": status,
            "errors": {"object": "list", "data": list(self.end.errors)} if status == "failed" else None,
            "output_file_id": f"{self.id}-output" if has_output else None,
            "error_file_id": f"{self.id}-error" if has_output else None,
            "created_at": self.created_at,
            "completed_at": int(time.time()) if status == "completed" else None,
            "metadata": self.metadata,
        }


@dataclass
class BatchOracle(Oracle):
    """The server; a context manager. `creates` says in turn how creating a batch fails: not, from its end on.

    With `most_at_once` a batch fails whose requests would be more than so many in unfinished batches.
    """

    ends: list[End] = field(default_factory=lambda: [End()])
    creates: list[CreateFault | None] = field(default_factory=list)
    most_at_once: int | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    n_creates: int = 0

    def create(self, file_id: str, metadata: dict[str, str]) -> Batch:
        """Take a batch on."""
        lines = [json.loads(line) for line in self.files[file_id].splitlines()]
        assert all(line["method"] == "POST" and line["url"] == "/v1/chat/completions" for line in lines)
        with self._lock:
            end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
            unfinished = sum(len(batch.lines) for batch in self.batches.values() if not batch.is_ended)
            if self.most_at_once is not None and unfinished + len(lines) > self.most_at_once:
                error = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None}
                end = End("failed", errors=(error,))
            batch = Batch(f"batch_{len(self.batches)}", lines, end, metadata, file_id)
            self.batches[batch.id] = batch
            return batch

    def asked(self) -> list[str]:
        """The requests that were taken on, batch after batch, but for those of failed batches."""
        taken = [batch for batch in self.batches.values() if batch.end.status != "failed"]
        return [line["custom_id"] for batch in taken for line in batch.lines]

    def output(self, batch: Batch, which: str) -> bytes:
        """The file of a batch's answers, or of its errors."""
        lines = [self._line(batch, number, line) for number, line in enumerate(batch.lines)]
        is_error = which == "error"
        rows = [row for row in lines if row and (row["error"] is not None or _code(row) >= 400) == is_error]
        if batch.end.twice and not is_error:
            again = json.loads(json.dumps(rows))
            for row in again:
                row["response"]["body"]["choices"][0]["message"]["content"] = "another"
            rows += again
        if batch.end.backwards:
            rows.reverse()
        texts = [json.dumps(row, ensure_ascii=False) for row in rows]
        if batch.end.strange and rows:
            texts = [json.dumps({**rows[0], "custom_id": "of-nobody"}, ensure_ascii=False), "{", "", *texts]
        return "".join(f"{text}\n" for text in texts).encode()

    def _line(self, batch: Batch, number: int, line: dict[str, Any]) -> dict[str, Any] | None:
        row = {"id": f"batch_req_{number}", "custom_id": line["custom_id"], "response": None, "error": None}
        body = line["body"]

        def responded(status: int, content: dict[str, Any]) -> dict[str, Any]:
            return {**row, "response": {"status_code": status, "request_id": f"req_{number}", "body": content}}

        match batch.end.line(number):
            case "answer":
                said = self.brain(body)
                return responded(200, completion(body, Reply(said) if isinstance(said, str) else said))
            case "overloaded":
                return responded(503, {"error": {"message": "overloaded", "code": None}})
            case "refused":
                return responded(400, {"error": {"message": "Invalid value for 'messages'", "code": None}})
            case "missing":
                return None
            case ended:
                return {**row, "error": {"code": f"batch_{ended}", "message": "This request was not executed."}}


def _code(row: dict[str, Any]) -> int:
    return row["response"]["status_code"] if row["response"] else 400


class _Handler(Handler):
    oracle: BatchOracle

    def do_POST(self) -> None:  # noqa: N802
        path = urlsplit(self.path).path
        if path == "/v1/files":
            return self._take_file()
        if path == "/v1/batches":
            return self._create()
        return super().do_POST()

    def do_GET(self) -> None:  # noqa: N802
        parts = urlsplit(self.path)
        oracle = self.oracle
        if parts.path == "/v1/batches":
            return self._list(parse_qs(parts.query))
        if match := re.fullmatch(r"/v1/batches/(.+)", parts.path):
            self.note()
            if (batch := oracle.batches.get(match[1])) is None or batch.n_unknown < batch.end.n_unknown:
                if batch:
                    batch.n_unknown += 1
                return self.send(404, {"error": {"message": f"no batch {match[1]}"}})
            batch.n_looks += 1
            return self.send(200, batch.json())
        if match := re.fullmatch(r"/v1/files/(batch_\d+)-(output|error)/content", parts.path):
            self.note()
            batch = oracle.batches[match[1]]
            content = oracle.output(batch, match[2]).decode()
            if match[2] == "output" and batch.n_broken < batch.end.breaks_off:
                batch.n_broken += 1
                self.send(200, content[: len(content) // 2], promised=len(content) // 2)
                self.close_connection = True
                return None
            return self.send(200, content)
        return super().do_GET()

    def _take_file(self) -> None:
        self.note()
        data = self.rfile.read(int(self.headers["content-length"]))
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + data, policy=email.policy.HTTP)
        parts = {each.get_param("name", header="content-disposition"): each for each in message.iter_parts()}
        assert parts["purpose"].get_content().strip() == "batch"
        file_id = f"file-{len(self.oracle.files)}"
        self.oracle.files[file_id] = parts["file"].get_payload(decode=True)
        self.send(200, {"id": file_id, "object": "file", "purpose": "batch", "filename": "f", "bytes": len(data)})

    def _create(self) -> None:
        self.note()
        oracle, body = self.oracle, json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        oracle.n_creates += 1
        fault = oracle.creates.pop(0) if oracle.creates else None
        if fault == "rate_limit":
            return self.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.01"})
        if fault == "drop_before":
            self.close_connection = True
            return None
        batch = oracle.create(body["input_file_id"], body["metadata"])
        if fault == "error_after":
            return self.send(500, {"error": {"message": "something went wrong"}})
        if fault == "drop_after":
            self.close_connection = True
            return None
        return self.send(200, batch.json())

    def _list(self, query: dict[str, list[str]]) -> None:
        """A page of two, newest first."""
        ids = list(self.oracle.batches)[::-1]
        start = ids.index(query["after"][0]) + 1 if "after" in query else 0
        page = [self.oracle.batches[each].json() for each in ids[start : start + 2]]
        self.note()
        self.send(200, {"object": "list", "data": page, "has_more": start + 2 < len(ids)})


BatchOracle.handler = _Handler
