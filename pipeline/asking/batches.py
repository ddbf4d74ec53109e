"""Sends a batch's requests to a role, through the batch's ledger."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple, Self

from pipeline.asking.draws import ask_draws
from pipeline.asking.roles import ModelRole, RoleName, role_of
from pipeline.asking.spending import open_budget, prices_of, prices_of_paid
from pipeline.asking.truth import read_truth
from pipeline.lake import LEDGER_FOLDER, Given, Lake
from pipeline.llm import Answer, Client, Ledger, Request, ask
from pipeline.llm.ledger.budget import Budget
from pipeline.progress import progress


class ToAsk(NamedTuple):
    """A request, and what its sender knows about the answer.

    Attributes:
        request: The request.
        is_usable: Whether an answer with status `ok` can be read; if not, the next draw is requested.
        stand_in: A plausible answer, with which the estimate counts requests without sending any.
        is_certain: Whether it is sent regardless of earlier answers; if not, it may be skipped.
        renews: Whether to ask again even if the ledger records that the server could not be asked before.
    """

    request: Request
    is_usable: Callable[[Answer], bool]
    stand_in: str
    is_certain: bool = True
    renews: bool = False

    def of(self, purpose: str, *, is_certain: bool) -> "ToAsk":
        """The same request for another purpose."""
        return self._replace(request=replace(self.request, purpose=purpose), is_certain=is_certain)


Ask = Callable[[Sequence[ToAsk]], Mapping[str, Answer]]
"""Sends requests and returns the answer that counts, by request_id."""

Asks = Mapping[RoleName, Ask]
"""The function that asks each role."""

LedgerName = Literal["explanations", "judging", "thresholds", "predictions", "embeddings"]
"""The purposes for which a batch sends requests; each has its own ledger."""

Ledgers = Mapping[LedgerName, Sequence[RoleName]]
"""The roles that may be asked, by ledger."""


class BatchAsker:
    """Asks some roles about a batch for one table; use it as a context manager.

    The batch's ledger stays locked while it is open. A role's budget and client are opened at the first request
    that the ledger cannot answer, so that otherwise no model is loaded, and no key or price is needed. `given`
    holds tables of the batch that have not been written, for the oracle.
    """

    ledger_type: type[Ledger] = Ledger
    """The kind of ledger that it opens."""

    def __init__(
        self,
        lake: Lake,
        table: LedgerName,
        names: Sequence[RoleName],
        sae: str,
        batch: int,
        given: Given | None = None,
    ) -> None:
        self._config = lake.config
        self._roles = {name: role_of(lake.config, name) for name in names}
        self._read_truth = partial(read_truth, lake, sae, batch, given)
        self._ledger = _ledger(self.ledger_type, lake, table, sae, batch)
        self._prices = {name: prices_of(role) for name, role in self._roles.items()}
        self._what = f"{table} of {sae}, batch {batch}"
        self._clients: dict[RoleName, Client] = {}
        self._budgets: dict[RoleName, Budget | None] = {}
        self._waiting: set[str] = set()
        self._sent: dict[str, Answer] = {}
        self._n_replayed = 0
        self._on_answer: Callable[[Answer], None] | None = self._count

    def __enter__(self) -> Self:
        """Lock the ledger. Raises LakeError if another run is working on the batch."""
        with ExitStack() as stack:
            stack.enter_context(self._ledger)
            self._bar = progress(0, self._what, "requests")
            stack.enter_context(self._bar)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def figures(self) -> dict[str, float | int | str]:
        """The models, the number of requests sent and replayed, and the tokens of those sent."""
        return {
            "model": ", ".join(role.model for role in self._roles.values()),
            "requests_sent": len(self._sent),
            "requests_replayed": self._n_replayed,
            "prompt_tokens": sum(answer.prompt_tokens or 0 for answer in self._sent.values()),
            "cached_tokens": sum(answer.cached_tokens or 0 for answer in self._sent.values()),
            "completion_tokens": sum(answer.completion_tokens or 0 for answer in self._sent.values()),
        }

    @property
    def asks(self) -> Asks:
        """The function that asks each role."""
        return {name: partial(self.ask, name) for name in self._roles}

    def ask(self, name: RoleName, to_ask: Sequence[ToAsk]) -> dict[str, Answer]:
        """A role's answers that count, by request_id; every answer is in the ledger before it is used.

        Refused, truncated and unusable answers are requested again as the next draw, up to the role's `max_draws`.
        Raises ConfigError if the endpoint cannot be used as configured.
        """
        by_id = {each.request.request_id: each for each in to_ask}

        def is_usable(request_id: str, answer: Answer) -> bool:
            return by_id[request_id].is_usable(answer)

        requests = [each.request for each in to_ask]
        ask_draw = partial(self._ask_draw, name, any(each.renews for each in to_ask))
        answers = ask_draws(ask_draw, requests, self._roles[name].max_draws, is_usable)
        self._n_replayed += sum(answer.request_id not in self._waiting for answer in answers.values())
        return answers

    def _ask_draw(self, name: RoleName, renews: bool, requests: Sequence[Request]) -> dict[str, Answer]:
        new = {request.request_id for request in requests if self._ledger.replay(request, renews=renews) is None}
        self._waiting |= new
        self._bar.total = len(self._waiting)
        if new and name not in self._clients:
            self._budgets[name] = self._stack.enter_context(self._open_budget(self._roles[name]))
            self._clients[name] = self._open_client(self._roles[name])
        client = self._clients.get(name) or _NoClient()
        budget, prices = self._budgets.get(name), self._prices[name]
        return ask(
            self._ledger, client, requests, budget=budget, prices=prices, renews=renews, on_answer=self._on_answer
        )

    def _open_budget(self, role: ModelRole) -> AbstractContextManager[Budget | None]:
        return open_budget(self._config, role)

    def _open_client(self, role: ModelRole) -> Client:
        return role.open_client(self._ledger, self._read_truth)

    def _count(self, answer: Answer) -> None:
        is_sent = answer.request_id in self._waiting and answer.status != "budget"
        if is_sent and answer.request_id not in self._sent:
            self._sent[answer.request_id] = answer
            self._bar.update(1)


@contextmanager
def open_askers(
    lake: Lake, ledgers: Ledgers, sae: str, batch: int, given: Given | None = None
) -> Iterator[list[BatchAsker]]:
    """An open asker for each ledger of a batch."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(BatchAsker(lake, ledger, names, sae, batch, given))
            for ledger, names in ledgers.items()
        ]


def asks_of(askers: Iterable[BatchAsker]) -> Asks:
    """The function that asks each role, from the askers of several ledgers."""
    return {name: ask for asker in askers for name, ask in asker.asks.items()}


def for_purpose(ask: Ask, purpose: str, *, is_certain: bool) -> Ask:
    """The same function, with another purpose of its requests."""

    def ask_for_purpose(to_ask: Sequence[ToAsk]) -> Mapping[str, Answer]:
        return ask([each.of(purpose, is_certain=is_certain) for each in to_ask])

    return ask_for_purpose


def _ledger(ledger_type: type[Ledger], lake: Lake, table: str, sae: str, batch: int) -> Ledger:
    """The ledger of a table's requests about a batch, to be used as a context manager."""
    features = lake.config.selection.features_of(batch)
    folder = lake.root / LEDGER_FOLDER
    lake.fetched_lines(folder / table / sae)
    seal = None if lake.objects is None else lake.objects.journals.seal
    return ledger_type(folder, table, sae, features[0], features[-1], prices_of_paid(lake.config), seal)


class _NoClient:
    """Takes the place of a client if there is nothing to ask."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[Answer]]:
        """No answers."""
        return iter(())
