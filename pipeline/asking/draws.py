"""Asks again, as the next draw of the same request, if an answer cannot be used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pipeline.llm.requests import UNANSWERED, Answer, Request

_IsUsable = Callable[[str, Answer], bool]
"""Whether an answer with status `ok` can be read, given the request_id of the request's first draw."""


def ask_draws(
    ask: Callable[[Sequence[Request]], Mapping[str, Answer]],
    requests: Sequence[Request],
    max_draws: int,
    is_usable: _IsUsable,
) -> dict[str, Answer]:
    """The answer that counts, by the request_id of the given request; the answer's own `request_id` is the draw's.

    The first usable draw counts; if none of `max_draws` is usable, the first draw. A failure counts at once, so
    that the next run repeats that draw before it tries others; so does a request that is too long or cannot be
    sent. The choice depends on the answers alone, so a replay chooses the same.
    """
    counting: dict[str, Answer] = {}
    open_draws = {request.request_id: request for request in requests}
    for _ in range(max_draws):
        answers = ask(list(open_draws.values()))
        useless = {}
        for first_id, request in open_draws.items():
            answer = answers[request.request_id]
            is_final = answer.status in UNANSWERED or answer.is_unsent  # another draw would bring no more now
            if is_final or (answer.status == "ok" and is_usable(first_id, answer)):
                counting[first_id] = answer
            else:
                counting.setdefault(first_id, answer)
                useless[first_id] = replace(request, draw=request.draw + 1, repeats=first_id)
        open_draws = useless
        if not open_draws:
            break
    return counting
