"""How many requests a second the LLM client keeps up, through the ledger, and what each costs the processor.

The server is local and answers each request after 50 ms, so that with 100 in flight 2,000 a second are ideal.
Beside the client stand, in the same run, the bare connections that it uses and the `openai` package.
"""

import asyncio
import json
import multiprocessing
import selectors
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from openai import AsyncOpenAI

from benchmarks.figures import Figure, measured, publish
from pipeline.llm import Ledger, Message, Request, ask
from pipeline.llm.server.client import OpenAIClient
from pipeline.llm.server.connections import Connections

LATENCY_SECONDS = 0.05
IN_FLIGHT = (100, 25)
SECONDS = 30
"""Of work, were it ideal. A batch takes minutes; what comes before the first answer is a figure of its own."""


class Rate(NamedTuple):
    """Requests a second, and processor milliseconds a request."""

    per_second: float
    cpu_ms: float


def main() -> int:
    """Measure and publish."""
    figures = []
    with _server() as url:
        for in_flight in IN_FLIGHT:
            ideal = in_flight / LATENCY_SECONDS
            n = round(SECONDS * ideal)
            client = measured(_client, url, in_flight, n)
            bare = measured(_bare, url, in_flight, n)
            seconds, first_seconds = client.result
            rate, limit = _rate(n, seconds, client.cpu_s), _rate(n, bare.result, bare.cpu_s)
            name = "" if in_flight == IN_FLIGHT[0] else f"_{in_flight}_in_flight"
            figures.append(
                Figure(
                    f"throughput_ratio{name}",
                    rate.per_second / ideal,
                    "of ideal",
                    target=0.9,
                    better="higher",
                    limit=limit.per_second / ideal,
                    note=f"{rate.per_second:,.0f} requests/s of {ideal:,.0f}, recorded and synced; "
                    "limit: the bare connections",
                )
            )
            if not name:
                figures.append(
                    Figure(
                        "client_cpu_ms_per_request",
                        rate.cpu_ms,
                        "ms",
                        limit=limit.cpu_ms,
                        note="with ids, ledger and reading; the whole process",
                    )
                )
                figures.append(
                    Figure(
                        "first_answer_s", first_seconds, "s", note=f"after the ids of {n:,} requests and a probe"
                    )
                )
        n = 1500
        package = measured(_package, url, IN_FLIGHT[0], n)
        rate = _rate(n, package.result, package.cpu_s)
        figures.append(
            Figure(
                "openai_package_cpu_ms_per_request",
                rate.cpu_ms,
                "ms",
                note=f"AsyncOpenAI with raw responses, nothing recorded: {rate.per_second:,.0f}/s",
            )
        )
    publish("throughput", figures)
    return 0


def _rate(n: int, seconds: float, cpu_seconds: float) -> Rate:
    return Rate(n / seconds, 1000 * cpu_seconds / n)


def _messages(number: int) -> list[dict[str, str]]:
    """A question of some 300 tokens."""
    return [{"role": "system", "content": "word " * 60}, {"role": "user", "content": f"{number} " + "text " * 240}]


def _client(url: str, in_flight: int, n: int) -> tuple[float, float]:
    """Seconds for n requests through client and ledger, and until the first is answered."""
    requests = [
        Request("detection", "sae", 0, "model", tuple(Message(**each) for each in _messages(k)), 5)  # type: ignore[arg-type]
        for k in range(n)
    ]
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
        Ledger(Path(folder), "predictions", "sae", 0, 0) as ledger,
    ):
        client = OpenAIClient(url, None, max_concurrent=in_flight)
        answered: list[float] = []
        start = time.monotonic()
        answers = ask(ledger, client, requests, on_answer=lambda answer: answered.append(time.monotonic() - start))
        seconds = time.monotonic() - start
    assert len(answers) == n
    assert {answer.status for answer in answers.values()} == {"ok"}
    return seconds, answered[0]


def _bare(url: str, in_flight: int, n: int) -> float:
    """Seconds for n requests over the connections alone."""

    async def send_all() -> float:
        async with Connections(url, {"Content-Type": "application/json"}) as connections:

            async def send(number: int) -> None:
                body = json.dumps({"model": "model", "messages": _messages(number), "max_tokens": 5})
                json.loads((await connections.post("/chat/completions", body.encode(), 60)).body)

            return await _timed(send, in_flight, n)

    return asyncio.run(send_all())


def _package(url: str, in_flight: int, n: int) -> float:
    """Seconds for n requests with the openai package."""

    async def send_all() -> float:
        async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:

            async def send(number: int) -> None:
                messages: Any = _messages(number)
                response = await client.chat.completions.with_raw_response.create(
                    model="model", messages=messages, max_tokens=5
                )
                json.loads(response.text)

            return await _timed(send, in_flight, n)

    return asyncio.run(send_all())


async def _timed(send: Callable[[int], Awaitable[None]], in_flight: int, n: int) -> float:
    todo = iter(range(n))

    async def work() -> None:
        for number in todo:
            await send(number)

    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return time.monotonic() - start


@contextmanager
def _server() -> Iterator[str]:
    """The base URL of a server in a process of its own, as lean as can be: it shares the machine."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


class _Answering(asyncio.Protocol):
    """Answers every POST with the same completion after LATENCY_SECONDS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            length = int(head[head.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
            if len(self._received) < end + 4 + length:
                return
            self._received = self._received[end + 4 + length :]
            self._loop.call_later(LATENCY_SECONDS, self._transport.write, _COMPLETION)


def _serve(port: Any) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0, backlog=512)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    # epoll, the default, waits to the next whole millisecond, which would be a latency of 50.5.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(serve())


def _completion() -> bytes:
    message = {"role": "assistant", "content": "[1, 0, 0, 1, 1]", "refusal": None}
    content = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "model-2026",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305},
    }
    body = json.dumps(content).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


_COMPLETION = _completion()

if __name__ == "__main__":
    sys.exit(main())
