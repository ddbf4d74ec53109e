"""Joins a completion that came as a stream of events."""

import json
from typing import Any

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
"""The parts of a message that come in pieces."""


def joined_events(body: bytes) -> Any:
    """The JSON of the completion in server-sent events; None if there is none, or the stream ended too early.

    A stream is complete once it contains a finish reason. If it contains an error, that event is returned.
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
                if not piece.get("index"):  # other choices are ignored
                    _add(choice, piece)
        except (ValueError, TypeError, AttributeError, RecursionError):  # not an event of a completion
            return None
        whole |= {key: value for key, value in event.items() if value is not None}
    return {**whole, "choices": [choice]} if choice.get("finish_reason") else None


def _add(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add an event's part of a choice to it."""
    written = {key: text for key, text in (piece.get("delta") or {}).items() if key in _TEXTS and text}
    for key, text in written.items():
        choice["message"][key] = choice["message"].get(key, "") + text
    if tokens := (piece.get("logprobs") or {}).get("content"):
        choice.setdefault("logprobs", {"content": []})["content"] += tokens
    choice |= {key: piece[key] for key in ("finish_reason", "error") if piece.get(key)}
