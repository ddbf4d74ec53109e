"""The bodies of calls for chat completions, limited to a server's capabilities."""

import json
from collections.abc import Sequence
from typing import Any

from pipeline.llm.requests import Message, Request
from pipeline.llm.server.capabilities import FEW_LOGPROBS, TOP_LOGPROBS, Capabilities

PROMPT_LOGPROBS = 15
"""Alternatives requested at each token of a prompt (Bills et al. 2023)."""

_compact = json.JSONEncoder(separators=(",", ":")).encode


def body_of(request: Request, can: Capabilities) -> bytes:
    """The body of the call, limited to the server's capabilities."""
    return _compact(_parameters(request, can)).encode()


def sends_stop(request: Request, can: Capabilities) -> bool:
    """Whether a request's stop sequences are sent."""
    return bool(request.sent_stop) and can.stop and not (can.thinks or can.cuts_here)


def gives_probabilities(request: Request, can: Capabilities) -> bool:
    """Whether a request is sent such that the answer contains the probabilities or values it needs."""
    if request.wanted == "values":
        return can.prompt_logprobs
    return request.wanted != "text" and can.top_logprobs > 0 and not can.thinks


def _turns(request: Request, can: Capabilities) -> Sequence[Message]:
    """The messages as they are sent."""
    if can.system or request.messages[0].role != "system":
        return request.messages
    system, *others = request.messages
    content = "\n\n".join([system.content, *(each.content for each in others[:1])])
    return [Message("user", content), *others[1:]]


def _parameters(request: Request, can: Capabilities) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "model": request.model,
        "messages": [message._asdict() for message in _turns(request, can)],
        can.max_tokens: request.most_tokens,
    }
    if can.temperature:
        parameters["temperature"] = request.temperature
    if request.reasoning_effort is not None and can.reasoning_effort:
        parameters["reasoning_effort"] = request.reasoning_effort
    if sends_stop(request, can):
        parameters["stop"] = list(request.stop)
    if gives_probabilities(request, can):
        if request.blank:
            parameters["prompt_logprobs"] = PROMPT_LOGPROBS
        else:
            parameters["logprobs"] = True
            parameters["top_logprobs"] = min(can.top_logprobs, FEW_LOGPROBS if request.keys else TOP_LOGPROBS)
    if request.blank and can.prompt_logprobs:
        parameters |= {"add_generation_prompt": False, "continue_final_message": True}
    if request.schema and can.schema:
        json_schema = {"name": "answer", "strict": True, "schema": request.schema}
        parameters["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    return parameters
