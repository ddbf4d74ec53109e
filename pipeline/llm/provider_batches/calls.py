"""Calls of a provider's batch API: upload a file, create and look up a batch, read its files."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import TypeVar

import aiohttp
import httpx2
import openai
from openai.types import Batch

from pipeline.errors import ConfigError
from pipeline.llm.provider_batches.files import ENDPOINT
from pipeline.llm.provider_batches.journal import Sent
from pipeline.llm.server.connecting import connection_failure
from pipeline.llm.server.endpoint import Endpoint
from pipeline.llm.server.pacing import LONGEST_RETRY_AFTER_SECONDS, back_off_seconds, retry_after_seconds
from pipeline.llm.server.redaction import short

METADATA_KEY = "latentlake"
"""The key in a batch's metadata whose value is the journal's key."""

LISTED_AFTER_SECONDS = 60.0
"""How long a provider may not list or know a batch that it has created; counted from our first look, since the
clock of the machine that sent it may differ."""
FILE_SECONDS = 600.0
"""Longest silence during a file transfer."""
LOOKED_UP_AT_MOST = 100
"""Attempts at looking up a batch: the first 13 minutes without an answer are not reported."""

_NO_ANSWER = (
    openai.APIConnectionError,
    openai.InternalServerError,
    httpx2.HTTPError,
    aiohttp.ClientError,
    OSError,
)
"""Errors after which it is unknown whether the provider has executed the call."""

_T = TypeVar("_T")


class Calls:
    """The calls on one connection; a call that fails for good raises ConfigError.

    Args:
        endpoint: The server.
        connection: An open connection to it.
    """

    def __init__(self, endpoint: Endpoint, connection: openai.AsyncOpenAI) -> None:
        self._endpoint = endpoint
        # The package sets the content type and retries temporary failures.
        self._headers = {name: value for name, value in endpoint.headers.items() if name != "Content-Type"}
        self._once = connection.with_options(timeout=endpoint.timeout_seconds)
        self._again = self._once.with_options(max_retries=endpoint.max_attempts - 1)

    async def create(self, sent: Sent, content: bytes) -> Batch:
        """Upload a batch's file and create the batch.

        A creation without an answer may have succeeded: the list of batches is checked before it is retried.
        """
        file = await self._say(
            self._again.files.create(
                file=("latentlake.jsonl", content),
                purpose="batch",
                extra_headers=self._headers,
                timeout=FILE_SECONDS,
            ),
            "take a batch's file",
        )
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._once.batches.create(
                    completion_window="24h",
                    endpoint=ENDPOINT,
                    input_file_id=file.id,
                    metadata={METADATA_KEY: sent.key},
                    extra_headers=self._headers,
                )
            except openai.RateLimitError as error:
                if attempts >= self._endpoint.max_attempts or error.code == "insufficient_quota":
                    raise self._sentence(error, "create a batch") from None
                asked_for = retry_after_seconds(error.response.headers.get("retry-after")) or 0.0
                await asyncio.sleep(max(back_off_seconds(attempts), min(asked_for, LONGEST_RETRY_AFTER_SECONDS)))
            except _NO_ANSWER as error:
                await asyncio.sleep(back_off_seconds(attempts))
                if found := await self.find(sent):
                    return found
                if attempts >= self._endpoint.max_attempts:
                    raise self._sentence(error, "create a batch") from None
            except openai.APIError as error:
                raise self._sentence(error, "create a batch") from None

    async def find(self, sent: Sent) -> Batch | None:
        """The batch in the provider's list; None if it is not there, and not there a minute later either."""
        if (batch := await self._say(self._listed(sent.key), "list its batches")) is None:
            await asyncio.sleep(LISTED_AFTER_SECONDS)
            batch = await self._say(self._listed(sent.key), "list its batches")
        return batch

    async def look_up(self, sent: Sent) -> Batch | None:
        """The current state of a batch; None if the provider does not know it, a minute later either."""
        patient = self._once.with_options(max_retries=LOOKED_UP_AT_MOST)
        attempts, known_by = 0, time.monotonic() + LISTED_AFTER_SECONDS
        while True:
            attempts += 1
            try:
                return await patient.batches.retrieve(sent.batch_id or "", extra_headers=self._headers)
            except openai.NotFoundError:
                if time.monotonic() >= known_by:
                    return None
                await asyncio.sleep(back_off_seconds(attempts))
            except (openai.APIError, *_NO_ANSWER) as error:
                raise self._sentence(error, f"look up batch {sent.batch_id}") from None

    async def lines(self, file_ids: Iterable[str | None]) -> AsyncIterator[bytes]:
        """The lines of a batch's files; a file that breaks off is read again, a missing one is skipped."""
        for file_id in filter(None, file_ids):
            attempts = 0
            while True:
                attempts += 1
                try:
                    async for line in self._lines(file_id):
                        yield line
                    break
                except openai.NotFoundError:
                    break
                except (openai.APIError, *_NO_ANSWER) as error:
                    if attempts >= self._endpoint.max_attempts:
                        raise self._sentence(error, "give a batch's file") from None
                    await asyncio.sleep(back_off_seconds(attempts))

    async def _lines(self, file_id: str) -> AsyncIterator[bytes]:
        """The lines of a file as they arrive, split at newlines only: JSON may contain other separators."""
        rest = b""
        reading = self._again.files.with_streaming_response.content(
            file_id, extra_headers=self._headers, timeout=FILE_SECONDS
        )
        async with reading as response:
            async for block in response.iter_bytes():
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    yield line
        if rest:
            yield rest

    async def _listed(self, key: str) -> Batch | None:
        async for batch in self._again.batches.list(limit=100, extra_headers=self._headers):
            if (batch.metadata or {}).get(METADATA_KEY) == key:
                return batch
        return None

    async def _say(self, call: Awaitable[_T], what: str) -> _T:
        """The result of a call; a failure becomes a ConfigError."""
        try:
            return await call
        except (openai.APIError, *_NO_ANSWER) as error:
            raise self._sentence(error, what) from None

    def _sentence(self, error: Exception, what: str) -> ConfigError:
        """The error for a failed call: what failed, and what to do."""
        url = self._endpoint.url
        if isinstance(error, openai.APIStatusError):
            said = f"HTTP {error.status_code}: {error.message}"
        else:
            said = connection_failure(error, url).error
        cure = {
            401: "put a valid key into the environment variable that api_key_env names",
            403: "use a key that may use files and batches",
            404: "if the server has no batch API, remove batch from its endpoint's section",
        }.get(getattr(error, "status_code", 0), "the batches that were sent keep running there")
        return ConfigError(
            f"{url} did not {what} ({short(self._endpoint.redaction(said))}); {cure}, and run again: a batch "
            "that the provider has is not sent again"
        )
