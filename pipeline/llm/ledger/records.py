"""Lines of the ledger: an answer as a record, and which of several records of a request counts."""

import json
from collections.abc import Iterable
from dataclasses import fields

from pipeline.llm.ledger.prices import Prices
from pipeline.llm.requests import FAILED, Answer, Request

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ANSWER_FIELDS = tuple(field.name for field in fields(Answer))


def line_of(request: Request, answer: Answer, prices: Prices) -> str:
    """A ledger line: the columns of `llm_requests`, the parameters, and the probabilities."""
    answered = {field: getattr(answer, field) for field in _ANSWER_FIELDS}
    record = {
        "request_id": answered.pop("request_id"),
        "purpose": request.purpose,
        "sae": request.sae,
        "feature": request.feature,
        "model": request.model,
        "resolved_model": answered.pop("resolved_model"),
        "messages": [message._asdict() for message in request.messages],
        "parameters": {
            "max_tokens": request.max_tokens,
            "stop": request.stop,
            "temperature": request.temperature,
            "choices": request.choices,
            "keys": request.keys,
            "blank": request.blank,
            "schema": request.schema,
            "reasoning_tokens": request.reasoning_tokens,
            "reasoning_effort": request.reasoning_effort,
        },
        "draw": request.draw,
        "repeats": request.repeats,
        "response": answered.pop("text"),
        **answered,
        "cost_usd": prices.usd(
            request.model,
            answer.prompt_tokens,
            answer.completion_tokens,
            answer.cached_tokens,
            in_batch=answer.batch_id is not None,
        ),
    }
    return _compact(record)


def merge(answers: dict[str, Answer], lines: Iterable[bytes]) -> None:
    """Add the answers in some lines, by request_id; torn lines and lines that are not records are skipped.

    Of two for the same request the later one is kept, but never a failure instead of an answer that was paid for.
    """
    for line in lines:
        try:
            record = json.loads(line)
            values = {**record, "text": record["response"]}
            answer = Answer(**{name: values[name] for name in _ANSWER_FIELDS if name in values})
        except (ValueError, TypeError, KeyError):
            continue
        known = answers.get(answer.request_id)
        if known is None or _rank(answer) >= _rank(known):
            answers[answer.request_id] = answer


def _rank(answer: Answer) -> tuple[bool, str]:
    return answer.status not in FAILED, answer.requested_at
