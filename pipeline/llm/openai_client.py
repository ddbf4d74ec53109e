"""Any endpoint that speaks OpenAI's chat completions: OpenAI, OpenRouter, vLLM, llama.cpp, Ollama.

Answers are read from the raw JSON, field by field, because servers leave out or ignore what they do not
know. What is passing (rate limits, overload, dropped connections, bodies that are no JSON) is tried again;
what the user has to change (key, model name) stops the run; the rest is one row's failure.
"""

import asyncio
import email.utils
import json
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import openai
from openai import AsyncOpenAI

from pipeline.errors import ConfigError
from pipeline.llm.choices import choice_probabilities
from pipeline.llm.requests import Answer, Request, Status

TOP_LOGPROBS = 20
"""Alternatives asked for at the first token; the most that OpenAI and vLLM give."""

_RETRIED = frozenset({408, 409, 425, 429})
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0
_LONGEST_RETRY_AFTER_SECONDS = 120.0
_NO_KEY = "none"  # the openai package wants one, and without it would send OPENAI_API_KEY to whatever server


class OpenAIClient:
    """Asks an endpoint, several requests at a time.

    Args:
        base_url: The endpoint, up to and with `/v1`; None is OpenAI's own.
        api_key_env: Name of the environment variable with the key; None for a server that needs none.
        max_concurrent: Requests in flight at most.
        timeout_seconds: For one attempt.
        max_attempts: Attempts at one request.

    Raises:
        ConfigError: The environment variable is not set.
    """

    def __init__(
        self,
        base_url: str | None,
        api_key_env: str | None,
        max_concurrent: int = 16,
        timeout_seconds: float = 120,
        max_attempts: int = 5,
    ) -> None:
        self._key = os.environ.get(api_key_env, "").strip() if api_key_env else _NO_KEY
        if not self._key:
            raise ConfigError(
                f"environment variable '{api_key_env}' is not set; it has to hold the API key for "
                f"{base_url or 'OpenAI'}"
            )
        self._base_url = base_url
        self._api_key_env = api_key_env
        self._max_concurrent = max_concurrent
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max_attempts
        # By model, the parameters that it has refused a request with, and answered it without.
        self._refused_by: dict[str, frozenset[str]] = {}

    def answer(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """One answer a request, as they arrive; what is in flight is dropped when the caller stops early.

        Raises:
            ConfigError: The endpoint refuses the key, or does not know the model.
        """
        with _event_loop() as loop:
            # Bounded, so that a caller that is slow to record does not leave paid answers in memory.
            arrived: asyncio.Queue[Answer | BaseException] = asyncio.Queue(self._max_concurrent)
            asking = _task(self._ask_all(requests, arrived), loop)
            n_left = len(requests)
            try:
                while n_left:
                    answer = asyncio.run_coroutine_threadsafe(arrived.get(), loop).result()
                    if isinstance(answer, BaseException):
                        raise answer
                    n_left -= 1
                    yield answer
            finally:
                asyncio.run_coroutine_threadsafe(_end(asking, at_once=n_left > 0), loop).result()

    async def _ask_all(
        self, requests: Sequence[Request], arrived: "asyncio.Queue[Answer | BaseException]"
    ) -> None:
        """Put an answer a request into `arrived`, or an exception, after which no more come."""
        todo = iter(requests)
        try:
            async with self._connected() as client, asyncio.TaskGroup() as group:
                for _ in range(min(self._max_concurrent, len(requests))):
                    group.create_task(self._work(client, todo, arrived))
        except BaseExceptionGroup as failures:
            await arrived.put(failures.exceptions[0])
        except Exception as failure:  # noqa: BLE001 - raised again by the thread that waits for it
            await arrived.put(failure)

    async def _work(
        self, client: AsyncOpenAI, todo: Iterator[Request], arrived: "asyncio.Queue[Answer | BaseException]"
    ) -> None:
        """Take requests until there are none; all workers share one iterator."""
        for request in todo:
            await arrived.put(await self._answer_one(client, request))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncOpenAI]:
        async with AsyncOpenAI(
            api_key=self._key, base_url=self._base_url, timeout=self._timeout_seconds, max_retries=0
        ) as client:
            yield client

    async def _answer_one(self, client: AsyncOpenAI, request: Request) -> Answer:
        """Try a request until it is answered, cannot be, or has had its attempts."""
        requested_at, start = datetime.now(UTC).isoformat(timespec="milliseconds"), time.monotonic()
        attempts = 0
        without: frozenset[str] = frozenset()
        while True:
            attempts += 1
            outcome = await self._attempt(client, request, without)
            if isinstance(outcome, _Failure) and not outcome.adapts <= without:
                without |= outcome.adapts  # and at once again
                continue
            if isinstance(outcome, Answer) or not outcome.passes or attempts >= self._max_attempts:
                break
            await asyncio.sleep(_wait_seconds(attempts, outcome.retry_after_seconds))
        if isinstance(outcome, Answer):
            self._refused_by[request.model] = self._refused_by.get(request.model, frozenset()) | without
        else:
            outcome = _failed(request, self._redacted(outcome.error))
        return replace(
            outcome,
            attempts=attempts,
            requested_at=requested_at,
            duration_ms=round((time.monotonic() - start) * 1000),
        )

    async def _attempt(
        self, client: AsyncOpenAI, request: Request, without: frozenset[str]
    ) -> "Answer | _Failure":
        """Send a request once, without some parameters. Raises ConfigError where no other can succeed either."""
        body = self._body(request, without)
        try:
            response = await client.chat.completions.with_raw_response.create(**body)
            content = json.loads(response.text)
        except openai.APIStatusError as error:
            failure = _status_failure(error, body)
        except openai.APITimeoutError:
            return _Failure(f"no answer within {self._timeout_seconds:g} seconds", passes=True)
        except openai.APIConnectionError as error:
            reason = type(error.__cause__ or error).__name__
            return _Failure(f"no connection to {client.base_url} ({reason})", passes=True)
        except ValueError:
            return _Failure("the server's answer was not JSON", passes=True)
        else:
            return _read(request, content, asked_logprobs="logprobs" in body)
        # Outside the handler, so that no exception carries the request, and with it the key, along.
        self._stop_if_hopeless(failure, request, str(client.base_url))
        return failure

    def _body(self, request: Request, without: frozenset[str]) -> dict[str, Any]:
        """The parameters of the call."""
        without |= self._refused_by.get(request.model, frozenset())
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [message._asdict() for message in request.messages],
            "max_completion_tokens" if "max_tokens" in without else "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.choices and "logprobs" not in without:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return body

    def _stop_if_hopeless(self, failure: "_Failure", request: Request, url: str) -> None:
        if failure.http_status in {401, 403}:
            cure = (
                f"put a valid key into environment variable '{self._api_key_env}'"
                if self._api_key_env
                else "name the environment variable that holds its key (api_key_env)"
            )
            raise ConfigError(
                f"{url} refuses the API key for model '{request.model}' (HTTP {failure.http_status}); {cure}"
            )
        if failure.is_out_of_credit:
            raise ConfigError(
                f"{url} says that the account has no credit left (HTTP {failure.http_status}); add some and run "
                "again: what was answered is kept"
            )
        if failure.http_status == 404:
            raise ConfigError(
                f"{url} has no model '{request.model}' (HTTP 404); set the model to a name that it serves, "
                "or correct base_url (it mostly ends in /v1)"
            )

    def _redacted(self, text: str) -> str:
        return text if self._key == _NO_KEY else text.replace(self._key, "***")


@dataclass(frozen=True)
class _Failure:
    """An attempt that gave no answer.

    `passes`: another attempt may succeed; `adapts`: what the server may have refused, to be left out (for
    `max_tokens`, to be called by its newer name).
    """

    error: str
    passes: bool
    http_status: int | None = None
    retry_after_seconds: float | None = None
    adapts: frozenset[str] = frozenset()
    is_out_of_credit: bool = False


def _status_failure(error: openai.APIStatusError, body: dict[str, Any]) -> _Failure:
    status = error.status_code
    said = _error_message(error.body) or error.message
    adapts: frozenset[str] = frozenset()
    if status in {400, 422}:
        if "max_completion_tokens" in said:  # OpenAI's newer models say to use that instead
            adapts = frozenset({"max_tokens"})
        elif "logprobs" in body:
            adapts = frozenset({"logprobs"})
    return _Failure(
        f"HTTP {status}: {_short(said)}",
        passes=status in _RETRIED or status >= 500,
        http_status=status,
        retry_after_seconds=_retry_after(error.response.headers.get("retry-after")),
        adapts=adapts,
        is_out_of_credit=status == 402 or error.code == "insufficient_quota",
    )


def _read(request: Request, content: Any, *, asked_logprobs: bool) -> Answer | _Failure:
    """The answer in a response's JSON; attempts and times are filled in later."""
    if not isinstance(content, dict):
        return _Failure("the server's answer was not a JSON object", passes=True)
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if choice is None:
        # OpenRouter passes an upstream failure on as HTTP 200 with an error inside.
        said = _error_message(content) or "the server's answer holds no choice"
        return _Failure(_short(said), passes=True)
    message = _dict(choice.get("message"))
    usage = _dict(content.get("usage"))
    text, refusal = _text(message.get("content")), _text(message.get("refusal"))
    finish_reason = _text(choice.get("finish_reason"))
    probabilities = None
    if request.choices and asked_logprobs:
        probabilities = choice_probabilities(_first_token(choice.get("logprobs")), request.choices)

    status: Status = "ok"
    error = None
    if refusal or finish_reason == "content_filter":
        status, text, error = "refused", text or refusal, _short(refusal) if refusal else "content filter"
    elif finish_reason == "length" and not (request.choices and request.max_tokens == 1):
        status = "truncated"
    elif not (text and text.strip()) and probabilities is None:
        return _Failure("the server's answer was empty", passes=True)
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


def _failed(request: Request, error: str) -> Answer:
    return Answer(
        request_id=request.request_id,
        status="http_error",
        text=None,
        probabilities=None,
        resolved_model=None,
        finish_reason=None,
        attempts=0,
        prompt_tokens=None,
        cached_tokens=None,
        completion_tokens=None,
        duration_ms=0,
        requested_at="",
        error=error,
    )


def _first_token(logprobs: Any) -> list[tuple[str, float]]:
    """The alternatives (token, log-probability) at the first token; empty unless there are at least two.

    One alone says which token was drawn, and nothing of how probable the other choice was.
    """
    tokens = _dict(logprobs).get("content")
    first = _dict(tokens[0]) if isinstance(tokens, list) and tokens else {}
    listed = first.get("top_logprobs")
    found = {}
    for entry in [first, *(listed if isinstance(listed, list) else [])]:
        token, logprob = _dict(entry).get("token"), _dict(entry).get("logprob")
        if isinstance(token, str) and isinstance(logprob, int | float):
            found[token] = float(logprob)
    return list(found.items()) if len(found) > 1 else []


def _wait_seconds(attempts: int, retry_after_seconds: float | None) -> float:
    """How long to wait after the attempt of that number: what the server asks for, else doubling with jitter."""
    doubling = min(_FIRST_WAIT_SECONDS * 2.0 ** (attempts - 1), _LONGEST_WAIT_SECONDS)
    jitter = doubling * random.random() / 2
    if retry_after_seconds is not None:
        return min(retry_after_seconds, _LONGEST_RETRY_AFTER_SECONDS) + jitter
    return doubling / 2 + jitter


def _retry_after(header: str | None) -> float | None:
    """Seconds, from either form of the header (a number, or a date)."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _error_message(body: Any) -> str | None:
    """What a server says went wrong; the openai package gives the body with or without its `error` envelope."""
    inner = _dict(body).get("error", body)
    return _text(inner) or _text(_dict(inner).get("message"))


def _short(text: str) -> str:
    return " ".join(text.split())[:300]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    """A string that UTF-8 can carry (JSON can hold half a surrogate pair), or None."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _task(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> "asyncio.Task[None]":
    """Start work on a loop of another thread."""

    async def start() -> "asyncio.Task[None]":
        return asyncio.create_task(work)

    return asyncio.run_coroutine_threadsafe(start(), loop).result()


async def _end(task: "asyncio.Task[None]", *, at_once: bool) -> None:
    """Wait until a task has closed what it opened; `at_once`: it drops what it is doing."""
    if at_once:
        task.cancel()
    await asyncio.wait([task])


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in its own thread until the block ends."""
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    end: list[asyncio.Event] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        end.append(asyncio.Event())
        ready.set()
        await end[0].wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="llm requests", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield loops[0]
    finally:
        loops[0].call_soon_threadsafe(end[0].set)
        thread.join()
