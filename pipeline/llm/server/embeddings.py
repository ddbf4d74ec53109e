"""Embeddings from any endpoint with OpenAI's API: OpenAI, vLLM, llama.cpp, Ollama, text-embeddings-inference.

A request is one text, identified by its content like any other, and its answer is the text's vector
(`llm.vectors`). Several texts go in one call.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, islice, pairwise
from typing import Any

import openai

from pipeline.errors import ConfigError
from pipeline.llm.requests import Answer, Request
from pipeline.llm.server.arrivals import Deliver, arriving
from pipeline.llm.server.capabilities import Capabilities
from pipeline.llm.server.endpoint import Endpoint
from pipeline.llm.server.reading import Failure, Response, read_status, resolved_model
from pipeline.llm.vectors import packed

_TEXTS_A_CALL = 32
"""The default maximum of text-embeddings-inference; OpenAI's is 2,048."""


class EmbeddingsClient:
    """Asks an endpoint for the vectors of texts.

    Args:
        endpoint: The server.
    """

    path = "/embeddings"

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._at_once = _TEXTS_A_CALL

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        """One answer per request, as they arrive. Raises as `OpenAIClient.answer`."""
        return arriving(requests, self.ask_all)

    @staticmethod
    def body(request: Request, can: Capabilities) -> bytes:
        """The body of a call that requests the vectors of a request's messages."""
        texts = [message.content for message in request.messages]
        return json.dumps({"model": request.model, "input": texts}).encode()

    @staticmethod
    def read(request: Request, response: Response, content: Any) -> Answer | Failure:
        """The vectors in a response, one per line in the order of the texts, or the failure."""
        if not 200 <= response.status < 300:
            return read_status(request, response, content)
        listed = content.get("data") if isinstance(content, dict) else None
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            return Failure("the server's answer contains no embeddings", passes=True)
        n = len(request.messages)
        if len(listed) != n:
            return Failure(f"the server gave {len(listed)} embeddings for {n} texts", passes=False)
        indices = [each.get("index", index) for index, each in enumerate(listed)]
        by_index = dict(zip(map(str, indices), listed, strict=True))
        if by_index.keys() != set(map(str, range(n))):
            return Failure(f"the server numbers its embeddings {indices}, not from 0 to {n - 1}", passes=False)
        try:
            vectors = [packed(by_index[str(index)].get("embedding")) for index in range(n)]
        except (TypeError, ValueError, OverflowError):
            return Failure("the server gave an embedding that is not a vector of numbers", passes=False)
        return Answer(request.request_id, "ok", "\n".join(vectors), resolved_model=resolved_model(content))

    @staticmethod
    def judge(
        request: Request, can: Capabilities, outcome: Answer | Failure, content: Any
    ) -> tuple[Answer | Failure, Capabilities]:
        """The outcome as it is."""
        return outcome, can

    async def ask_all(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Deliver one answer per request, several texts per call."""
        groups = self._groups(requests)
        booked: list[Answer] = []
        async with self._endpoint.connect() as connection:

            async def work() -> None:
                for group in groups:
                    answers = await self._embed(connection, group, booked.extend)
                    await asyncio.gather(*map(deliver, answers))

            try:
                await self._endpoint.work_together(work, len(requests))
            except ConfigError:
                await asyncio.gather(*map(deliver, booked))
                raise

    def _groups(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        """The requests, in groups of the number of texts that a call currently takes."""
        todo = iter(requests)
        while group := list(islice(todo, self._at_once)):
            yield group

    async def _embed(
        self, connection: openai.AsyncOpenAI, group: Sequence[Request], book: Callable[[list[Answer]], None]
    ) -> list[Answer]:
        """The answers to some requests from one call; if that is refused, from one call per half."""
        whole = replace(group[0], messages=tuple(each.messages[0] for each in group))
        answer, last = await self._endpoint.send(
            connection, self, whole, Capabilities(), lambda given_up: book(_shared_out(group, given_up))
        )
        if isinstance(last.outcome, Failure) and not last.outcome.passes and len(group) > 1:
            if last.outcome.http_status is None:  # it cannot handle several texts
                self._at_once = 1
            half = len(group) // 2
            halves = group[:half], group[half:]
            return [answer for each in halves for answer in await self._embed(connection, each, book)]
        self._endpoint.stopping.if_all_fail(last.outcome, whole)
        return _shared_out(group, answer)


def _shared_out(group: Sequence[Request], answer: Answer) -> list[Answer]:
    """The answer to each text of a call, with its share of the tokens."""
    vectors = answer.text.split("\n") if answer.status == "ok" and answer.text else [None] * len(group)
    prompt, cached = (_shares(group, count) for count in (answer.prompt_tokens, answer.cached_tokens))
    return [
        replace(
            answer,
            request_id=request.request_id,
            text=vector,
            prompt_tokens=n_prompt,
            cached_tokens=n_cached,
            completion_tokens=0 if answer.status == "ok" else answer.completion_tokens,
        )
        for request, vector, n_prompt, n_cached in zip(group, vectors, prompt, cached, strict=True)
    ]


def _shares(group: Sequence[Request], count: int | None) -> list[int] | list[None]:
    """A number of tokens divided among texts by their length; the shares add up to it."""
    if count is None:
        return [None] * len(group)
    lengths = [len(request.messages[0].content.encode(errors="replace")) + 1 for request in group]
    ends = [round(count * end / sum(lengths)) for end in accumulate(lengths, initial=0)]
    return [end - begin for begin, end in pairwise(ends)]
