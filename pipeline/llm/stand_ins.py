"""A client that sends nothing: it answers with prepared texts, so that requests can be counted."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.llm.requests import Answer, Request


class StandInClient:
    """Answers every request at once; see `Client`.

    Attributes:
        texts: The text of the answer, by the id of a request's first draw.
        answered: The ids of the requests that it has answered.
        rounds: How often it was asked, by purpose.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.answered: set[str] = set()
        self.rounds: Counter[str] = Counter()

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[Answer]]:
        """One answer per request. Until a server has answered, it is assumed to give every number requested."""
        self.rounds.update({request.purpose for request in requests})
        self.answered.update(request.request_id for request in requests)
        yield [
            Answer(
                request.request_id,
                "ok",
                self.texts[request.first_id],
                probabilities=dict.fromkeys(request.keys, 0.5) or None,
                values=[0.0] * request.n_blanks or None,
            )
            for request in requests
        ]
