"""Asking through the ledger: requests that were answered before are not sent again."""

from collections.abc import Callable, Iterable

from pipeline.llm.ledger.answers import Ledger
from pipeline.llm.ledger.budget import Budget
from pipeline.llm.ledger.prices import Prices
from pipeline.llm.requests import Answer, Client, Request, now


def ask(
    ledger: Ledger,
    client: Client,
    requests: Iterable[Request],
    *,
    budget: Budget | None = None,
    prices: Prices | None = None,
    renews: bool = False,
    on_answer: Callable[[Answer], None] | None = None,
) -> dict[str, Answer]:
    """Answers by request_id, in the order of the requests, from the ledger or else from the client.

    Equal requests are sent once. Each answer is in the ledger before it is returned, so that however this call
    ends, a second one asks only for what is missing.

    Args:
        ledger: The answers so far, and where new ones are recorded.
        client: Answers what the ledger does not hold.
        requests: What to ask.
        budget: Only requests that fit into it are sent, repeatedly, as answers turn out cheaper than reserved. The
            rest get the status `budget` and are not recorded.
        prices: The prices of the client's answers; by default the ledger's.
        renews: Whether to ask again what an earlier server could not be asked.
        on_answer: Called once for each answer, replayed or new, in this thread.
    """
    wanted = {request.request_id: request for request in requests}
    known: dict[str, Answer] = {}

    def use(answer: Answer) -> None:
        known[answer.request_id] = answer
        if on_answer is not None:
            on_answer(answer)

    for request in wanted.values():
        answer = ledger.replay(request, renews=renews)
        if answer is not None:
            use(answer)
    waiting = [request for request_id, request in wanted.items() if request_id not in known]
    while waiting and (fitting := budget.reserve(waiting) if budget else waiting):
        for answers in client.answer(fitting):
            ledger.record_all([(wanted[answer.request_id], answer) for answer in answers], prices)
            if budget:
                budget.settle(answers)
            for answer in answers:
                use(answer)
        sent = {request.request_id for request in fitting}
        if n_missing := len(sent - known.keys()):
            raise RuntimeError(
                f"{type(client).__name__} stopped before answering {n_missing:,} of {len(sent):,} requests; the "
                "answers received are kept: run again to ask for the rest"
            )
        waiting = [request for request in waiting if request.request_id not in sent]
    for request in waiting:
        use(Answer(request.request_id, "budget", requested_at=now(), error="not sent: the budget is spent"))
    return {request_id: known[request_id] for request_id in wanted}
