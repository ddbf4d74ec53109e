"""How many requests per second the LLM client sustains, ledger included, and the processor time of each.

The server is local and answers each request after a second, so with 100 in flight the ideal is 100 per second. For
comparison, the `openai` package that the client sends with is measured alone in the same run. A second server that
answers at once shows the client's own limit.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient

from benchmarks.figures import Figure, measured, publish
from benchmarks.lean_server import response, serving
from pipeline.config import EndpointConfig
from pipeline.llm import Ledger, Message, Request, ask
from pipeline.llm.server.client import OpenAIClient
from pipeline.llm.server.endpoint import Endpoint

LATENCY_SECONDS = 1.0
IN_FLIGHT = 100
SECONDS = 180
"""Duration of the work if it were ideal; a batch takes minutes. A probe and the pacing's slow start add 4 s."""
N_PACKAGE = 6_000
"""Requests sent with the package alone."""
N_AT_ONCE = 10_000
"""Requests to the server that answers at once."""


class Rate(NamedTuple):
    """Requests per second, processor milliseconds per request, and seconds until the first answer."""

    per_second: float
    cpu_ms: float
    first_seconds: float = 0.0


def main() -> None:
    """Measure and publish."""
    ideal = IN_FLIGHT / LATENCY_SECONDS
    n = round(SECONDS * ideal)
    with serving(LATENCY_SECONDS, _complete) as url:
        client, package = _rate(_client, url, n), _rate(_package, url, N_PACKAGE)
    with serving(0.0, _complete) as url:
        at_once = _rate(_client, url, N_AT_ONCE)
    load = os.getloadavg()[1]
    publish(
        "throughput",
        [
            Figure(
                "throughput_ratio",
                client.per_second / ideal,
                "of ideal",
                target=0.95,
                better="higher",
                limit=package.per_second / ideal,
                note=f"{client.per_second:.1f} requests/s of {ideal:.0f}, {n:,} answers of {LATENCY_SECONDS:g} s "
                "recorded and synced, slow start included; limit: the openai package alone, without one",
            ),
            Figure(
                "client_cpu_ms_per_request",
                client.cpu_ms,
                "ms",
                target=2,
                limit=package.cpu_ms,
                note="with ids, ledger and reading; the whole process",
            ),
            Figure(
                "first_answer_s", client.first_seconds, "s", note=f"after the ids of {n:,} requests and a probe"
            ),
            Figure(
                "most_per_second",
                at_once.per_second,
                "requests/s",
                better="higher",
                note=f"server that answers at once and shares the processor; {at_once.cpu_ms:.2f} ms each",
            ),
            Figure(
                "load_of_the_machine",
                load,
                "processes",
                note=f"over 5 minutes, {os.cpu_count()} cores, nice {os.nice(0)}; server, client and other jobs",
            ),
        ],
    )


def _rate(work: Callable[[str, int], tuple[float, float]], url: str, n: int) -> Rate:
    """The rate of n requests to a server, sent from a separate process."""
    once = measured(work, url, n)
    seconds, first_seconds = once.result
    return Rate(n / seconds, 1000 * once.cpu_s / n, first_seconds)


def _messages(number: int) -> list[dict[str, str]]:
    """A question of about 300 tokens."""
    return [{"role": "system", "content": "word " * 60}, {"role": "user", "content": f"{number} " + "text " * 240}]


def _client(url: str, n: int) -> tuple[float, float]:
    """Seconds for n requests through client and ledger, and until the first answer."""
    requests = [
        Request("detection", "sae", 0, "model", tuple(Message(**each) for each in _messages(k)), 5)  # type: ignore[arg-type]
        for k in range(n)
    ]
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
        Ledger(Path(folder), "predictions", "sae", 0, 0) as ledger,
    ):
        client = OpenAIClient(Endpoint(EndpointConfig(base_url=url, max_concurrent=IN_FLIGHT)))
        answered: list[float] = []
        start = time.monotonic()
        answers = ask(ledger, client, requests, on_answer=lambda answer: answered.append(time.monotonic() - start))
        seconds = time.monotonic() - start
    assert len(answers) == n
    assert {answer.status for answer in answers.values()} == {"ok"}
    return seconds, answered[0]


def _package(url: str, n: int) -> tuple[float, float]:
    """Seconds for n requests with the openai package, without recording, and until the first answer."""
    answered: list[float] = []

    async def send_all() -> float:
        http_client = DefaultAioHttpClient(limits=httpx2.Limits(max_connections=IN_FLIGHT))
        async with AsyncOpenAI(api_key="none", base_url=url, max_retries=0, http_client=http_client) as client:
            todo = iter(range(n))
            start = time.monotonic()

            async def work() -> None:
                for number in todo:
                    body = {"model": "model", "messages": _messages(number), "max_tokens": 5}
                    response = await client.post("/chat/completions", cast_to=httpx2.Response, body=body)
                    json.loads(response.content)
                    answered.append(time.monotonic() - start)

            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(work())
            return time.monotonic() - start

    return asyncio.run(send_all()), answered[0]


def _complete(_: bytes) -> bytes:
    """The same completion to every request."""
    return _COMPLETION


_COMPLETION = response("[1, 0, 0, 1, 1]")

if __name__ == "__main__":
    main()
