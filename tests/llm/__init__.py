"""The tests of asking language models."""

from collections.abc import Sequence

from pipeline.llm import Answer, Client, Request


def answers_of(client: Client, requests: Sequence[Request]) -> list[Answer]:
    """What a client answers, in the order of arrival, for a caller that records nothing."""
    return [answer for answers in client.answer(requests) for answer in answers]
