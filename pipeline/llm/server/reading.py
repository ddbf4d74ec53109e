"""What a response says: an answer, or a failure that another attempt may mend.

Answers are read from the raw JSON, field by field, because servers leave out or ignore what they do not know.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.llm.choices import choice_masses, choice_probabilities, key_probabilities
from pipeline.llm.places import blank_places, expected_value, number_masses, value_places, word_masses
from pipeline.llm.requests import Answer, Request, Status
from pipeline.llm.server.events import joined_events
from pipeline.llm.server.pacing import retry_after_seconds
from pipeline.llm.texts import final_text, has_thoughts

_RETRIED = frozenset({408, 409, 425, 429})
_OVERLOADED = frozenset({429, 503, 529})

_TOO_LONG = frozenset({"length", "max_tokens", "model_length"})
_NO_ROOM = re.compile(
    r"context[_ ](length|size|window)|exceed_context|(context|prompt|input) (is )?too long|token count exceeds"
    r"|`max_new_tokens` must be|reduce the length",
    re.IGNORECASE,
)
"""What servers say of a request that the model cannot read as a whole: OpenAI, OpenRouter, vLLM, SGLang,
llama.cpp, Mistral, Anthropic, Gemini, text-generation-inference. Others say it by HTTP 413."""
_NO_CREDIT = frozenset({402, "402", "insufficient_quota"})
"""The HTTP status, or the code or type of an error, that says it."""
_ROUNDING, _LEAST_LOGPROB = 0.01, -1e9
"""Log-probabilities are not above 0; what is below the least is as good as impossible."""
_MOST_TOKENS = 10**9
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
        finish_reason: The server's word for why the model stopped, where it gave one.
        is_too_long: The request is longer than what the model reads, and will be again.
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

    @property
    def status(self) -> Status:
        """The status of the answer that stands for it."""
        return "too_long" if self.is_too_long else "http_error"


class Usage(NamedTuple):
    """Tokens that a server counted, by the names of an answer's fields; None where it did not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None

    def plus(self, other: "Usage") -> "Usage":
        """Both together; where one of them has no figure, the other's."""
        pairs = zip(self, other, strict=True)
        return Usage(*(b if a is None else a if b is None else a + b for a, b in pairs))


def json_of(body: bytes) -> Any:
    """The JSON of a body, or of the completion that a stream of events spells; None if it is neither.

    Nothing asks for a stream, but there are servers behind proxies that know nothing else.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return joined_events(body)


def read(request: Request, response: Response, content: Any) -> Answer | Failure:
    """The answer in a response with this JSON; attempts, tokens and times are the sender's to fill in."""
    if not 200 <= response.status < 300:
        return read_status(request, response, content)
    if content is None:
        begins = " ".join(response.body[:80].decode(errors="replace").split())
        return Failure(f"the server's answer was not JSON but begins: {begins}", passes=True)
    return _read_completion(request, content)


def usage_of(content: Any) -> Usage:
    """What the JSON of a response says was used, whether or not it holds an answer.

    No prompt has no tokens: a server that says so does not count them.
    """
    usage = _dict(_dict(content).get("usage"))
    return Usage(
        _count(usage.get("prompt_tokens")) or None,
        _count(_dict(usage.get("prompt_tokens_details")).get("cached_tokens")),
        _count(usage.get("completion_tokens")),
        _count(_dict(usage.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def resolved_model(content: Any) -> str | None:
    """The model that a server says it ran."""
    return _text(_dict(content).get("model"))


def shows_thinking(content: Any) -> bool:
    """Whether a completion's model has thought: by the tokens counted, or by thoughts in or beside its text."""
    message = _dict(_choice(content).get("message"))
    told = (_text(message.get(name)) for name in ("reasoning_content", "reasoning"))
    has_thought = any(told) or any(part.get("type") == "thinking" for part in _parts(message))
    return bool(usage_of(content).reasoning_tokens) or has_thought or has_thoughts(_written_text(message) or "")


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
    return _alternatives(_written(content)[0]) if _written(content) else []


def key_masses(request: Request, content: Any) -> dict[str, dict[str, float]]:
    """How probable each choice is at the token of each key's value, without keys of which it says nothing."""
    written = _written(content)
    pieces = [_text(_dict(entry).get("token")) or "" for entry in written]
    places = value_places(pieces)
    found = {}
    for key in request.keys:
        if key in places and (listed := _alternatives(written[places[key].token])):
            found[key] = word_masses(listed, request.choices or (), places[key].lead)
    return found


def blank_masses(request: Request, content: Any) -> list[dict[str, float]] | None:
    """How probable each choice is in place of each of a request's blanks; None where the server says nothing."""
    told = _dict(content).get("prompt_logprobs")
    read = [_prompt_token(entry) for entry in told] if isinstance(told, list) else []
    places = blank_places([each[0][0] if each else "" for each in read], request.blank or "", request.n_blanks)
    if not places:
        return None
    return [number_masses(read[place.token], request.choices or (), place.lead) for place in places]


def read_status(request: Request, response: Response, content: Any) -> Answer | Failure:
    """What an error response says."""
    if isinstance(content, list) and content:  # Gemini puts its error into a list
        content = content[0]
    status, inner = response.status, _dict(_dict(content).get("error"))
    said = _error_message(content) or response.body.decode(errors="replace")
    if location := response.headers.get("location"):
        said = f"it redirects to {location}"
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
        is_too_long=_is_too_long(status, f"{code} {said}"),
        overloaded=status in _OVERLOADED,
        http_status=status,
        retry_after_seconds=retry_after_seconds(response.headers.get("retry-after")),
        is_out_of_credit=_says_no_credit(status, inner),
    )


def _read_completion(request: Request, content: Any) -> Answer | Failure:
    """The answer in the JSON of a completion."""
    if not isinstance(content, dict):
        return Failure("the server's answer was not a JSON object", passes=True)
    choice = _choice(content)
    message = _dict(choice.get("message"))
    text, refusal = _written_text(message), _text(message.get("refusal"))
    finish_reason = _text(choice.get("finish_reason"))
    end = (finish_reason or "").lower()
    # OpenRouter passes an upstream failure on as HTTP 200 with an error inside, beside or in a choice.
    error = choice.get("error") or content.get("error")
    if error or not choice or end in _NO_END:
        code = _count(_dict(error).get("code"))
        ended = f"the server ended its answer with finish_reason '{finish_reason}'"
        said = _error_message({"error": error} if error else content)
        return Failure(
            said or (ended if choice else "the server's answer holds no choice"),
            passes=code is None or _passes(code),
            is_too_long=code is not None and _is_too_long(code, said or ""),
            overloaded=code in _OVERLOADED,
            finish_reason=finish_reason,
            is_out_of_credit=_says_no_credit(None, _dict(error)),
        )
    probabilities, mass, values = _told(request, content)
    has_text = bool(text and text.strip()) or request.blank is not None

    status: Status = "ok"
    said = None
    if refusal or end in _FILTERED:
        status, text, said = "refused", text or refusal, refusal or "content filter"
    elif not has_text and probabilities is None:
        if end not in _TOO_LONG and not shows_thinking(content):
            return Failure("the server's answer was empty", passes=True, finish_reason=finish_reason)
        status, said = "truncated", "the tokens were spent before there was any text"
    elif end in _TOO_LONG and not (request.is_choice and request.most_tokens == 1) and request.blank is None:
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


class _Told(NamedTuple):
    """What log-probabilities tell: the fields of an answer."""

    probabilities: dict[str, float] | None = None
    choice_mass: float | None = None
    values: list[float] | None = None


def _told(request: Request, content: Any) -> _Told:
    """What the log-probabilities of a completion tell of a request's choices."""
    if request.blank:
        masses = blank_masses(request, content) or []
        values = [value for value in map(expected_value, masses) if value is not None]
        least = min((sum(each.values()) for each in masses), default=None)
        return _Told(None, least, values if masses and len(values) == len(masses) else None)
    if request.keys:
        return _Told(*key_probabilities(key_masses(request, content), request.choices or ()))
    mass = choice_masses(first_token(content), request.choices or ())
    return _Told(choice_probabilities(mass), sum(mass.values()) if any(mass.values()) else None)


def _written(content: Any) -> list[Any]:
    """What a completion says of each token that was written."""
    tokens = _dict(_choice(content).get("logprobs")).get("content")
    return tokens if isinstance(tokens, list) else []


def _alternatives(entry: Any) -> list[tuple[str, float]]:
    """The alternatives (token, log-probability) in the place of a token, the token first; none if under two."""
    listed = _dict(entry).get("top_logprobs")
    found = {}
    for each in [entry, *(listed if isinstance(listed, list) else [])]:
        token, logprob = _dict(each).get("token"), _logprob(_dict(each).get("logprob"))
        if isinstance(token, str) and logprob is not None:
            found[token] = logprob
    return list(found.items()) if len(found) > 1 else []


def _prompt_token(entry: Any) -> list[tuple[str, float]]:
    """The alternatives in the place of a token of the prompt, the token itself first, as vLLM tells them."""
    listed = [_dict(each) for each in _dict(entry).values()]
    told = [(_text(each.get("decoded_token")) or "", _logprob(each.get("logprob"))) for each in listed]
    return [(token, logprob) for token, logprob in told if logprob is not None]


def _logprob(value: Any) -> float | None:
    """A log-probability; None for anything else, such as a number above 0 by more than rounding."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= _ROUNDING:
        return None
    return min(float(max(value, _LEAST_LOGPROB)), 0.0)


def _is_too_long(status: int, said: str) -> bool:
    """Whether an HTTP status and the words with it say that a request is longer than what the model reads."""
    return status == 413 or (status in {400, 422} and _NO_ROOM.search(said) is not None)


def _says_no_credit(status: int | None, error: dict[str, Any]) -> bool:
    """Whether an HTTP status, or the code or type of an error, says that the account has nothing left."""
    said = (status, error.get("code"), error.get("type"))
    return any(each in _NO_CREDIT for each in said if isinstance(each, int | str))


def _passes(status: int) -> bool:
    """Whether the cause of an HTTP status may pass by itself."""
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


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a message that comes in parts (Mistral); none where it is one text."""
    content = message.get("content")
    return [_dict(part) for part in content] if isinstance(content, list) else []


def _written_text(message: dict[str, Any]) -> str | None:
    """What a message says: its text, or that of its parts that are no thoughts."""
    texts = [_text(part.get("text")) or "" for part in _parts(message) if part.get("type") == "text"]
    return "".join(texts) if texts else _text(message.get("content"))


def _count(value: Any) -> int | None:
    """A number of tokens or of a status, as a number or in digits; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        count = int(value)
    except (ValueError, OverflowError):
        return None
    return count if 0 <= count <= _MOST_TOKENS else None
