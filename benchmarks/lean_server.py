"""A chat server in a separate process, as lean as possible: it shares the machine with what is measured."""

import asyncio
import json
import multiprocessing
import selectors
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Complete = Callable[[bytes], bytes]
"""From the bytes of a request to those of the whole response (`response`); a module-level function."""


@contextmanager
def serving(latency_seconds: float, complete: Complete) -> Iterator[str]:
    """The base URL of a server that answers each POST after `latency_seconds`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, latency_seconds, complete), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def response(text: str, logprobs: Any = None) -> bytes:
    """The response of a chat completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    content = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "model-2026",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305},
    }
    body = json.dumps(content).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class _Answering(asyncio.Protocol):
    """Answers every POST after `latency_seconds`."""

    def __init__(self, latency_seconds: float, complete: Complete) -> None:
        self._latency_seconds, self._complete = latency_seconds, complete

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
            body, self._received = self._received[end + 4 : end + 4 + length], self._received[end + 4 + length :]
            self._loop.call_later(self._latency_seconds, self._transport.write, self._complete(body))


def _serve(port: Any, latency_seconds: float, complete: Complete) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: _Answering(latency_seconds, complete), "127.0.0.1", 0, backlog=512
        )
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    # epoll, the default, waits until the next whole millisecond, which would be too late.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(serve())
