"""Chats with any endpoint that speaks OpenAI's chat completions: OpenAI, OpenRouter, vLLM, llama.cpp, Ollama.

Each form of request is probed before it is used (`probes`). Sending and retrying are in `endpoint`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import openai

from pipeline.errors import ConfigError
from pipeline.llm.ledger.answers import Ledger
from pipeline.llm.requests import FAILED, Answer, Request, now
from pipeline.llm.server.arrivals import Deliver, arriving
from pipeline.llm.server.bodies import body_of, sends_stop
from pipeline.llm.server.capabilities import Capabilities, Form, form_of, without_what_was_refused
from pipeline.llm.server.endpoint import Attempt, Endpoint
from pipeline.llm.server.probes import honoured, is_answered, probe_request, reasons, with_room
from pipeline.llm.server.reading import Failure, is_cut_thought, read, shows_thinking
from pipeline.llm.texts import before_stop
from pipeline.progress import tell


class OpenAIClient:
    """Asks an endpoint for chat completions, several requests at a time.

    Args:
        endpoint: The server.
        ledger: Records probes, which are paid for like any other request.
    """

    path = "/chat/completions"
    body = staticmethod(body_of)
    read = staticmethod(read)

    def __init__(self, endpoint: Endpoint, ledger: Ledger | None = None) -> None:
        self.endpoint = endpoint
        self.ledger = ledger
        self._assumed: dict[Form, Capabilities] = {}
        """Capabilities of forms whose probe was not answered."""

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        """One answer per request, as they arrive; requests in flight are dropped if the caller stops early.

        Raises:
            ConfigError: The endpoint refuses the key, does not know the model, or cannot be reached.
        """
        return arriving(requests, self.ask_all)

    async def ask_all(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Deliver one answer per request."""
        stopping = self.endpoint.stopping
        async with self.endpoint.connect() as connection:
            await self.probe(connection, requests)
            todo = iter(requests)
            held: list[Answer] = []
            """Final failures that the server may be to blame for: those before anything was answered (too long,
            empty), and what was not let in. If the run stops, they are not final, but what was paid is booked."""

            async def work() -> None:
                for request in todo:
                    can = self.capabilities(request)
                    if request.blank and not can.prompt_logprobs:
                        await deliver(not_given(request))
                        continue
                    answer, last = await self.endpoint.send(connection, self, request, can, held.append)
                    failure = last.outcome if isinstance(last.outcome, Failure) else None
                    is_final = failure is not None and answer.status not in FAILED
                    if failure and is_final and (failure.is_forbidden or not stopping.has_answered(request)):
                        held.append(answer)
                    else:
                        await deliver(answer)
                    stopping.if_all_fail(last.outcome, request)
                    stopping.if_only_thought(last.outcome, request, last.can)
                    if stopping.is_probe_due():
                        await self._send_probe(connection, probe_request(form_of(request), self.endpoint.url), can)

            try:
                await self.endpoint.work_together(work, len(requests))
            except ConfigError:
                paid = [each for each in held if each.prompt_tokens or each.completion_tokens]
                await asyncio.gather(*(deliver(replace(each, status="http_error", text=None)) for each in paid))
                raise
            await asyncio.gather(*map(deliver, held))

    async def probe(self, connection: openai.AsyncOpenAI, requests: Iterable[Request]) -> None:
        """Find out the endpoint's capabilities for the requests' forms, once each."""
        for form in dict.fromkeys(map(form_of, requests)):
            if form not in self.endpoint.abilities and form not in self._assumed:
                await self._probe_form(connection, form)

    def capabilities(self, request: Request) -> Capabilities:
        """The endpoint's capabilities for a request whose form was probed."""
        form = form_of(request)
        return self.endpoint.abilities.get(form) or self._assumed[form]

    async def _probe_form(self, connection: openai.AsyncOpenAI, form: Form) -> None:
        """Find out the endpoint's capabilities with a tiny request that uses everything requests of a form use."""
        request = probe_request(form, self.endpoint.url)
        can = known = Capabilities()
        while True:
            last = await self._send_probe(connection, request, can)
            if isinstance(last.outcome, Answer):
                can = honoured(last.can, form, last.content)
                if not is_answered(last.content):
                    if not (can.thinks or form.thinks or form.blank):
                        can = replace(can, thinks=await self._reasons(connection, request, can))
                    self.endpoint.stopping.if_no_room(form, can)
                self.endpoint.abilities[form] = can
                return
            fewer = without_what_was_refused(can, form, last.outcome)
            if fewer is None:  # it failed for another reason, which the requests will show
                self._assumed[form] = known
                return
            can, request = fewer.can, replace(request, draw=request.draw + 1)
            if fewer.is_named:  # otherwise it is a guess, to be used only once there is an answer
                known = can

    async def _reasons(self, connection: openai.AsyncOpenAI, probe: Request, can: Capabilities) -> bool:
        """Whether the model of a probe that it did not answer reasons first; asked once for each effort."""
        known = self.endpoint.reasons
        key = probe.model, probe.reasoning_effort
        if key not in known:
            last = await self._send_probe(connection, with_room(probe), can)
            if isinstance(last.outcome, Failure):
                return False
            known[key] = reasons(last.content)
        return known[key]

    async def _send_probe(self, connection: openai.AsyncOpenAI, probe: Request, can: Capabilities) -> Attempt:
        """Send a probe and record it; returns the last attempt."""

        def record(answer: Answer) -> None:
            if self.ledger is not None:
                self.ledger.record(probe, answer)

        answer, last = await self.endpoint.send(connection, self, probe, can, record)
        record(answer)
        if isinstance(last.outcome, Answer):
            self.endpoint.stopping.let_in(probe.model)
        return last

    def judge(
        self, request: Request, can: Capabilities, outcome: Answer | Failure, content: Any
    ) -> tuple[Answer | Failure, Capabilities]:
        """An outcome, corrected for the stop sequences that were sent, and the capabilities that it shows.

        If a stop cut the model's reasoning, or the whole answer, stops are no longer sent.
        """
        if sends_stop(request, can):
            if isinstance(outcome, Failure) and outcome.is_empty:
                return outcome, self._learn(request, replace(can, cuts_here=True))
            if isinstance(outcome, Answer) and is_cut_thought(outcome, content):
                failure = Failure("a stop sequence cut the model's reasoning off", passes=True)
                return failure, self._learn(request, replace(can, thinks=True))
        elif can.cuts_here and isinstance(outcome, Answer):
            if shows_thinking(content):
                return outcome, self._learn(request, replace(can, thinks=True))
            return replace(outcome, text=before_stop((outcome.text or "").lstrip(), request.sent_stop)), can
        return outcome, can

    def _learn(self, request: Request, can: Capabilities) -> Capabilities:
        """Store capabilities; those of a form that is being probed are stored by its probe."""
        form = form_of(request)
        for known in (self.endpoint.abilities, self._assumed):
            if form in known:
                if can.thinks and not known[form].thinks:
                    tell(
                        f"model '{request.model}' reasons before it answers, and the one_line stop sequence cut "
                        "its reasoning off; the stop is no longer sent (set reasoning_tokens to avoid this)"
                    )
                known[form] = can
        return can


def not_given(request: Request) -> Answer:
    """The answer to a request that is not sent, because the server cannot give what it needs."""
    return Answer(
        request.request_id,
        "refused",
        requested_at=now(),
        error="not sent: the server gives no log-probabilities of a prompt from which numbers can be read",
    )
