"""The models in this process that benchmarks ask: the embedded one, and at scale large one of 1.5B parameters."""

from collections.abc import Sequence

from pipeline.config import Config
from pipeline.llm import Answer, Request
from pipeline.llm.local.client import LocalClient

LARGE = "qwen-coder-1.5b"


def at_scale(config: Config, scale: str) -> Config:
    """The config; at scale large with the larger model, in int8 (1.1 GB to download at first use)."""
    return config.with_llm(LARGE) if scale == "large" else config


def answers_of(client: LocalClient, requests: Sequence[Request]) -> list[Answer]:
    """The answer to each request, in their order."""
    found = {answer.request_id: answer for some in client.answer(requests) for answer in some}
    return [found[request.request_id] for request in requests]
