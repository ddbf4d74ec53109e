"""Asking through the ledger: what was answered before is not asked again."""

from collections.abc import Callable, Iterable

from pipeline.llm.ledger import Ledger
from pipeline.llm.recorder import Recorder
from pipeline.llm.requests import Answer, Client, Request


def ask(
    ledger: Ledger,
    client: Client,
    requests: Iterable[Request],
    *,
    on_answer: Callable[[Answer], None] | None = None,
) -> dict[str, Answer]:
    """An answer by request_id, in the order of the requests, from the ledger or else from the client.

    Equal requests are asked once. Each answer is in the ledger before anybody sees it, so that whatever
    ends this call, a second one asks only for what is missing. `on_answer` is called once for each answer,
    replayed or new, in this thread.
    """
    wanted = {request.request_id: request for request in requests}
    known: dict[str, Answer] = {}

    def use(answer: Answer) -> None:
        known[answer.request_id] = answer
        if on_answer is not None:
            on_answer(answer)

    for request in wanted.values():
        answer = ledger.replay(request)
        if answer is not None:
            use(answer)
    missing = [request for request_id, request in wanted.items() if request_id not in known]
    if missing:
        with Recorder(ledger) as recorder:
            for answer in client.answer(missing):
                recorder.put(wanted[answer.request_id], answer)
                for recorded in recorder.recorded():
                    use(recorded)
            for recorded in recorder.finish():
                use(recorded)
    return {request_id: known[request_id] for request_id in wanted}
