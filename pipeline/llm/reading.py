"""What a response says: an answer, or a failure that another attempt may mend.

Answers are read from the raw JSON, field by field, because servers leave out or ignore what they do not know.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.llm.choices import choice_probabilities
from pipeline.llm.pacing import retry_after_seconds
from pipeline.llm.requests import Answer, Request, Status

_RETRIED = frozenset({408, 409, 425, 429})
_OVERLOADED = frozenset({429, 503, 529})


class Response(NamedTuple):
    """A response; header names are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Failure:
    """An attempt that gave no answer.

    Attributes:
        error: What went wrong, as it came: it may hold a key.
        passes: Another attempt may succeed.
        overloaded: The endpoint has too much to do.
        connected: There was a connection to the server.
        http_status: Of the response, where there was one.
        retry_after_seconds: How long the endpoint asks everybody to wait.
        is_out_of_credit: The account has nothing left to spend.
    """

    error: str
    passes: bool
    overloaded: bool = False
    connected: bool = True
    http_status: int | None = None
    retry_after_seconds: float | None = None
    is_out_of_credit: bool = False


def read(request: Request, response: Response) -> Answer | Failure:
    """The answer in a response; attempts and times are filled in by whoever sent the request."""
    try:
        content = json.loads(response.body)
    except (ValueError, RecursionError):
        content = None
    if not 200 <= response.status < 300:
        return _read_status(request, response, content)
    if content is None:
        return Failure("the server's answer was not JSON", passes=True)
    return _read_completion(request, content)


def first_token(content: Any) -> list[tuple[str, float]]:
    """The alternatives (token, log-probability) at a completion's first token, unless there are under two.

    One alone says which token was drawn, and nothing of how probable the other choice was.
    """
    tokens = _dict(_choice(content).get("logprobs")).get("content")
    first = _dict(tokens[0]) if isinstance(tokens, list) and tokens else {}
    listed = first.get("top_logprobs")
    found = {}
    for entry in [first, *(listed if isinstance(listed, list) else [])]:
        token, logprob = _dict(entry).get("token"), _dict(entry).get("logprob")
        if isinstance(token, str) and isinstance(logprob, int | float):
            found[token] = float(logprob)
    return list(found.items()) if len(found) > 1 else []


def _read_status(request: Request, response: Response, content: Any) -> Answer | Failure:
    """What an error response says."""
    status, inner = response.status, _dict(_dict(content).get("error"))
    said = _error_message(content) or response.body.decode(errors="replace")
    code = inner.get("code")
    if code == "content_filter" or (status == 403 and "flagged" in said):
        # Azure's filter, OpenRouter's moderation: the input was refused, and would be again.
        return Answer(request.request_id, "refused", error=f"HTTP {status}: {said}")
    return Failure(
        f"HTTP {status}: {said}",
        passes=status in _RETRIED or status >= 500,
        overloaded=status in _OVERLOADED,
        http_status=status,
        retry_after_seconds=retry_after_seconds(response.headers.get("retry-after")),
        is_out_of_credit=status == 402 or code == "insufficient_quota",
    )


def _read_completion(request: Request, content: Any) -> Answer | Failure:
    """The answer in the JSON of a completion."""
    if not isinstance(content, dict):
        return Failure("the server's answer was not a JSON object", passes=True)
    choice = _choice(content)
    if not choice:
        # OpenRouter passes an upstream failure on as HTTP 200 with an error inside.
        return Failure(_error_message(content) or "the server's answer holds no choice", passes=True)
    message = _dict(choice.get("message"))
    usage = _dict(content.get("usage"))
    text, refusal = _text(message.get("content")), _text(message.get("refusal"))
    finish_reason = _text(choice.get("finish_reason"))
    probabilities = choice_probabilities(first_token(content), request.choices) if request.choices else None

    status: Status = "ok"
    error = None
    if refusal or finish_reason == "content_filter":
        status, text, error = "refused", text or refusal, refusal or "content filter"
    elif finish_reason == "length" and not (request.choices and request.max_tokens == 1):
        status = "truncated"
    elif not (text and text.strip()) and probabilities is None:
        return Failure("the server's answer was empty", passes=True)
    return Answer(
        request_id=request.request_id,
        status=status,
        text=text,
        probabilities=probabilities,
        resolved_model=_text(content.get("model")),
        finish_reason=finish_reason,
        attempts=0,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        cached_tokens=_count(_dict(usage.get("prompt_tokens_details")).get("cached_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        duration_ms=0,
        requested_at="",
        error=error,
    )


def _choice(content: Any) -> dict[str, Any]:
    """The first choice of a completion, or an empty one."""
    choices = _dict(content).get("choices")
    return _dict(choices[0]) if isinstance(choices, list) and choices else {}


def _error_message(content: Any) -> str | None:
    """What a server says went wrong; servers differ in where they put it."""
    inner = _dict(content).get("error", content)
    if isinstance(content, dict) and not isinstance(inner, str | dict):
        inner = content
    said = _dict(inner).get("message") or _dict(inner).get("detail")
    return _text(inner) or _text(said) or (json.dumps(said) if said else None)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """A string that UTF-8 can carry (JSON can hold half a surrogate pair), or None."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None
