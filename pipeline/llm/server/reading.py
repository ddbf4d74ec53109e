"""What a response says: an answer, or a failure that another attempt may mend.

Answers are read from the raw JSON, field by field, because servers leave out or ignore what they do not know.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.llm.choices import choice_masses, choice_probabilities
from pipeline.llm.requests import Answer, Request, Status
from pipeline.llm.server.pacing import retry_after_seconds
from pipeline.llm.texts import final_text, has_thoughts

_RETRIED = frozenset({408, 409, 425, 429})
_OVERLOADED = frozenset({429, 503, 529})

_TOO_LONG = frozenset({"length", "max_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "content_filtered", "safety", "prohibited_content"})
_NO_END = frozenset(
    {"error", "abort", "aborted", "cancelled", "canceled", "timeout", "network_error"}
    | {"insufficient_system_resource"}
)
"""Finish reasons in lower case: of OpenAI, Anthropic, Mistral, Gemini, OpenRouter, vLLM, SGLang, DeepSeek. What is
in none of the three is a server's own word for an end."""


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
        finish_reason: The server's word for why the model stopped, where it told one.
    """

    error: str
    passes: bool
    overloaded: bool = False
    connected: bool = True
    http_status: int | None = None
    retry_after_seconds: float | None = None
    is_out_of_credit: bool = False
    finish_reason: str | None = None


class Usage(NamedTuple):
    """Tokens that a server counted, by the names of an answer's fields; None where it did not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None

    def plus(self, other: "Usage") -> "Usage":
        """Both together; what one of them does not know is left to the other."""
        pairs = zip(self, other, strict=True)
        return Usage(*(b if a is None else a if b is None else a + b for a, b in pairs))


def json_of(body: bytes) -> Any:
    """The JSON of a body, or None."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def read(request: Request, response: Response, content: Any) -> Answer | Failure:
    """The answer in a response with this JSON; attempts, tokens and times are the sender's to fill in."""
    if not 200 <= response.status < 300:
        return _read_status(request, response, content)
    if content is None:
        return Failure("the server's answer was not JSON", passes=True)
    return _read_completion(request, content)


def usage_of(content: Any) -> Usage:
    """What the JSON of a response says was used, whether or not it holds an answer."""
    usage = _dict(_dict(content).get("usage"))
    return Usage(
        _count(usage.get("prompt_tokens")),
        _count(_dict(usage.get("prompt_tokens_details")).get("cached_tokens")),
        _count(usage.get("completion_tokens")),
        _count(_dict(usage.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def shows_thinking(content: Any) -> bool:
    """Whether a completion's model has thought: by the tokens counted, or by thoughts in or beside its text."""
    message = _dict(_choice(content).get("message"))
    told = (_text(message.get(name)) for name in ("reasoning_content", "reasoning"))
    return (
        bool(usage_of(content).reasoning_tokens) or any(told) or has_thoughts(_text(message.get("content")) or "")
    )


def is_cut_thought(answer: Answer, content: Any) -> bool:
    """Whether an answer ended within the model's thoughts, and not for want of tokens."""
    return (
        shows_thinking(content)
        and not final_text(answer.text or "")
        and (answer.finish_reason or "").lower() not in _TOO_LONG
    )


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
    if status == 400 and "output limit was reached" in said:
        # OpenAI's word for a reasoning model that had no room left to answer.
        return Answer(request.request_id, "truncated", error=f"HTTP {status}: {said}")
    return Failure(
        f"HTTP {status}: {said}",
        passes=_passes(status),
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
    message = _dict(choice.get("message"))
    text, refusal = _text(message.get("content")), _text(message.get("refusal"))
    finish_reason = _text(choice.get("finish_reason"))
    end = (finish_reason or "").lower()
    # OpenRouter passes an upstream failure on as HTTP 200 with an error inside, beside or in a choice.
    error = choice.get("error") or content.get("error")
    if error or not choice or end in _NO_END:
        code = _dict(error).get("code")
        ended = f"the server ended its answer with finish_reason '{finish_reason}'"
        return Failure(
            _error_message({"error": error} if error else content)
            or (ended if choice else "the server's answer holds no choice"),
            passes=_passes(code) if isinstance(code, int) else True,
            overloaded=code in _OVERLOADED,
            finish_reason=finish_reason,
        )
    masses = choice_masses(first_token(content), request.choices or ())
    probabilities = choice_probabilities(masses)
    has_text = bool(text and text.strip())

    status: Status = "ok"
    said = None
    if refusal or end in _FILTERED:
        status, text, said = "refused", text or refusal, refusal or "content filter"
    elif not has_text and probabilities is None:
        if end not in _TOO_LONG and not shows_thinking(content):
            return Failure("the server's answer was empty", passes=True, finish_reason=finish_reason)
        status, said = "truncated", "the tokens were spent before there was any text"
    elif end in _TOO_LONG and not (request.choices and request.most_tokens == 1):
        status = "truncated"
    return Answer(
        request_id=request.request_id,
        status=status,
        text=text,
        probabilities=probabilities,
        choice_mass=sum(masses.values()) if any(masses.values()) else None,
        resolved_model=_text(content.get("model")),
        finish_reason=finish_reason,
        error=said,
    )


def _passes(status: int) -> bool:
    """Whether what an HTTP status tells of may pass."""
    return status in _RETRIED or status >= 500


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
