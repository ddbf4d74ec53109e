"""What is asked of a language model, and what comes back: values only, no transport.

A request is known by its content. Two stages that ask the same model the same thing share one answer,
whatever they ask it for.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, Protocol

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

Role = Literal["system", "user", "assistant"]

Status = Literal["ok", "refused", "truncated", "too_long", "http_error", "budget"]
"""What the transport knows. `unparsed` is decided by whoever reads the text."""

Wanted = Literal["choice", "keys", "values", "text"]
"""What is read of an answer: probabilities at its first token or at each key's, values of blanks, or its text."""

FAILED: tuple[Status, ...] = ("http_error", "budget")
"""Nothing came back, so the next run asks again; every other status is final."""

UNANSWERED: tuple[Status, ...] = (*FAILED, "too_long")
"""Not of the model: no other draw brings more, and nothing is paid unless tokens were counted."""


class Message(NamedTuple):
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class Request:
    """One question to one model.

    Attributes:
        purpose: What the answer is for (`explain`, `detection`, …); like sae and feature, only written down.
        sae: The SAE's name in the config.
        feature: Index of the feature in its SAE.
        model: The model's name as the endpoint knows it.
        messages: The chat so far; the model writes the next turn.
        max_tokens: Tokens of that turn at most.
        temperature: 0 takes the most probable token each time.
        choices: Short answers (`Yes`, `No`) whose probabilities at the first token are wanted.
        keys: The answer is a JSON object with these keys, the value of each one of the choices: the probability of
            the first choice is wanted for each, at its own token.
        repeats: The request whose answer could not be used, so that this draw of it is asked for; only written
            down.
        blank: The last message is the model's own, and nothing is written behind it: where this text stands in it,
            the expected value of the choices, which are numbers, is wanted in its place (behind its white space).
        stop: Texts at which the model's turn ends; they are not part of the answer.
        draw: Number of the draw, where the same question is put several times.
        schema: JSON schema of the answer, for servers that hold a model to one; the prompt asks for it as well.
        reasoning_tokens: Room for thinking before the answer, beside `max_tokens`.
        reasoning_effort: How much the model is to think, in the server's words (`low`); None says nothing of it.
    """

    purpose: str
    sae: str
    feature: int
    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    choices: tuple[str, ...] | None = None
    stop: tuple[str, ...] = ()
    draw: int = 0
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    reasoning_tokens: int = 0
    reasoning_effort: str | None = None
    keys: tuple[str, ...] = ()
    blank: str | None = None
    repeats: str | None = field(default=None, compare=False)

    @property
    def n_blanks(self) -> int:
        """Places of the last message in which a value is wanted."""
        return self.messages[-1].content.count(self.blank) if self.blank else 0

    @property
    def wanted(self) -> Wanted:
        """What is read from the answer: of a model that thinks, whose first tokens are thoughts, its text."""
        if self.blank is not None:
            return "values"
        if self.thinks or not self.choices:
            return "text"
        return "keys" if self.keys else "choice"

    @property
    def is_choice(self) -> bool:
        """Whether the answer is to be one of the choices and nothing else."""
        return bool(self.choices) and not (self.keys or self.blank)

    @property
    def most_written(self) -> int:
        """Tokens that a model in this process writes at most: none where it only reads."""
        return 0 if self.wanted in {"choice", "values"} else self.most_tokens

    @property
    def most_tokens(self) -> int:
        """Tokens that the model may write, thinking included."""
        return self.max_tokens + self.reasoning_tokens

    @property
    def thinks(self) -> bool:
        """Whether the model is meant to think: its first token and its first line are no answer then."""
        return self.reasoning_tokens > 0 or self.reasoning_effort not in {None, "none"}

    @property
    def sent_stop(self) -> tuple[str, ...]:
        """The stops; none for a model that thinks, whose thoughts would end at them."""
        return () if self.thinks else self.stop

    @cached_property
    def request_id(self) -> str:
        """SHA-256 of what the model is asked, 32 hex digits; what the answer is for does not count."""
        schema = None if self.schema is None else _canonical(self.schema)
        before, after = _around_messages(
            self.model,
            self.max_tokens,
            float(self.temperature),
            self.choices,
            self.stop,
            self.draw,
            schema,
            self.reasoning_tokens,
            self.reasoning_effort,
            self.keys,
            self.blank,
        )
        digest = before.copy()
        digest.update(_canonical(self.messages).encode())
        digest.update(after)
        return digest.hexdigest()[:32]


@lru_cache(256)
def _around_messages(
    model: str,
    max_tokens: int,
    temperature: float,
    choices: tuple[str, ...] | None,
    stop: tuple[str, ...],
    draw: int,
    schema: str | None,
    reasoning_tokens: int,
    reasoning_effort: str | None,
    keys: tuple[str, ...],
    blank: str | None,
) -> "tuple[hashlib._Hash, bytes]":
    """The hash of a request's canonical JSON up to its messages, and the JSON after: many requests share both."""
    content: dict[str, Any] = {
        "model": model,
        "messages": None,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "choices": choices,
        "stop": stop,
        "draw": draw,
    }
    # What is not set does not count, so that ids are what they were before there was such a thing.
    if schema is not None:
        content["schema"] = json.loads(schema)
    if reasoning_tokens:
        content["reasoning_tokens"] = reasoning_tokens
    if reasoning_effort is not None:
        content["reasoning_effort"] = reasoning_effort
    if keys:
        content["keys"] = keys
    if blank is not None:
        content["blank"] = blank
    before, key, after = _canonical(content).partition('"messages":')
    return hashlib.sha256((before + key).encode()), after.removeprefix("null").encode()


@dataclass(frozen=True)
class Answer:
    """The outcome of a request.

    Attributes:
        request_id: The request's.
        status: What the transport says of it.
        text: What the model wrote, raw; null where nothing came.
        probabilities: By choice, summing to 1; of a request with keys by key that of the first choice, without the
            keys for which there is none; null where the server gave nothing that they could be read from.
        choice_mass: Probability that the first token begins any of the choices, of which they are shares; of a
            request with keys or blanks the least of its places.
        values: For each blank of the request the expected value of its choices; null where one of them has none.
        resolved_model: The model that the server says it ran.
        finish_reason: The server's word for why the model stopped.
        attempts: Requests sent, the successful one included.
        prompt_tokens: Tokens of the whole prompt, of all attempts that the server counted together.
        cached_tokens: Those of them that were not computed anew.
        completion_tokens: Tokens written, thinking included.
        reasoning_tokens: Those of them that were thinking.
        duration_ms: From the first attempt to the answer, waiting included.
        requested_at: When it was first sent, ISO 8601 in UTC.
        error: What went wrong, in a few words; never a key.
        batch_id: The provider's batch that it came in, which is cheaper; None where it was asked for by itself.
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
        """Whether the server of that day could not be asked this: it costs nothing, and no model has refused."""
        return self.status == "refused" and self.attempts == 0


class Client(Protocol):
    """Whatever can answer requests: an endpoint, a model in this process, a fake in a test."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[Answer]]:
        """One answer a request, as they arrive: those that have come together at a time.

        Whoever asks for the next has recorded the last, and until then its requests count as in flight: a process
        that is killed has no more answers to lose than it may have requests in flight.

        Raises:
            ConfigError: No request can succeed as things are configured (key, model name, address).
        """
        ...
