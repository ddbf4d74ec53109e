"""The files of a provider's batch: a request a line on the way there, an outcome a line on the way back.

Formats and limits are OpenAI's (developers.openai.com/api/docs/guides/batch): lines come back in any order, those
that failed in a file of their own.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from pipeline.llm.requests import Answer, Request
from pipeline.llm.server.capabilities import Capabilities, body_of
from pipeline.llm.server.reading import Failure, Response, json_of, read

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
"""Requests and bytes of one file, at most."""


class Part(NamedTuple):
    """Requests that go in one file, and the file."""

    requests: list[Request]
    content: bytes


class Line(NamedTuple):
    """A line that came back: whose it is, the JSON of a completion if there is one, and what it says."""

    request_id: str
    content: Any
    response: Response | None
    error: Failure | None

    def outcome(self, request: Request) -> Answer | Failure:
        """The answer or the failure that it holds."""
        return self.error or read(request, self.response or Response(500, {}, b""), self.content)


def cut_parts(
    requests: Iterable[tuple[Request, Capabilities]], most_requests: int, most_bytes: int
) -> Iterator[Part]:
    """The requests in their order, in files that a provider takes."""
    some: list[Request] = []
    lines: list[bytes] = []
    n_bytes = 0
    for request, can in requests:
        line = _line_of(request, can)
        if some and (len(some) == most_requests or n_bytes + len(line) > most_bytes):
            yield Part(some, b"".join(lines))
            some, lines, n_bytes = [], [], 0
        some.append(request)
        lines.append(line)
        n_bytes += len(line)
    if some:
        yield Part(some, b"".join(lines))


def read_line(line: bytes) -> Line | None:
    """A line that came back; None where it is none."""
    record = json_of(line)
    if not isinstance(record, dict) or not isinstance(record.get("custom_id"), str):
        return None
    request_id, response, error = record["custom_id"], record.get("response"), record.get("error")
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        content = response.get("body")
        received = Response(response["status_code"], {}, json.dumps(content).encode())
        return Line(request_id, content, received, None)
    # `batch_expired`, `batch_cancelled`, `request_timeout`: not answered in this batch, it may be in another.
    inner = error if isinstance(error, dict) else {}
    said = f"{inner.get('code')}: {inner.get('message')}"
    return Line(request_id, None, None, Failure(said, passes=True))


def _line_of(request: Request, can: Capabilities) -> bytes:
    head = {"custom_id": request.request_id, "method": "POST", "url": ENDPOINT}
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"body":' + body_of(request, can) + b"}\n"
