"""Any endpoint that speaks OpenAI's chat completions: OpenAI, OpenRouter, vLLM, llama.cpp, Ollama.

The `openai` package sends, over aiohttp: proxies, TLS and connections are its own. A form of request is tried
out before it is used (`capabilities`), requests are in flight as the endpoint bears them (`pacing`), and what is
passing (rate limits, overload, dropped connections, bodies that are no JSON) is tried again: here and not by the
package, because each attempt has to wait for its turn and is counted. What the user has to change (key, model
name, address) stops the run; the rest is one row's failure.
"""

import asyncio
import gc
import os
import ssl
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
import httpx2
import openai

from pipeline.errors import ConfigError
from pipeline.llm.ledger.answers import Ledger
from pipeline.llm.requests import Answer, Request
from pipeline.llm.server.arrivals import Arrivals, Deliver
from pipeline.llm.server.capabilities import (
    Capabilities,
    Form,
    body_of,
    came_back,
    form_of,
    probe_request,
    sends_stop,
    without_what_was_refused,
)
from pipeline.llm.server.connecting import check_proxy, connection_failure, proxy_failure
from pipeline.llm.server.pacing import Pace, back_off_seconds
from pipeline.llm.server.reading import Failure, Response, Usage, is_cut_thought, json_of, read, usage_of
from pipeline.llm.server.redaction import Redaction, short
from pipeline.llm.server.stopping import Stopping
from pipeline.progress import tell

OPENAI_URL = "https://api.openai.com/v1"
CONNECT_SECONDS = 10.0
"""Longest wait for a connection, TLS included."""
LIST_SECONDS = 5.0
"""Longest wait for the names of the models."""



class OpenAIClient:
    """Asks an endpoint, several requests at a time; a client for other requests than chats overrides these three.

    Attributes:
        path: Where requests go, below the address.
        body: The body of a request, with what the server can do.
        read: The answer in a response, or why there is none.

    Args:
        base_url: The endpoint, up to and with `/v1`, and a query where it wants one (Azure); None is OpenAI's own.
        api_key_env: Name of the environment variable with the key; None for a server that needs none.
        max_concurrent: Requests in flight at most, those included whose answer is not yet recorded.
        timeout_seconds: For one attempt, from sending it to the end of the response.
        max_attempts: Attempts at one request.
        ledger: Where probes are recorded, as everything that is paid for.
        api_key_header: The header that carries the key; None: `Authorization`, behind the word Bearer.

    Raises:
        ConfigError: The environment variable is not set, or the address is invalid.
    """

    path = "/chat/completions"
    body = staticmethod(body_of)
    read = staticmethod(read)

    def __init__(
        self,
        base_url: str | None,
        api_key_env: str | None,
        max_concurrent: int = 16,
        timeout_seconds: float = 120,
        max_attempts: int = 5,
        ledger: Ledger | None = None,
        api_key_header: str | None = None,
    ) -> None:
        self.url, self._query = _address(base_url or OPENAI_URL)
        self._key = os.environ.get(api_key_env, "").strip() if api_key_env else None
        if self._key == "":
            raise ConfigError(
                f"environment variable '{api_key_env}' is not set; it must hold the API key for {self.url}"
            )
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise ConfigError(
                f"environment variable '{api_key_env}' does not hold an API key: it contains a line "
                "break or characters that are not ASCII"
            )
        self._max_concurrent = max_concurrent
        self.timeout_seconds = timeout_seconds
        self.max_attempts = max_attempts
        self.ledger = ledger
        self.redaction = Redaction(self._key)
        self.headers = _headers(self._key, api_key_header)
        self._pace = Pace(max_concurrent)
        self._abilities: dict[Form, Capabilities] = {}
        self._hopeless: ConfigError | None = None
        self._sending: set[asyncio.Task[Any] | None] = set()
        """Tasks whose request is at the server."""
        self.stopping = Stopping(self.url, api_key_env, max_attempts, self.redaction)

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        """One answer a request, as they arrive; what is in flight is dropped when the caller stops early.

        Raises:
            ConfigError: The endpoint refuses the key, does not know the model, or is not there.
        """
        if not requests:
            return
        # The thousand objects of each response would have Python go over all that is in memory again and again.
        gc.freeze()
        try:
            with Arrivals(lambda deliver: self.ask_all(requests, deliver)) as arrivals:
                yield from arrivals
        finally:
            gc.unfreeze()

    async def ask_all(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Deliver an answer a request."""
        async with self.connect() as client:
            await self.probe(client, requests)
            todo = iter(requests)

            async def work() -> None:
                for request in todo:
                    can = self.capabilities(request)
                    if request.blank and not can.prompt_logprobs:
                        await deliver(not_given(request))
                        continue
                    answer, last = await self._send(client, request, can)
                    await deliver(answer)
                    self.stopping.if_none_is_answered(last.outcome, request)
                    self.stopping.if_only_thought(last.outcome, request)

            await self.work_together(work, len(requests))

    async def work_together(self, work: Callable[[], Coroutine[Any, Any, None]], n_requests: int) -> None:
        """Run as many workers as requests may be in flight.

        Where one of them finds that no request can succeed, none is sent any more, but what is under way is paid:
        it is waited for, and delivered. Raises that one's ConfigError then.
        """
        self._hopeless = None

        async def one() -> None:
            try:
                await work()
            except ConfigError as error:
                self._hopeless = self._hopeless or error
                for task in tasks - self._sending:
                    task.cancel()

        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(one()) for _ in range(min(self._max_concurrent, n_requests))}
        if self._hopeless is not None:
            raise self._hopeless

    def connect(self) -> openai.AsyncOpenAI:
        """A client of the package, to be used as a context manager."""
        check_proxy(self.url)
        http_client = openai.DefaultAioHttpClient(
            # OpenSSL's own trust: the system's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR.
            verify=ssl.create_default_context(),
            follow_redirects=False,  # they would carry the key along
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=self._max_concurrent),
        )
        return openai.AsyncOpenAI(
            api_key="none",
            base_url=self.url,
            default_query=self._query,
            max_retries=0,
            http_client=http_client,
        )

    async def probe(self, client: openai.AsyncOpenAI, requests: Iterable[Request]) -> None:
        """Find out what the endpoint can do with requests, form by form; once each."""
        for form in dict.fromkeys(map(form_of, requests)):
            if form not in self._abilities:
                self._abilities[form] = await self._probe_form(client, form)

    def capabilities(self, request: Request) -> Capabilities:
        """What the endpoint can do with a request whose form was probed."""
        return self._abilities[form_of(request)]

    async def _probe_form(self, client: openai.AsyncOpenAI, form: Form) -> Capabilities:
        """Find out what the endpoint can do, by a tiny request that asks for all that requests of a form do."""
        request = probe_request(form, self.url)
        can = known = Capabilities()
        while True:
            answer, last = await self._send(client, request, can)
            if self.ledger is not None:
                self.ledger.record(request, answer)
            if isinstance(last.outcome, Answer):
                self.stopping.was_answered()
                return came_back(can, form, last.content)
            fewer = without_what_was_refused(can, form, last.outcome)
            if fewer is None:  # it failed for another reason; the requests will say which
                return known
            can, request = fewer.can, replace(request, draw=request.draw + 1)
            if fewer.is_named:  # else it is a guess, and worth nothing until an answer comes
                known = can

    async def _send(
        self, client: openai.AsyncOpenAI, request: Request, can: Capabilities
    ) -> "tuple[Answer, _Attempt]":
        """Try a request until it is answered, cannot be, or has had its attempts; the answer, the last attempt.

        Raises:
            ConfigError: No other request can succeed either.
        """
        requested_at, start = datetime.now(UTC).isoformat(timespec="milliseconds"), time.monotonic()
        body, usage = self.body(request, can), Usage()
        attempts = 0
        while True:
            attempts += 1
            last = await self._attempt(client, request, body)
            usage = usage.plus(usage_of(last.content))
            if isinstance(last.outcome, Answer):
                answer = last.outcome
                if not (sends_stop(request, can) and is_cut_thought(answer, last.content)):
                    break
                can = self.send_no_stops(request, can)
                if attempts >= self.max_attempts:
                    break
                body = self.body(request, can)
                continue
            await self.stop_if_hopeless(client, last.outcome, request, attempts)
            if not last.outcome.passes or attempts >= self.max_attempts:
                failure = last.outcome
                answer = Answer(
                    request.request_id, failure.status, finish_reason=failure.finish_reason, error=failure.error
                )
                break
            if self._hopeless is None:
                await asyncio.sleep(back_off_seconds(attempts))
        answer = self.redaction.answer(answer)
        answer = replace(
            answer,
            attempts=attempts,
            requested_at=requested_at,
            duration_ms=round((time.monotonic() - start) * 1000),
            error=short(answer.error),
            **usage._asdict(),
        )
        return answer, last

    async def _attempt(self, client: openai.AsyncOpenAI, request: Request, body: bytes) -> "_Attempt":
        """Send a request once, when the pace allows. Raises ConfigError if another has shown it to be hopeless."""
        if self._hopeless is not None:
            raise self._hopeless
        entered_at = await self._pace.enter()
        attempt, task = None, asyncio.current_task()
        self._sending.add(task)
        try:
            attempt = await self._post(client, request, body)
        finally:
            self._sending.discard(task)
            failure = attempt.outcome if attempt and isinstance(attempt.outcome, Failure) else None
            if failure and failure.retry_after_seconds is not None:
                self._pace.close_for(failure.retry_after_seconds)
            self._pace.leave(
                entered_at,
                went_well=attempt is not None and failure is None,
                overloaded=failure is not None and failure.overloaded,
            )
        self.stopping.count_connection(failure)
        return attempt

    async def _post(self, client: openai.AsyncOpenAI, request: Request, body: bytes) -> "_Attempt":
        try:
            async with asyncio.timeout(self.timeout_seconds):
                response = await client.post(
                    self.path, cast_to=httpx2.Response, content=body, options={"headers": self.headers}
                )
        except TimeoutError:
            error = f"no answer within {self.timeout_seconds:g} seconds"
            return _Attempt(Failure(error, passes=True, overloaded=True))
        except openai.APIStatusError as error:
            response = error.response
        except (openai.APIConnectionError, aiohttp.ClientError, OSError) as error:
            return _Attempt(connection_failure(error, self.url))
        if response.status_code == 407:
            return _Attempt(proxy_failure(self.url, "HTTP 407"))
        content = json_of(response.content)
        received = Response(response.status_code, response.headers, response.content)
        return _Attempt(self.read(request, received, content), content)

    async def stop_if_hopeless(
        self, client: openai.AsyncOpenAI, failure: Failure, request: Request, attempts: int
    ) -> None:
        """Raise ConfigError where no other request can succeed either; what was answered is kept."""
        served = await self._served_models(client) if failure.http_status == 404 else []
        self.stopping.if_hopeless(failure, request, attempts, served)

    def send_no_stops(self, request: Request, can: Capabilities) -> Capabilities:
        """What the server can do, now that a stop (one_line's line end) has cut its model's thoughts."""
        form = form_of(request)
        if form in self._abilities and not self._abilities[form].thinks:
            tell(
                f"model '{request.model}' thinks, and the stop of one_line cut its thoughts: it is sent no more "
                "(reasoning_tokens says so from the start)"
            )
        can = replace(can, thinks=True)
        self._abilities[form] = can
        return can

    async def _served_models(self, client: openai.AsyncOpenAI) -> list[str]:
        """The names of the models that the endpoint lists; empty if it lists none."""
        try:
            listed = await client.models.list(extra_headers=self.headers, timeout=LIST_SECONDS)
            return [self.redaction(model.id) for model in listed.data]
        except (openai.OpenAIError, aiohttp.ClientError, OSError, ValueError, TypeError, AttributeError):
            return []


def _address(base_url: str) -> tuple[str, dict[str, str]]:
    """The address to which paths are added, and the query that follows them.

    Raises ConfigError if it is no address.
    """
    try:
        parts = urllib.parse.urlsplit(base_url)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # of its port, or of brackets around an IPv6 address
        raise ConfigError(f"base_url '{base_url}' is not an address: {error}") from None
    if not is_whole or any(each.isspace() for each in base_url):
        raise ConfigError(
            f"base_url '{base_url}' is not an address; it must begin with http:// or https://, go on with a host, "
            "and hold no space"
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/embeddings").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}", dict(urllib.parse.parse_qsl(parts.query))


def _headers(key: str | None, key_header: str | None) -> Mapping[str, str | openai.Omit]:
    """The headers of every request; what the package would take from the environment for OpenAI is left out."""
    headers: dict[str, str | openai.Omit] = {
        "Authorization": openai.Omit(),
        "Content-Type": "application/json",
        "User-Agent": "latentlake",
        "OpenAI-Organization": openai.Omit(),
        "OpenAI-Project": openai.Omit(),
    }
    if key:
        headers[key_header or "Authorization"] = key if key_header else f"Bearer {key}"
    return headers


class _Attempt(NamedTuple):
    """The outcome of sending a request once: an answer or a failure, and the JSON that it was read from."""

    outcome: Answer | Failure
    content: Any = None


def not_given(request: Request) -> Answer:
    """The answer to a request that is not sent: the server cannot give what it is for."""
    return Answer(
        request.request_id,
        "refused",
        requested_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        error="not sent: the server gives no log-probabilities of a prompt from which numbers can be read",
    )
