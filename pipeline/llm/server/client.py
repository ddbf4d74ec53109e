"""Any endpoint that speaks OpenAI's chat completions: OpenAI, OpenRouter, vLLM, llama.cpp, Ollama.

A form of request is tried out before it is used (`capabilities`), requests are in flight as the endpoint bears
them (`pacing`), and what is passing (rate limits, overload, dropped connections, bodies that are no JSON) is
tried again. What the user has to change (key, model name, address) stops the run; the rest is one row's failure.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import openai

from pipeline.errors import ConfigError, nearest
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
    without_what_was_refused,
)
from pipeline.llm.server.connections import CannotConnectError, Connections, DroppedError, UntrustedError
from pipeline.llm.server.pacing import Pace, back_off_seconds
from pipeline.llm.server.reading import Failure, read
from pipeline.llm.server.redaction import Redaction

OPENAI_URL = "https://api.openai.com/v1"
_LONGEST_ERROR = 300

_REFUSED_AT_MOST = 20
"""Of an endpoint that answered nothing yet, not even a probe."""


class OpenAIClient:
    """Asks an endpoint, several requests at a time.

    Args:
        base_url: The endpoint, up to and with `/v1`; None is OpenAI's own.
        api_key_env: Name of the environment variable with the key; None for a server that needs none.
        max_concurrent: Requests in flight at most, those included whose answer is not yet recorded.
        timeout_seconds: For one attempt, from sending it to the end of the response.
        max_attempts: Attempts at one request.
        ledger: Where probes are recorded, as everything that is paid for.

    Raises:
        ConfigError: The environment variable is not set, or the address is none.
    """

    def __init__(
        self,
        base_url: str | None,
        api_key_env: str | None,
        max_concurrent: int = 16,
        timeout_seconds: float = 120,
        max_attempts: int = 5,
        ledger: Ledger | None = None,
    ) -> None:
        self._url = (base_url or OPENAI_URL).rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url '{base_url}' is no address; it begins with http:// or https://")
        self._key = os.environ.get(api_key_env, "").strip() if api_key_env else None
        if self._key == "":
            raise ConfigError(
                f"environment variable '{api_key_env}' is not set; it has to hold the API key for {self._url}"
            )
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise ConfigError(
                f"environment variable '{api_key_env}' holds no API key: it has a line end, or no ASCII"
            )
        self._api_key_env = api_key_env
        self._max_concurrent = max_concurrent
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max_attempts
        self._ledger = ledger
        self._redaction = Redaction(self._key)
        self._pace = Pace(max_concurrent)
        self._abilities: dict[Form, Capabilities] = {}
        self._n_unconnected = 0
        """Attempts in a row, over all requests, for which there was no connection."""
        self._n_refused: int | None = 0
        """Requests that the endpoint refused as they are, before it answered any; None once it did."""

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        """One answer a request, as they arrive; what is in flight is dropped when the caller stops early.

        Raises:
            ConfigError: The endpoint refuses the key, does not know the model, or is not there.
        """
        if requests:
            with Arrivals(lambda deliver: self._ask_all(requests, deliver)) as arrivals:
                yield from arrivals

    async def _ask_all(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Deliver an answer a request."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "latentlake"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        async with Connections(self._url, headers) as connections:
            for form in dict.fromkeys(map(form_of, requests)):
                if form not in self._abilities:
                    self._abilities[form] = await self._probe(connections, form)
            todo = iter(requests)

            async def work() -> None:
                for request in todo:
                    body = body_of(request, self._abilities[form_of(request)])
                    answer, last = await self._send(connections, request, body)
                    await deliver(answer)
                    self._stop_if_all_are_refused(last.outcome, request)

            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._max_concurrent, len(requests))):
                    group.create_task(work())

    async def _probe(self, connections: Connections, form: Form) -> Capabilities:
        """Find out what the endpoint can do, by a tiny request that asks for all that requests of a form do."""
        request = probe_request(form, self._url)
        can = Capabilities()
        while True:
            answer, last = await self._send(connections, request, body_of(request, can))
            if self._ledger is not None:
                self._ledger.record(request, answer)
            if isinstance(last.outcome, Answer):
                self._n_refused = None
                return came_back(can, form, last.body)
            fewer = without_what_was_refused(can, form, last.outcome)
            if fewer is None:  # it failed for another reason; the requests will say which
                return Capabilities()
            can, request = fewer, replace(request, draw=request.draw + 1)

    async def _send(self, connections: Connections, request: Request, body: bytes) -> "tuple[Answer, _Attempt]":
        """Try a request until it is answered, cannot be, or has had its attempts; the answer, the last attempt.

        Raises:
            ConfigError: No other request can succeed either.
        """
        requested_at, start = datetime.now(UTC).isoformat(timespec="milliseconds"), time.monotonic()
        attempts = 0
        while True:
            attempts += 1
            last = await self._attempt(connections, request, body)
            if isinstance(last.outcome, Answer):
                answer = last.outcome
                break
            await self._stop_if_hopeless(last.outcome, request, attempts)
            if not last.outcome.passes or attempts >= self._max_attempts:
                answer = Answer(request.request_id, "http_error", error=last.outcome.error)
                break
            await asyncio.sleep(back_off_seconds(attempts))
        answer = self._redaction.answer(answer)
        answer = replace(
            answer,
            attempts=attempts,
            requested_at=requested_at,
            duration_ms=round((time.monotonic() - start) * 1000),
            error=_short(answer.error),
        )
        return answer, last

    async def _attempt(self, connections: Connections, request: Request, body: bytes) -> "_Attempt":
        """Send a request once, when the pace allows."""
        entered_at = await self._pace.enter()
        attempt = None
        try:
            attempt = await self._post(connections, request, body)
        finally:
            failure = attempt.outcome if attempt and isinstance(attempt.outcome, Failure) else None
            if failure and failure.retry_after_seconds is not None:
                self._pace.close_for(failure.retry_after_seconds)
            self._pace.leave(
                entered_at,
                went_well=attempt is not None and failure is None,
                overloaded=failure is not None and failure.overloaded,
            )
        self._n_unconnected = 0 if failure is None or failure.connected else self._n_unconnected + 1
        return attempt

    async def _post(self, connections: Connections, request: Request, body: bytes) -> "_Attempt":
        try:
            response = await connections.post("/chat/completions", body, self._timeout_seconds)
        except TimeoutError:
            error = f"no answer within {self._timeout_seconds:g} seconds"
            return _Attempt(Failure(error, passes=True, overloaded=True))
        except CannotConnectError as error:
            return _Attempt(Failure(f"no connection to {self._url} ({error})", passes=True, connected=False))
        except UntrustedError as error:
            raise ConfigError(
                f"{self._url} shows a certificate that is not trusted ({error}); let environment variable "
                "SSL_CERT_FILE name a file with the certificate that signs it, or correct base_url"
            ) from None
        except DroppedError:
            return _Attempt(Failure(f"{self._url} ended the connection before its answer", passes=True))
        return _Attempt(read(request, response), response.body)

    async def _stop_if_hopeless(self, failure: Failure, request: Request, attempts: int) -> None:
        """Raise ConfigError where no other request can succeed either; what was answered is kept."""
        if failure.http_status in {401, 403}:
            cure = (
                f"put a valid key into environment variable '{self._api_key_env}'"
                if self._api_key_env
                else "name the environment variable that holds its key (api_key_env)"
            )
            raise ConfigError(
                f"{self._url} refuses the API key for model '{request.model}' (HTTP {failure.http_status}); {cure}"
            )
        if failure.is_out_of_credit:
            raise ConfigError(
                f"{self._url} says that the account has no credit left (HTTP {failure.http_status}); add some and "
                "run again: what was answered is kept"
            )
        if failure.http_status == 404:
            served = await asyncio.to_thread(self._served_models)
            serves = f"it serves {nearest(request.model, served)}" if served else "base_url mostly ends in /v1"
            raise ConfigError(
                f"{self._url} has no model '{request.model}' (HTTP 404); set the model to a name that it serves, "
                f"or correct base_url ({serves})"
            )
        if attempts >= self._max_attempts <= self._n_unconnected:
            raise ConfigError(
                f"{_short(self._redaction(failure.error))}, {self._n_unconnected} times in a row; start the "
                "server or correct base_url, and run again: what was answered is kept"
            )

    def _stop_if_all_are_refused(self, outcome: Answer | Failure, request: Request) -> None:
        """Raise ConfigError where the probe and all requests were refused: not for what one of them holds."""
        if isinstance(outcome, Answer):
            self._n_refused = None
        elif self._n_refused is not None and not outcome.passes:
            self._n_refused += 1
            if self._n_refused >= _REFUSED_AT_MOST:
                raise ConfigError(
                    f"{self._url} refused the first {self._n_refused} requests for model '{request.model}' "
                    f"({_short(self._redaction(outcome.error))}); correct the model's name or what it is asked, "
                    "and run again"
                )

    def _served_models(self) -> list[str]:
        """The names of the models that the endpoint lists; empty if it lists none."""
        try:
            with openai.OpenAI(
                api_key=self._key or "none", base_url=self._url, timeout=5, max_retries=0
            ) as client:
                return [self._redaction(model.id) for model in client.models.list()]
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            return []


class _Attempt(NamedTuple):
    """What came of sending a request once: an answer or a failure, and the body that it was read from."""

    outcome: Answer | Failure
    body: bytes = b""


def _short(text: str | None) -> str | None:
    """At most so much of it, in one line."""
    return None if text is None else " ".join(text.split())[:_LONGEST_ERROR]
