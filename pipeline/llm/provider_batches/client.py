"""A client of a provider's batch API: requests are sent in files, and answered within a day at half the price.

1. Batches that an earlier run sent and did not finish reading are found in the journal and waited for, not sent
   again.
2. The other requests are sent in as many files as the provider's limits require, each a batch of its own.
3. Batches are polled. A batch that has ended is read, however it ended: lines come in any order, and the first of
   two answers to a request counts.
4. Requests left unanswered for a temporary reason (expired, a temporary error, a batch that is gone) are sent in a
   new batch, or as ordinary requests if the config says so.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from openai.types import Batch

from pipeline.config import ChatEndpointConfig
from pipeline.errors import ConfigError
from pipeline.llm.provider_batches.calls import Calls
from pipeline.llm.provider_batches.files import MOST_BYTES, MOST_REQUESTS, cut_parts, read_line
from pipeline.llm.provider_batches.journal import Journal, Sent
from pipeline.llm.requests import Answer, Request
from pipeline.llm.server.arrivals import Arrivals, Deliver
from pipeline.llm.server.capabilities import form_of
from pipeline.llm.server.client import OpenAIClient, not_given
from pipeline.llm.server.reading import EMPTY_AT_MOST, Failure, Usage, usage_of
from pipeline.llm.server.redaction import short
from pipeline.progress import tell

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_RECORDED_AT_ONCE = 500
"""Answers of a file that the ledger takes in one write."""
_REFUSED_AT_LEAST = 20
"""If at least this many requests are all refused, the cause is not in a single one of them."""
_NO_ROOM = "token_limit_exceeded"
"""OpenAI's error code when an organisation's unfinished batches hold too many tokens."""


class BatchClient:
    """Sends requests through an endpoint's batch API.

    Args:
        client: The client for probes and ordinary requests.
        journal: The record of batches sent; None if nothing is to be sent.
        config: How often batches are checked, and how requests that they left unanswered are sent again.
    """

    def __init__(self, client: OpenAIClient, journal: Journal | None, config: ChatEndpointConfig) -> None:
        self._client = client
        self._journal = journal
        self._config = config

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        """One answer per request, as batches end; if the caller stops early, the next run reads the rest.

        Raises:
            ConfigError: The provider refuses the key, a batch or all of its requests, or a batch was cancelled.
            LakeError: The journal cannot be written.
        """
        if requests and self._journal:
            run = _BatchRun(self._client, self._journal, self._config, requests)
            with Arrivals(run.run) as arrivals:
                yield from arrivals


class _BatchRun:
    """Requests from sending to answer.

    Each request is in `_waiting` until it has an answer. Meanwhile it is in a batch in `_open` (by the provider's
    id), in `_held` (the provider has no room for it now), or in flight as an ordinary request.
    """

    def __init__(
        self,
        client: OpenAIClient,
        journal: Journal,
        config: ChatEndpointConfig,
        requests: Sequence[Request],
    ) -> None:
        self._client, self._endpoint, self._journal, self._config = client, client.endpoint, journal, config
        self._waiting = {request.request_id: request for request in requests}
        self._open: dict[str, Sent] = {}
        self._held: list[Request] = []
        self._attempts: Counter[str] = Counter()
        self._n_empty: Counter[str] = Counter()
        self._used: dict[str, Usage] = {}
        """Usage of failed attempts by request, until it is added to the answer."""
        self._most_requests = MOST_REQUESTS

    async def run(self, deliver: Deliver) -> None:
        """Deliver one answer per request."""
        self._deliver = deliver
        async with self._endpoint.connect() as connection:
            self._connection, self._calls = connection, Calls(self._endpoint, connection)
            await self._client.probe(connection, self._waiting.values())
            await self._read_earlier()
            under_way = {request_id for sent in self._open.values() for request_id in sent.request_ids}
            await self._send([each for request_id, each in self._waiting.items() if request_id not in under_way])
            await self._poll()

    async def _read_earlier(self) -> None:
        """Read the batches of earlier runs that have ended, and keep the others open.

        Requests that such a batch left unanswered are sent again whatever the reason, which may be resolved by
        now.
        """
        for sent in self._journal.holding(self._waiting):
            if sent.batch_id is None and (found := await self._calls.find(sent)):
                sent = self._journal.end(sent, found.id)
            if sent.batch_id is None:  # its creation was not noted, and the provider does not list it
                continue
            self._attempts.update(self._left(sent))
            batch = await self._calls.look_up(sent)
            if batch is not None and batch.status not in _ENDED:
                self._open[batch.id] = sent
            elif batch is not None:
                self._keep_used(sent, await self._read(batch, sent))

    def _keep_used(self, sent: Sent, failed: "dict[str, _Failed]") -> None:
        """Keep the usage of attempts that failed in an earlier run's batch, unless that run recorded it."""
        ledger = self._client.ledger
        for request_id in failed.keys() & self._left(sent):
            recorded = ledger.last(self._waiting[request_id]) if ledger is not None else None
            if recorded is None or recorded.batch_id != sent.batch_id:
                self._add_used(request_id, failed[request_id].usage)

    async def _poll(self) -> None:
        """Poll batches until every request has an answer."""
        while self._open or self._held:
            await asyncio.sleep(self._config.batch_poll_seconds)
            for batch_id, sent in list(self._open.items()):
                batch = await self._calls.look_up(sent)
                if batch is None or batch.status in _ENDED:
                    del self._open[batch_id]
                    await self._end(sent, batch)
            if not self._open:
                some, self._held = self._held[: self._most_requests], self._held[self._most_requests :]
                await self._send(some)

    async def _end(self, sent: Sent, batch: Batch | None) -> None:
        """Read a batch that has ended (None: it is gone), and send again what it left unanswered."""
        if batch is None:
            tell(
                f"batch {sent.batch_id}: {self._endpoint.url} no longer has this batch; its requests will be sent "
                "again"
            )
        elif batch.status == "failed":
            self._hold_back(batch, sent)
            return
        else:
            self._most_requests = min(MOST_REQUESTS, 2 * self._most_requests)  # there is room again
        again = await self._settle(sent, batch, await self._read(batch, sent) if batch else {})
        if batch is not None and batch.status == "cancelled" and again:
            raise ConfigError(
                f"batch {batch.id} at {self._endpoint.url} was cancelled with {len(again):,} requests "
                "unanswered; run again to ask for them: the answers so far are kept"
            )
        if self._config.batch_unfinished == "batch":
            await self._send(again)
        elif again:
            for request in again:
                del self._waiting[request.request_id]
            await self._client.ask_all(again, self._deliver_by_itself)

    async def _deliver_by_itself(self, answer: Answer) -> None:
        """Deliver the answer to an ordinary request, adding the usage of earlier attempts in batches."""
        used = self._used.pop(answer.request_id, Usage())
        own = Usage(*(getattr(answer, name) for name in Usage._fields))
        attempts = self._attempts[answer.request_id] + answer.attempts
        await self._deliver(replace(answer, attempts=attempts, **used.plus(own)._asdict()))

    async def _send(self, requests: Sequence[Request]) -> None:
        """Send requests in batches; those that the server cannot answer get an answer that says so."""
        able = []
        for request in requests:
            can = self._client.capabilities(request)
            if request.blank and not can.prompt_logprobs:
                del self._waiting[request.request_id]
                await self._deliver(not_given(request))
            else:
                able.append((request, can))
        for part in cut_parts(able, self._most_requests, MOST_BYTES):
            sent = self._journal.begin([request.request_id for request in part.requests])
            batch = await self._calls.create(sent, part.content)
            self._open[batch.id] = self._journal.end(sent, batch.id)
            self._attempts.update(sent.request_ids)
            tell(
                f"batch {batch.id}: {len(part.requests):,} requests were sent to {self._endpoint.url}; answers "
                "may take a day, and if this run is stopped, the next one waits for them"
            )

    async def _read(self, batch: Batch, sent: Sent) -> dict[str, "_Failed"]:
        """Deliver the answers in a batch; returns its failures by request_id."""
        own = set(sent.request_ids)
        failed: dict[str, _Failed] = {}
        sent_with = {form_of(each): self._client.capabilities(each) for each in self._waiting.values()}
        group: list[Answer] = []
        n_answers, n_unknown = 0, 0
        async for raw in self._calls.lines((batch.output_file_id, batch.error_file_id)):
            line = read_line(raw)
            if line is None or line.request_id not in self._waiting:
                n_unknown += line is not None and line.request_id not in own
                continue
            request = self._waiting[line.request_id]
            can = sent_with[form_of(request)]  # those when the file was written
            outcome, _ = self._client.judge(request, can, line.outcome(request), line.content)
            if isinstance(outcome, Failure):
                failed[line.request_id] = _Failed(outcome, usage_of(line.content))
                continue
            group.append(self._complete(outcome, usage_of(line.content), sent, batch))
            n_answers += 1
            if len(group) == _RECORDED_AT_ONCE:
                await self._deliver_all(group)
                group = []
        await self._deliver_all(group)
        unknown = f"; {n_unknown:,} lines for other requests were ignored" if n_unknown else ""
        missing = f"{len(self._left(sent)):,} are missing"
        tell(f"batch {batch.id} has ended ({batch.status}): {n_answers:,} answers, {missing}{unknown}")
        return failed

    async def _settle(self, sent: Sent, batch: Batch | None, failed: dict[str, "_Failed"]) -> list[Request]:
        """Deliver the failures that are final; returns the requests to send again."""
        again, final = [], []
        for request_id in self._left(sent):
            request = self._waiting[request_id]
            missing = Failure(f"batch {sent.batch_id} {'has no line for it' if batch else 'is gone'}", passes=True)
            failure, usage = failed.get(request_id) or _Failed(missing, Usage())
            await self._endpoint.stop_if_hopeless(self._connection, failure, request, attempts=0)
            self._n_empty[request_id] += failure.is_empty
            n_attempts, n_empty = self._attempts[request_id], self._n_empty[request_id]
            if failure.passes and n_attempts < self._endpoint.max_attempts and n_empty < EMPTY_AT_MOST:
                self._add_used(request_id, usage)
                again.append(request)
            else:
                final.append(self._complete(failure.answer(request, n_empty), usage, sent, batch))
        await self._deliver_all(final)
        if len(final) == len(sent.request_ids) >= _REFUSED_AT_LEAST:
            raise ConfigError(
                f"{self._endpoint.url} refused all {len(final):,} requests of batch {sent.batch_id} "
                f"({final[0].error}); correct the model's name or what it is asked, and run again"
            )
        return again

    def _hold_back(self, batch: Batch, sent: Sent) -> None:
        """Keep the requests of a batch that the provider had no room for; raise ConfigError for another refusal.

        They are sent once no other batch is open. If none was open, half as many are sent at a time, until a batch
        fits and ends.
        """
        errors = (batch.errors and batch.errors.data) or []
        is_alone = not self._open
        if any(error.code == _NO_ROOM for error in errors) and not (is_alone and len(sent.request_ids) == 1):
            self._held += [self._waiting[request_id] for request_id in self._left(sent)]
            self._attempts.subtract(sent.request_ids)
            if is_alone:
                self._most_requests = len(sent.request_ids) // 2
            tell(f"batch {batch.id}: {self._endpoint.url} has no room for it now; its requests will be sent later")
            return
        said = "; ".join(
            f"{error.code}: {error.message}{f' (line {error.line})' if error.line else ''}" for error in errors[:3]
        )
        why = short(self._endpoint.redaction(said or "no reason given"))
        raise ConfigError(
            f"{self._endpoint.url} refused batch {batch.id} ({why}); none of it was sent: correct that, or "
            "remove batch from the endpoint's section, and run again"
        )

    def _left(self, sent: Sent) -> list[str]:
        """The ids of a batch's requests that have no answer yet."""
        return [request_id for request_id in sent.request_ids if request_id in self._waiting]

    def _add_used(self, request_id: str, usage: Usage) -> None:
        """Add the usage of a failed attempt at a request."""
        self._used[request_id] = self._used.get(request_id, Usage()).plus(usage)

    def _complete(self, answer: Answer, usage: Usage, sent: Sent, batch: Batch | None) -> Answer:
        """A final answer or failure, completed with attempts, times and usage; it is no longer waited for."""
        del self._waiting[answer.request_id]
        sent_at = datetime.fromisoformat(sent.sent_at).timestamp()
        ends = (batch.completed_at, batch.expired_at, batch.cancelled_at) if batch else ()
        ended_at = next(filter(None, ends), time.time())
        answer = self._endpoint.redaction.answer(answer)
        return replace(
            answer,
            attempts=self._attempts[answer.request_id],
            requested_at=sent.sent_at,
            duration_ms=max(0, round((ended_at - sent_at) * 1000)),
            error=short(answer.error),
            batch_id=sent.batch_id,
            **self._used.pop(answer.request_id, Usage()).plus(usage)._asdict(),
        )

    async def _deliver_all(self, answers: Sequence[Answer]) -> None:
        await asyncio.gather(*map(self._deliver, answers))


class _Failed(NamedTuple):
    """Why a line contains no answer, and its usage."""

    failure: Failure
    usage: Usage
