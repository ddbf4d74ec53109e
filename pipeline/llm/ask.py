"""Asking through the ledger: what was answered before is not asked again."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from pipeline.llm.ledger.answers import Ledger
from pipeline.llm.ledger.budget import Budget
from pipeline.llm.ledger.prices import Prices
from pipeline.llm.requests import Answer, Client, Request


def ask(
    ledger: Ledger,
    client: Client,
    requests: Iterable[Request],
    *,
    budget: Budget | None = None,
    prices: Prices | None = None,
    renew: bool = False,
    on_answer: Callable[[Answer], None] | None = None,
) -> dict[str, Answer]:
    """An answer by request_id, in the order of the requests, from the ledger or else from the client.

    Equal requests are asked once. Each answer is in the ledger before anybody sees it, so that whatever
    ends this call, a second one asks only for what is missing. `on_answer` is called once for each answer,
    replayed or new, in this thread.

    With a budget only what fits into it is sent, again and again, as answers turn out cheaper than what was
    reserved for them. What does not fit has status `budget`, and is not in the ledger.

    `prices` are what the client's answers cost; left out, the ledger's.

    With `renew` the client is asked again for what its server could not be asked when the ledger was written.
    """
    wanted = {request.request_id: request for request in requests}
    known: dict[str, Answer] = {}

    def use(answer: Answer) -> None:
        known[answer.request_id] = answer
        if on_answer is not None:
            on_answer(answer)

    for request in wanted.values():
        answer = ledger.replay(request, renew=renew)
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
                f"{type(client).__name__} has ended without an answer to {n_missing:,} of {len(sent):,} requests; "
                "what it answered is kept: run again to ask for the rest"
            )
        waiting = [request for request in waiting if request.request_id not in sent]
    for request in waiting:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        use(Answer(request.request_id, "budget", requested_at=now, error="not sent: the budget is spent"))
    return {request_id: known[request_id] for request_id in wanted}
