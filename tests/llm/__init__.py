"""The tests of asking language models."""

from collections.abc import Sequence
from typing import Any

from pipeline.config import EndpointConfig
from pipeline.llm import Answer, Client, Ledger, Request
from pipeline.llm.server.client import OpenAIClient
from pipeline.llm.server.endpoint import Endpoint


def answers_of(client: Client, requests: Sequence[Request]) -> list[Answer]:
    """What a client answers, in the order of arrival, for a caller that records nothing."""
    return [answer for answers in client.answer(requests) for answer in answers]


def client_of(
    base_url: str | None, api_key_env: str | None = None, ledger: Ledger | None = None, **settings: Any
) -> OpenAIClient:
    """A client of an endpoint of its own, whose settings are those of its section."""
    return OpenAIClient(Endpoint(EndpointConfig(base_url=base_url, api_key_env=api_key_env, **settings)), ledger)
