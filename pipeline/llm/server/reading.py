"""Reads a response: an answer, or a failure that another attempt may resolve.

Answers are read from the raw JSON, field by field, because servers omit or ignore fields that they do not support.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.llm.requests import Answer, Request, Status
from pipeline.llm.server.events import joined_events
from pipeline.llm.server.json_values import choice_in, count_of, dict_of, text_of
from pipeline.llm.server.logprobs import probabilities_of
from pipeline.llm.server.pacing import retry_after_seconds
from pipeline.llm.server.refusals import refuses_anything
from pipeline.llm.texts import final_text, has_thoughts

_RETRIED = frozenset({408, 409, 425, 429})
_OVERLOADED = frozenset({429, 503, 529})

_TOO_LONG = frozenset({"length", "max_tokens", "model_length"})
_NO_ROOM = re.compile(
    r"context[_ ](length|size|window)|exceed_context|(context|prompt|input) (is )?too long|token count exceeds"
    r"|`max_new_tokens` must be|reduce the length",
    re.IGNORECASE,
)
"""Messages about a request that is longer than the model's context: OpenAI, OpenRouter, vLLM, SGLang, llama.cpp,
Mistral, Anthropic, Gemini, text-generation-inference. Others return HTTP 413."""
_NO_CREDIT = frozenset({402, "402", "insufficient_quota"})
"""HTTP statuses, error codes and error types for an account without credit."""
EMPTY_AT_MOST = 2
"""Attempts with an empty answer before it is accepted as the model's; each of them is paid for."""
_FILTERED = ("content_filter", "safety", "prohibited_content", "recitation", "blocklist", "spii")
"""Prefixes of finish reasons, as Gemini's may be `content_filter: RECITATION`."""
_NO_END = frozenset(
    {"error", "abort", "aborted", "cancelled", "canceled", "timeout", "network_error"}
    | {"insufficient_system_resource"}
)
"""Finish reasons in lower case, from OpenAI, Anthropic, Mistral, Gemini, OpenRouter, vLLM, SGLang, DeepSeek.
Any other counts as a normal end."""


class Response(NamedTuple):
    """A response; header names are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Failure:
    """An attempt without an answer.

    Attributes:
        error: What went wrong, unredacted: it may contain a key.
        passes: Whether another attempt may succeed.
        overloaded: Whether the endpoint is overloaded.
        connected: Whether there was a connection to the server.
        http_status: The response's status, if there was one.
        retry_after_seconds: How long the endpoint asks clients to wait.
        is_out_of_credit: Whether the account has no credit left.
        finish_reason: Why the model stopped, in the server's words, if given.
        is_too_long: Whether the request exceeds the model's context, so that every attempt fails.
        is_empty: Whether the model ended its turn without any text.
        is_forbidden: Whether the key, or this text, is not let in (HTTP 403 that names nothing to do without).
    """

    error: str
    passes: bool
    overloaded: bool = False
    connected: bool = True
    http_status: int | None = None
    retry_after_seconds: float | None = None
    is_out_of_credit: bool = False
    finish_reason: str | None = None
    is_too_long: bool = False
    is_empty: bool = False
    is_forbidden: bool = False

    @property
    def status(self) -> Status:
        """The status of the answer that records it."""
        if self.is_forbidden:  # the key is not to blame, or the run would have been stopped
            return "refused"
        return "too_long" if self.is_too_long else "http_error"

    def answer(self, request: Request, n_empty: int) -> Answer:
        """The answer that records it, given how many attempts were empty."""
        if self.is_empty and n_empty >= EMPTY_AT_MOST:  # the empty text is the model's answer
            return Answer(request.request_id, "ok", "", finish_reason=self.finish_reason, error=self.error)
        return Answer(request.request_id, self.status, finish_reason=self.finish_reason, error=self.error)


class Usage(NamedTuple):
    """Token counts reported by a server, named like the fields of an answer; None if not reported."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None

    def plus(self, other: "Usage") -> "Usage":
        """The sum of both; where one has no count, the other's."""
        pairs = zip(self, other, strict=True)
        return Usage(*(b if a is None else a if b is None else a + b for a, b in pairs))


def json_of(body: bytes) -> Any:
    """The JSON in a body, or of the completion that a stream of events contains; None if it is neither.

    Streams are not requested, but some servers behind proxies send nothing else.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return joined_events(body)


def read(request: Request, response: Response, content: Any) -> Answer | Failure:
    """The answer in a response with this JSON; the sender adds attempts, tokens and times."""
    if not 200 <= response.status < 300:
        return read_status(request, response, content)
    if content is None:
        begins = " ".join(response.body[:80].decode(errors="replace").split())
        return Failure(f"the server's answer was not JSON but begins: {begins}", passes=True)
    return _read_completion(request, content)


def usage_of(content: Any) -> Usage:
    """The usage reported in the JSON of a response, with or without an answer.

    xAI and Gemini leave reasoning out of `completion_tokens`, but not out of `total_tokens`. A server that reports
    0 prompt tokens does not count them.
    """
    usage = dict_of(dict_of(content).get("usage"))
    prompt, written, total = (count_of(usage.get(f"{what}_tokens")) for what in ("prompt", "completion", "total"))
    if prompt is not None and total is not None:
        written = max(written or 0, total - prompt)
    return Usage(
        prompt or None,
        count_of(dict_of(usage.get("prompt_tokens_details")).get("cached_tokens")),
        written,
        count_of(dict_of(usage.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def resolved_model(content: Any) -> str | None:
    """The model that a server says it ran."""
    return text_of(dict_of(content).get("model"))


def shows_thinking(content: Any) -> bool:
    """Whether a completion's model reasoned, by its token counts or by reasoning in or next to its text."""
    message = dict_of(choice_in(content).get("message"))
    thoughts = (text_of(message.get(name)) for name in ("reasoning_content", "reasoning"))
    has_thought = any(thoughts) or any(part.get("type") == "thinking" for part in _parts(message))
    return bool(usage_of(content).reasoning_tokens) or has_thought or has_thoughts(_written_text(message) or "")


def final_text_of(content: Any) -> str | None:
    """The text of a completion without reasoning; None if it ends within reasoning, or there is none."""
    return final_text(_written_text(dict_of(choice_in(content).get("message"))) or "")


def was_cut(content: Any) -> bool:
    """Whether a completion ended at its token limit."""
    return (text_of(choice_in(content).get("finish_reason")) or "").lower() in _TOO_LONG


def is_cut_thought(answer: Answer, content: Any) -> bool:
    """Whether an answer ended within the model's reasoning for a reason other than its token limit."""
    return (
        shows_thinking(content)
        and not final_text(answer.text or "")
        and (answer.finish_reason or "").lower() not in _TOO_LONG
    )


def read_status(request: Request, response: Response, content: Any) -> Answer | Failure:
    """The answer or failure in an error response."""
    if isinstance(content, list) and content:  # Gemini puts its error into a list
        content = content[0]
    status, inner = response.status, dict_of(dict_of(content).get("error"))
    said = _error_message(content) or response.body.decode(errors="replace")
    if location := response.headers.get("location"):
        said = f"it redirects to {location}"
    code = inner.get("code")
    if code == "content_filter" or (status == 403 and "flagged" in said):
        # Azure's filter or OpenRouter's moderation refused the input, and would refuse it again.
        return Answer(request.request_id, "refused", error=f"HTTP {status}: {said}")
    if status == 400 and "output limit was reached" in said:
        # OpenAI's message when a reasoning model had no tokens left to answer.
        return Answer(request.request_id, "truncated", error=f"HTTP {status}: {said}")
    return Failure(
        f"HTTP {status}: {said}",
        passes=_passes(status),
        is_too_long=_is_too_long(status, f"{code} {said}"),
        overloaded=status in _OVERLOADED,
        http_status=status,
        retry_after_seconds=retry_after_seconds(response.headers.get("retry-after")),
        is_out_of_credit=_has_no_credit(status, inner),
        is_forbidden=status == 403 and not refuses_anything(said),
    )


def _read_completion(request: Request, content: Any) -> Answer | Failure:
    """The answer in the JSON of a completion."""
    if not isinstance(content, dict):
        return Failure("the server's answer was not a JSON object", passes=True)
    choice = choice_in(content)
    message = dict_of(choice.get("message"))
    text, refusal = _written_text(message), text_of(message.get("refusal"))
    finish_reason = text_of(choice.get("finish_reason"))
    end = (finish_reason or "").lower()
    # OpenRouter passes on an upstream failure as HTTP 200 with an error in or next to the choice.
    error = choice.get("error") or content.get("error")
    if error or not choice or end in _NO_END:
        code = count_of(dict_of(error).get("code"))
        ended = f"the server ended its answer with finish_reason '{finish_reason}'"
        said = _error_message({"error": error} if error else content)
        return Failure(
            said or (ended if choice else "the server's answer contains no choice"),
            passes=code is None or _passes(code),
            is_too_long=code is not None and _is_too_long(code, said or ""),
            overloaded=code in _OVERLOADED,
            finish_reason=finish_reason,
            is_out_of_credit=_has_no_credit(None, dict_of(error)),
        )
    probabilities, mass, values = probabilities_of(request, content)
    # A single requested token may be white space: some tokenizers (Llama 2) write " 3" as two tokens.
    wants_one_token = request.is_choice and request.most_tokens == 1
    is_white = wants_one_token and bool(text) and not shows_thinking(content)
    has_text = bool(text and text.strip()) or request.blank is not None or is_white

    status: Status = "ok"
    said = None
    if refusal or end.startswith(_FILTERED):
        status, text, said = "refused", text or refusal, refusal or "content filter"
    elif not has_text and probabilities is None:
        if end not in _TOO_LONG and not shows_thinking(content):
            return Failure(
                "the server's answer was empty", passes=True, finish_reason=finish_reason, is_empty=True
            )
        status, said = "truncated", "the token limit was reached before the model wrote any text"
    elif end in _TOO_LONG and not wants_one_token and request.blank is None:
        status = "truncated"
    return Answer(
        request_id=request.request_id,
        status=status,
        text=text,
        probabilities=probabilities,
        choice_mass=mass,
        values=values,
        resolved_model=resolved_model(content),
        finish_reason=finish_reason,
        error=said,
    )


def _is_too_long(status: int, said: str) -> bool:
    """Whether an HTTP status and its message mean that a request exceeds the model's context."""
    return status == 413 or (status in {400, 422} and _NO_ROOM.search(said) is not None)


def _has_no_credit(status: int | None, error: dict[str, Any]) -> bool:
    """Whether an HTTP status, or an error's code or type, means that the account has no credit left."""
    said = (status, error.get("code"), error.get("type"))
    return any(each in _NO_CREDIT for each in said if isinstance(each, int | str))


def _passes(status: int) -> bool:
    """Whether the cause of an HTTP status may be temporary."""
    return status in _RETRIED or status >= 500


def _error_message(content: Any) -> str | None:
    """A server's error message, whose position differs between servers."""
    inner = dict_of(content).get("error", content)
    if isinstance(content, dict) and not isinstance(inner, str | dict):
        inner = content
    said = dict_of(inner).get("message") or dict_of(inner).get("detail")
    return text_of(inner) or text_of(said) or (json.dumps(said) if said else None)


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a message that is a list of parts (Mistral); empty if it is a single text."""
    content = message.get("content")
    return [dict_of(part) for part in content] if isinstance(content, list) else []


def _written_text(message: dict[str, Any]) -> str | None:
    """The text of a message, or of its parts that are not reasoning."""
    texts = [text_of(part.get("text")) or "" for part in _parts(message) if part.get("type") == "text"]
    return "".join(texts) if texts else text_of(message.get("content"))
