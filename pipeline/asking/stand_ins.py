"""Counts requests without sending any: the ledger answers what it holds, stand-ins answer the rest."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from pipeline.asking.batches import BatchAsker, ToAsk
from pipeline.asking.roles import Role, RoleName
from pipeline.llm import Answer, Client, Request
from pipeline.llm.ledger.answers import ReadLedger


class Counted(NamedTuple):
    """A request that a run would need.

    Attributes:
        request: The request.
        role: The role that is asked.
        is_known: Whether the ledger holds its answer.
        is_certain: Whether it is asked regardless of earlier answers.
        answer: The text of the ledger's answer, or of a stand-in.
        is_plain: Whether it explains a feature of route `llm` or scores such an explanation, rather than a control
            or a rule.
    """

    request: Request
    role: RoleName
    is_known: bool
    is_certain: bool
    answer: str
    is_plain: bool = False

    @property
    def first_id(self) -> str:
        """The id of the request's first draw."""
        return self.request.repeats or self.request.request_id


class StandInAsker(BatchAsker):
    """Asks as a run does, but is its own client, has no budget, and neither locks nor writes a ledger.

    Attributes:
        counted: Every request asked, by request_id, in order.
        rounds: How often new requests would be sent together, by purpose.
    """

    ledger_type = ReadLedger
    counted: dict[str, Counted]
    rounds: Counter[str]
    _to_ask: Mapping[str, ToAsk]
    _answered: set[str]

    def __enter__(self) -> "StandInAsker":
        """Read the ledger."""
        self.counted, self.rounds, self._answered = {}, Counter(), set()
        return super().__enter__()

    def ask(self, name: RoleName, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
        """See `BatchAsker`."""
        self._to_ask = {each.request.request_id: each for each in to_ask}
        return super().ask(name, to_ask)

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[Answer]]:
        """A stand-in for each request, as a `Client`."""
        self.rounds.update({request.purpose for request in requests})
        self._answered.update(request.request_id for request in requests)
        yield [_stand_in(request, self._first(request).stand_in) for request in requests]

    def _first(self, request: Request) -> ToAsk:
        """What is known about a request, from its first draw."""
        return self._to_ask[request.repeats or request.request_id]

    def _ask_draw(self, name: RoleName, renew: bool, requests: Sequence[Request]) -> dict[str, Answer]:
        answers = super()._ask_draw(name, renew, requests)
        for request in requests:
            request_id, is_certain = request.request_id, self._first(request).is_certain
            before = self.counted.get(request_id)
            self.counted[request_id] = Counted(
                before.request if before else request,
                name,
                is_known=request_id not in self._answered,
                is_certain=is_certain or (before is not None and before.is_certain),
                answer=answers[request_id].text or "",
            )
        return answers

    def _open_budget(self, _role: Role) -> AbstractContextManager[None]:
        return nullcontext()

    def _open_client(self, _role: Role) -> Client:
        return self

    def _count(self, answer: Answer) -> None:
        pass  # nothing is sent, so there is no progress to show


def _stand_in(request: Request, text: str) -> Answer:
    """A stand-in; until a server has answered, it is assumed to give every number that is requested."""
    probabilities = dict.fromkeys(request.keys, 0.5) or None
    values = [0.0] * request.n_blanks or None
    return Answer(request.request_id, "ok", text, probabilities, values=values)
