"""Counts requests without sending any: the ledger answers what it holds, stand-ins answer the rest."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self

from pipeline.asking.batches import BatchAsker, ToAsk
from pipeline.asking.roles import ModelRole, RoleName
from pipeline.llm import Answer, Client, Request
from pipeline.llm.ledger.answers import ReadLedger
from pipeline.llm.stand_ins import StandInClient


class Counted(NamedTuple):
    """A request that a run would need.

    Attributes:
        request: The request.
        role: The role that is asked.
        is_known: Whether the ledger holds its answer.
        is_certain: Whether it is asked regardless of earlier answers.
        answer: The text of the ledger's answer, or of a stand-in.
        is_plain: Whether it explains a feature of route `llm` or scores its explanation, rather than a control or
            a rule.
        is_control: Whether a scorer that judges explanations asks it about a control.
    """

    request: Request
    role: RoleName
    is_known: bool
    is_certain: bool
    answer: str
    is_plain: bool = False
    is_control: bool = False


class StandInAsker(BatchAsker):
    """Asks as a run does, but of a client that sends nothing, without a budget, and without writing a ledger.

    Attributes:
        counted: Every request asked, by request_id, in order.
    """

    ledger_type = ReadLedger

    def __enter__(self) -> Self:
        """Read the ledger."""
        self.counted: dict[str, Counted] = {}
        self._stand_ins = StandInClient()
        self._on_answer = None  # nothing is sent, so there is no progress to show
        return super().__enter__()

    @property
    def rounds(self) -> Counter[str]:
        """How often new requests would be sent together, by purpose."""
        return self._stand_ins.rounds

    def ask(self, name: RoleName, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
        """See `BatchAsker`."""
        self._stand_ins.texts.update((each.request.request_id, each.stand_in) for each in to_ask)
        self._certain = {each.request.request_id for each in to_ask if each.is_certain}
        return super().ask(name, to_ask)

    def _ask_draw(self, name: RoleName, renews: bool, requests: Sequence[Request]) -> dict[str, Answer]:
        answers = super()._ask_draw(name, renews, requests)
        for request in requests:
            before = self.counted.get(request.request_id)
            self.counted[request.request_id] = Counted(
                before.request if before else request,
                name,
                is_known=request.request_id not in self._stand_ins.answered,
                is_certain=request.first_id in self._certain or (before is not None and before.is_certain),
                answer=answers[request.request_id].text or "",
            )
        return answers

    def _open_budget(self, _role: ModelRole) -> AbstractContextManager[None]:
        return nullcontext()

    def _open_client(self, _role: ModelRole) -> Client:
        return self._stand_ins
