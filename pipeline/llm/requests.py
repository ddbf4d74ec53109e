"""Requests to a language model and their answers: values only, no transport.

A request is identified by its content. Two stages that ask the same model the same question share one answer,
whatever its purpose.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, Protocol

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

Speaker = Literal["system", "user", "assistant"]

Status = Literal["ok", "refused", "truncated", "too_long", "http_error", "budget"]
"""As seen by the transport. Whether a text is `unparsed` is decided where it is read."""

Wanted = Literal["choice", "keys", "values", "text"]
"""What is read from an answer: probabilities at the first token or at each key, values of blanks, or the text."""

FAILED: tuple[Status, ...] = ("http_error", "budget")
"""No answer came back, so the next run asks again; every other status is final."""

UNANSWERED: tuple[Status, ...] = (*FAILED, "too_long")
"""Statuses not caused by the model: another draw would not help, and nothing is charged unless tokens were
counted."""


_RECORDED = {"in_id": "never"}
"""Metadata of a field that is only recorded: requests that differ in it alone share an answer."""

_IF_SET = {"in_id": "if set"}
"""Metadata of a field that enters the id unless it has its default, so that adding it changed no id."""


class Message(NamedTuple):
    """One turn of a chat."""

    role: Speaker
    content: str


@dataclass(frozen=True)
class Request:
    """One question to one model; a field without metadata always enters its id.

    Attributes:
        purpose: What the answer is for (`explain`, `detection`, …); like sae and feature, it is only recorded.
        sae: The SAE's name in the config.
        feature: Index of the feature in its SAE.
        model: The model's name as the endpoint knows it.
        messages: The chat so far; the model writes the next turn.
        max_tokens: Maximum length of that turn.
        temperature: Sampling temperature; 0 takes the most probable token.
        choices: Short answers (`Yes`, `No`) whose probabilities at the first token are requested.
        keys: Keys of the JSON object that is the answer. Each value is one of the choices, and the probability of
            the first choice is requested at each value's token.
        repeats: The request whose answer could not be used, if this is another draw of it; only recorded.
        blank: A text in the last message, which is the model's own and complete. At each of its occurrences (after
            its leading white space) the expected value of the choices, which are numbers, is requested.
        stop: Stop sequences; they are not part of the answer.
        draw: Number of the draw if the same question is asked several times.
        schema: JSON schema of the answer, for servers that enforce one; the prompt asks for it as well.
        reasoning_tokens: Tokens allowed for reasoning before the answer, in addition to `max_tokens`.
        reasoning_effort: How much the model should reason, in the server's words (`low`); None does not set it.
    """

    purpose: str = field(metadata=_RECORDED)
    sae: str = field(metadata=_RECORDED)
    feature: int = field(metadata=_RECORDED)
    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    choices: tuple[str, ...] | None = None
    stop: tuple[str, ...] = ()
    draw: int = 0
    schema: Mapping[str, Any] | None = field(default=None, hash=False, metadata=_IF_SET)
    reasoning_tokens: int = field(default=0, metadata=_IF_SET)
    reasoning_effort: str | None = field(default=None, metadata=_IF_SET)
    keys: tuple[str, ...] = field(default=(), metadata=_IF_SET)
    blank: str | None = field(default=None, metadata=_IF_SET)
    repeats: str | None = field(default=None, compare=False, metadata=_RECORDED)

    @property
    def n_blanks(self) -> int:
        """Number of blanks in the last message."""
        return self.messages[-1].content.count(self.blank) if self.blank else 0

    @property
    def wanted(self) -> Wanted:
        """What is read from the answer: only the text if the model reasons first, as its first tokens are then
        not the answer."""
        if self.blank is not None:
            return "values"
        if self.thinks or not self.choices:
            return "text"
        return "keys" if self.keys else "choice"

    @property
    def is_choice(self) -> bool:
        """Whether the answer should be one of the choices and nothing else."""
        return bool(self.choices) and not (self.keys or self.blank)

    @property
    def most_written(self) -> int:
        """Maximum tokens that a model in this process writes: 0 if it only reads."""
        return 0 if self.wanted in {"choice", "values"} else self.most_tokens

    @property
    def most_tokens(self) -> int:
        """Maximum tokens that the model may write, reasoning included."""
        return self.max_tokens + self.reasoning_tokens

    @property
    def thinks(self) -> bool:
        """Whether the model is set to reason: then neither its first token nor its first line is the answer."""
        return self.reasoning_tokens > 0 or self.reasoning_effort not in {None, "none"}

    @property
    def sent_stop(self) -> tuple[str, ...]:
        """The stop sequences; none for a model that reasons, because they would cut its reasoning."""
        return () if self.thinks else self.stop

    @property
    def first_id(self) -> str:
        """The id of its first draw."""
        return self.repeats or self.request_id

    @cached_property
    def request_id(self) -> str:
        """SHA-256 of what the model is asked, 32 hex digits; what is only recorded is not included."""
        before, after = _around_messages(tuple(_hashable(getattr(self, each.name)) for each in _BESIDE_MESSAGES))
        digest = before.copy()
        digest.update(_canonical(self.messages).encode())
        digest.update(after)
        return digest.hexdigest()[:32]


_BESIDE_MESSAGES = tuple(
    each for each in fields(Request) if each.metadata != _RECORDED and each.name != "messages"
)
"""The fields that enter a request's id, but for its messages."""


class _Json(str):
    """A mapping as canonical JSON, which has a hash."""


def _hashable(value: Any) -> Any:
    return _Json(_canonical(value)) if isinstance(value, Mapping) else value


@lru_cache(256)
def _around_messages(values: tuple[Any, ...]) -> "tuple[hashlib._Hash, bytes]":
    """The hash of a request's canonical JSON up to its messages, and the JSON after them; many requests share
    both."""
    content: dict[str, Any] = {"messages": None}
    for each, value in zip(_BESIDE_MESSAGES, values, strict=True):
        if each.metadata != _IF_SET or value != each.default:
            content[each.name] = json.loads(value) if isinstance(value, _Json) else value
    content["temperature"] = float(content["temperature"])
    before, key, after = _canonical(content).partition('"messages":')
    return hashlib.sha256((before + key).encode()), after.removeprefix("null").encode()


def now() -> str:
    """The time, ISO 8601 in UTC, as in `Answer.requested_at`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Answer:
    """The outcome of a request.

    Attributes:
        request_id: The request's id.
        status: The outcome as seen by the transport.
        text: The model's raw text; null if there is none.
        probabilities: Probability of each choice, summing to 1. For a request with keys: by key, the probability
            of the first choice, without keys that have none. Null if the server gave no usable log-probabilities.
        choice_mass: Total probability that the first token begins any choice; `probabilities` are relative to it.
            For a request with keys or blanks, the smallest over all of them.
        values: The expected value of the choices at each blank; null if any blank has none.
        resolved_model: The model that the server reports.
        finish_reason: Why the model stopped, in the server's words.
        attempts: Requests sent, including the successful one.
        prompt_tokens: Tokens of the prompt, summed over all attempts that reported them.
        cached_tokens: Prompt tokens read from a cache.
        completion_tokens: Tokens written, reasoning included.
        reasoning_tokens: Completion tokens that were reasoning.
        duration_ms: Time from the first attempt to the answer, waiting included.
        requested_at: Time of the first attempt, ISO 8601 in UTC.
        error: What went wrong, in a few words; never contains a key.
        batch_id: The provider's batch that it came in, at a lower price; None for an ordinary request.
    """

    request_id: str
    status: Status
    text: str | None = None
    probabilities: dict[str, float] | None = None
    resolved_model: str | None = None
    finish_reason: str | None = None
    attempts: int = 0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    duration_ms: int = 0
    requested_at: str = ""
    error: str | None = None
    choice_mass: float | None = None
    reasoning_tokens: int | None = None
    values: list[float] | None = None
    batch_id: str | None = None

    @property
    def is_unsent(self) -> bool:
        """Whether it was not sent because the server could not answer it: nothing was charged, and no model
        refused."""
        return self.status == "refused" and self.attempts == 0


class Client(Protocol):
    """Answers requests: an endpoint, a model in this process, or a fake in a test."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[Answer]]:
        """One answer per request, in groups as they arrive.

        By asking for the next group, the caller confirms that it has recorded the last one. Until then its
        requests count as in flight, so a killed process loses no more answers than it may have requests in flight.

        Raises:
            ConfigError: No request can succeed as things are configured (key, model name, address).
        """
        ...
