"""Any endpoint that speaks OpenAI's embeddings: OpenAI, vLLM, llama.cpp, Ollama, text-embeddings-inference.

A request is one text, known by its content as every other is, and its answer the text's vector (`llm.vectors`);
several texts go in one call. Key, pace, attempts and redaction are those of chats.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import openai

from pipeline.llm.requests import Answer, Request
from pipeline.llm.server.arrivals import Deliver
from pipeline.llm.server.capabilities import Capabilities
from pipeline.llm.server.client import OpenAIClient
from pipeline.llm.server.reading import Failure, Response, read_status, resolved_model
from pipeline.llm.vectors import packed

_TEXTS_A_CALL = 32
"""What text-embeddings-inference takes by default; OpenAI takes 2,048."""


class EmbeddingsClient(OpenAIClient):
    """Asks an endpoint for the vectors of texts; arguments and errors are those of `OpenAIClient`."""

    path = "/embeddings"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._at_once = _TEXTS_A_CALL

    @staticmethod
    def body(request: Request, can: Capabilities) -> bytes:
        """The body of a call for the vectors of a request's messages."""
        texts = [message.content for message in request.messages]
        return json.dumps({"model": request.model, "input": texts}).encode()

    @staticmethod
    def read(request: Request, response: Response, content: Any) -> Answer | Failure:
        """The vectors in a response, a line each in the order of the texts, or why they are not there."""
        if not 200 <= response.status < 300:
            return read_status(request, response, content)
        listed = content.get("data") if isinstance(content, dict) else None
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            return Failure("the server's answer holds no embeddings", passes=True)
        n = len(request.messages)
        if len(listed) != n:
            return Failure(f"the server gave {len(listed)} embeddings for {n} texts", passes=False)
        places = [each.get("index", place) for place, each in enumerate(listed)]
        by_place = dict(zip(map(str, places), listed, strict=True))
        if by_place.keys() != set(map(str, range(n))):
            return Failure(f"the server numbers its embeddings {places}, not from 0 to {n - 1}", passes=False)
        try:
            vectors = [packed(by_place[str(place)].get("embedding")) for place in range(n)]
        except (TypeError, ValueError, OverflowError):
            return Failure("an embedding of the server is no vector of numbers", passes=False)
        return Answer(request.request_id, "ok", "\n".join(vectors), resolved_model=resolved_model(content))

    async def ask_all(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Deliver an answer a request, some texts a call."""
        groups = self._groups(requests)
        async with self.connect() as client:

            async def work() -> None:
                for group in groups:
                    answers = await self._embed(client, group)
                    await asyncio.gather(*map(deliver, answers))

            await self.work_together(work, len(requests))

    def _groups(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        """The requests, so many together as a call may take by then."""
        todo = iter(requests)
        while group := list(islice(todo, self._at_once)):
            yield group

    async def _embed(self, client: openai.AsyncOpenAI, group: Sequence[Request]) -> list[Answer]:
        """The answers to some requests by one call; where that is refused, by one call for each half."""
        whole = replace(group[0], messages=tuple(each.messages[0] for each in group))
        answer, last = await self._send(client, whole, Capabilities())
        if isinstance(last.outcome, Failure) and not last.outcome.passes and len(group) > 1:
            if last.outcome.http_status is None:  # it cannot number several
                self._at_once = 1
            half = len(group) // 2
            return [*await self._embed(client, group[:half]), *await self._embed(client, group[half:])]
        self.stopping.if_none_is_answered(last.outcome, whole)
        return _shared_out(group, answer)


def _shared_out(group: Sequence[Request], answer: Answer) -> list[Answer]:
    """The answer to each text of a call, with its part of the tokens by its length."""
    vectors = answer.text.split("\n") if answer.status == "ok" and answer.text else [None] * len(group)
    ends = [0]
    for request in group:
        ends.append(ends[-1] + len(request.messages[0].content.encode(errors="replace")) + 1)
    counted = answer.prompt_tokens
    tokens = [None if counted is None else round(counted * end / ends[-1]) for end in ends]
    return [
        replace(
            answer,
            request_id=request.request_id,
            text=vector,
            prompt_tokens=None if end is None or begin is None else end - begin,
            completion_tokens=0 if answer.status == "ok" else answer.completion_tokens,
        )
        for request, vector, begin, end in zip(group, vectors, tokens[:-1], tokens[1:], strict=True)
    ]
