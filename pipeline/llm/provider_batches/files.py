"""The files of a provider's batch: one line per request, and one line per outcome.

Formats and limits are OpenAI's (developers.openai.com/api/docs/guides/batch): outcomes come in any order, and
failed ones in a file of their own.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from pipeline.llm.requests import Answer, Request
from pipeline.llm.server.bodies import body_of
from pipeline.llm.server.capabilities import Capabilities
from pipeline.llm.server.reading import Failure, Response, json_of, read

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
"""Maximum requests and bytes per file."""


class Part(NamedTuple):
    """The requests in one file, and its content."""

    requests: list[Request]
    content: bytes


class Line(NamedTuple):
    """An outcome: the request's id, the JSON of a completion if there is one, and the response or failure."""

    request_id: str
    content: Any
    response: Response | None
    error: Failure | None

    def outcome(self, request: Request) -> Answer | Failure:
        """The answer or the failure in it."""
        return self.error or read(request, self.response or Response(500, {}, b""), self.content)


def cut_parts(
    requests: Iterable[tuple[Request, Capabilities]], most_requests: int, most_bytes: int
) -> Iterator[Part]:
    """The requests in order, in files within the provider's limits."""
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
    """The outcome in a line; None if there is none."""
    record = json_of(line)
    if not isinstance(record, dict) or not isinstance(record.get("custom_id"), str):
        return None
    request_id, response, error = record["custom_id"], record.get("response"), record.get("error")
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        content = response.get("body")
        received = Response(response["status_code"], {}, json.dumps(content).encode())
        return Line(request_id, content, received, None)
    # `batch_expired`, `batch_cancelled`, `request_timeout`: another batch may answer it.
    inner = error if isinstance(error, dict) else {}
    said = f"{inner.get('code')}: {inner.get('message')}"
    return Line(request_id, None, None, Failure(said, passes=True))


def _line_of(request: Request, can: Capabilities) -> bytes:
    head = {"custom_id": request.request_id, "method": "POST", "url": ENDPOINT}
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"body":' + body_of(request, can) + b"}\n"
