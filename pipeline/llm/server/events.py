"""A completion that came as a stream of events, put together."""

import json
from typing import Any

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
"""What of a message comes a piece at a time."""


def joined_events(body: bytes) -> Any:
    """The JSON of the completion that server-sent events spell; None if they are none, or end too early.

    A stream is whole once the server has said why its model stopped. One with an error in it is that event.
    """
    whole: dict[str, Any] = {}
    choice: dict[str, Any] = {"message": {}}
    for line in body.splitlines():
        field, _, data = line.partition(b":")
        if field != b"data" or data.strip() == b"[DONE]":
            continue
        try:
            event = json.loads(data)
            if event.get("error"):
                return event
            for piece in event.get("choices") or ():
                if not piece.get("index"):  # of another choice nothing is read
                    _add(choice, piece)
        except (ValueError, TypeError, AttributeError, RecursionError):  # no event of a completion
            return None
        whole |= {key: value for key, value in event.items() if value is not None}
    return {**whole, "choices": [choice]} if choice.get("finish_reason") else None


def _add(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add to a choice what an event has of it."""
    written = {key: text for key, text in (piece.get("delta") or {}).items() if key in _TEXTS and text}
    for key, text in written.items():
        choice["message"][key] = choice["message"].get(key, "") + text
    if tokens := (piece.get("logprobs") or {}).get("content"):
        choice.setdefault("logprobs", {"content": []})["content"] += tokens
    choice |= {key: piece[key] for key in ("finish_reason", "error") if piece.get(key)}
