"""An endpoint: its address and key, its connections, its pace, and its known capabilities.

The `openai` package sends requests over aiohttp and handles proxies, TLS and connections. Temporary failures (rate
limits, overload, dropped connections, bodies that are not JSON) are retried here and not by the package, because
each attempt waits for its turn and is counted. A problem that the user has to fix (key, model name, address) stops
the run; any other failure affects only its own row.

`open_endpoint` keeps one `Endpoint` per server, so that pace and capabilities are determined once.
"""

import asyncio
import os
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import aiohttp
import httpx2
import openai

from pipeline.config import EndpointConfig
from pipeline.errors import ConfigError
from pipeline.llm.requests import Answer, Request, now
from pipeline.llm.server.addresses import address_of, headers_of, key_of
from pipeline.llm.server.capabilities import Capabilities, Form
from pipeline.llm.server.connecting import check_proxy, connection_failure, proxy_failure
from pipeline.llm.server.pacing import Pace, back_off_seconds
from pipeline.llm.server.reading import EMPTY_AT_MOST, Failure, Response, Usage, json_of, usage_of
from pipeline.llm.server.redaction import Redaction, short
from pipeline.llm.server.stopping import Stopping

CONNECT_SECONDS = 10.0
"""Longest wait for a connection, TLS included."""
LIST_SECONDS = 5.0
"""Longest wait for the names of the models."""


class Exchange(Protocol):
    """How requests of one kind (chats or embeddings) are written and their answers read."""

    path: str
    """Their path below the endpoint's address."""

    def body(self, request: Request, can: Capabilities) -> bytes:
        """The body of a request, limited to the server's capabilities."""
        ...

    def read(self, request: Request, response: Response, content: Any) -> Answer | Failure:
        """The answer or the failure in a response with this JSON."""
        ...

    def judge(
        self, request: Request, can: Capabilities, outcome: Answer | Failure, content: Any
    ) -> tuple[Answer | Failure, Capabilities]:
        """An outcome, corrected for how the request was sent, and the capabilities that it shows."""
        ...


class Endpoint:
    """A server, with several requests in flight at a time.

    Args:
        config: Its address (up to and with `/v1`; None is OpenAI's own), key and limits.

    Attributes:
        url: Its address, without a query.
        abilities: Its capabilities by form of chat request, as far as probed.
        reasons: Whether a model reasons with an effort, as far as asked.

    Raises:
        ConfigError: The environment variable is not set, or the address is invalid.
    """

    def __init__(self, config: EndpointConfig) -> None:
        self.url, self._query = address_of(config)
        key = key_of(config, self.url)
        self.max_concurrent = config.max_concurrent
        self.timeout_seconds = config.timeout_seconds
        self.max_attempts = config.max_attempts
        self.redaction = Redaction(key)
        self.headers = headers_of(key, config.api_key_header)
        self.abilities: dict[Form, Capabilities] = {}
        self.reasons: dict[tuple[str, str | None], bool] = {}
        self.pace = Pace(config.max_concurrent)
        self.stopping = Stopping(self.url, config, self.redaction)
        self._hopeless: ConfigError | None = None
        """Why no other request can succeed, as one of those in flight has shown."""
        self._sending: set[asyncio.Task[Any] | None] = set()
        """Tasks whose request is at the server."""

    def connect(self) -> openai.AsyncOpenAI:
        """A client of the `openai` package; a context manager."""
        check_proxy(self.url)
        http_client = openai.DefaultAioHttpClient(
            # As OpenSSL does: trust the system's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR.
            verify=ssl.create_default_context(),
            follow_redirects=False,  # they would send the key elsewhere
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=self.max_concurrent),
        )
        return openai.AsyncOpenAI(
            api_key="none",
            base_url=self.url,
            default_query=self._query,
            max_retries=0,
            http_client=http_client,
        )

    async def work_together(self, work: Callable[[], Coroutine[Any, Any, None]], n_requests: int) -> None:
        """Run as many workers as requests may be in flight.

        If one of them finds that no request can succeed, no more are sent. Those in flight are paid for, so they
        are waited for and delivered before its ConfigError is raised.
        """

        async def one() -> None:
            try:
                await work()
            except ConfigError as error:
                self._hopeless = self._hopeless or error
                for task in tasks - self._sending:
                    task.cancel()

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {group.create_task(one()) for _ in range(min(self.max_concurrent, n_requests))}
        finally:  # the endpoint outlives this work
            hopeless, self._hopeless = self._hopeless, None
        if hopeless is not None:
            raise hopeless

    async def send(
        self,
        connection: openai.AsyncOpenAI,
        how: Exchange,
        request: Request,
        can: Capabilities,
        book: Callable[[Answer], None],
    ) -> "tuple[Answer, Attempt]":
        """Try a request until it is answered, fails for good, or has used its attempts.

        Returns the answer and the last attempt.

        Args:
            connection: A connection to this endpoint.
            how: How the request is written and its answer read.
            request: The request.
            can: The endpoint's capabilities.
            book: Takes the usage of a request that is given up because the run stops, as a failure.

        Raises:
            ConfigError: No other request can succeed either.
        """
        tries = _Tries()
        try:
            answer, last = await self._try(connection, how, request, can, tries)
        except (ConfigError, asyncio.CancelledError):
            if tries.usage != Usage():
                given_up = Answer(request.request_id, "http_error", error="given up: the run stopped")
                book(self._completed(given_up, tries))
            raise
        return self._completed(answer, tries), last

    async def _try(
        self, connection: openai.AsyncOpenAI, how: Exchange, request: Request, can: Capabilities, tries: "_Tries"
    ) -> "tuple[Answer, Attempt]":
        body = how.body(request, can)
        while True:
            tries.n += 1
            last = await self._attempt(connection, how, request, body)
            tries.usage = tries.usage.plus(usage_of(last.content))
            outcome, learned = how.judge(request, can, last.outcome, last.content)
            last = last._replace(outcome=outcome, can=learned)
            if isinstance(outcome, Answer):
                return outcome, last
            tries.n_empty += outcome.is_empty
            if outcome.is_forbidden:  # no model read it
                tries.usage = tries.usage.plus(Usage(prompt_tokens=0, completion_tokens=0))
            if learned != can:  # it may be answered if it is sent differently
                can, body = learned, how.body(request, learned)
                continue
            await self.stop_if_hopeless(connection, outcome, request, tries.n)
            if not outcome.passes or tries.n >= self.max_attempts or tries.n_empty >= EMPTY_AT_MOST:
                return outcome.answer(request, tries.n_empty), last
            if self._hopeless is None:
                await asyncio.sleep(back_off_seconds(tries.n))

    def _completed(self, answer: Answer, tries: "_Tries") -> Answer:
        """An answer with what its attempts add to it, and without the key."""
        answer = self.redaction.answer(answer)
        return replace(
            answer,
            attempts=tries.n,
            requested_at=tries.requested_at,
            duration_ms=round((time.monotonic() - tries.started) * 1000),
            error=short(answer.error),
            **tries.usage._asdict(),
        )

    async def _attempt(
        self, connection: openai.AsyncOpenAI, how: Exchange, request: Request, body: bytes
    ) -> "Attempt":
        """Send a request once, as soon as the pace allows. Raises ConfigError once no request can succeed."""
        if self._hopeless is not None:
            raise self._hopeless
        entered_at = await self.pace.enter()
        attempt, task = None, asyncio.current_task()
        self._sending.add(task)
        try:
            attempt = await self._post(connection, how, request, body)
        finally:
            self._sending.discard(task)
            failure = attempt.outcome if attempt and isinstance(attempt.outcome, Failure) else None
            self.pace.leave(
                entered_at,
                went_well=attempt is not None and failure is None,
                overloaded=failure is not None and failure.overloaded,
            )
        self.stopping.count_connection(failure)
        return attempt

    async def _post(
        self, connection: openai.AsyncOpenAI, how: Exchange, request: Request, body: bytes
    ) -> "Attempt":
        try:
            async with asyncio.timeout(self.timeout_seconds):
                response = await connection.post(
                    how.path, cast_to=httpx2.Response, content=body, options={"headers": self.headers}
                )
        except TimeoutError:
            error = f"no answer within {self.timeout_seconds:g} seconds"
            return Attempt(Failure(error, passes=True, overloaded=True))
        except openai.APIStatusError as error:
            response = error.response
        except (openai.APIConnectionError, aiohttp.ClientError, OSError) as error:
            return Attempt(connection_failure(error, self.url))
        if response.status_code == 407:
            return Attempt(proxy_failure(self.url, "HTTP 407"))
        content = json_of(response.content)
        received = Response(response.status_code, response.headers, response.content)
        return Attempt(how.read(request, received, content), content)

    async def stop_if_hopeless(
        self, connection: openai.AsyncOpenAI, failure: Failure, request: Request, attempts: int
    ) -> None:
        """Raise ConfigError if no other request can succeed either; the answers so far are kept.

        If the endpoint asks to wait, nothing is sent until then.
        """
        if failure.retry_after_seconds is not None and not self.pace.close_for(failure.retry_after_seconds):
            raise self.stopping.asked_to_wait(failure)
        served = await self._served_models(connection) if failure.http_status == 404 else []
        self.stopping.if_hopeless(failure, request, attempts, served)

    async def _served_models(self, connection: openai.AsyncOpenAI) -> list[str]:
        """The models that the endpoint lists; empty if it lists none."""
        try:
            listed = await connection.models.list(extra_headers=self.headers, timeout=LIST_SECONDS)
            return [self.redaction(model.id) for model in listed.data]
        except (openai.OpenAIError, aiohttp.ClientError, OSError, ValueError, TypeError, AttributeError):
            return []


_opened = threading.local()


def open_endpoint(config: EndpointConfig) -> Endpoint:
    """The endpoint of a config. Equal configs, also of different roles, share one in each thread.

    Raises as `Endpoint`.
    """
    known: dict[object, Endpoint] = _opened.__dict__.setdefault("endpoints", {})
    own = tuple(getattr(config, name) for name in EndpointConfig.model_fields)
    key = own, os.environ.get(config.api_key_env or "")
    if key not in known:
        known[key] = Endpoint(config)
    return known[key]


@dataclass
class _Tries:
    """The attempts at a request so far."""

    requested_at: str = field(default_factory=now)
    started: float = field(default_factory=time.monotonic)
    n: int = 0
    n_empty: int = 0
    usage: Usage = field(default_factory=Usage)


class Attempt(NamedTuple):
    """The outcome of sending a request once.

    Attributes:
        outcome: An answer or a failure.
        content: The JSON that it was read from.
        can: The server's capabilities, as known afterwards.
    """

    outcome: Answer | Failure
    content: Any = None
    can: Capabilities = Capabilities()
