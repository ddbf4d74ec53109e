"""What is paid: each role by its own price, and one budget over all of them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tiny import open_lake, rows_of

from pipeline.asking.batches import BatchAsker, ToAsk
from pipeline.asking.roles import ModelRole, role_of
from pipeline.asking.spending import (
    budget_sentence,
    check_prices,
    open_budget,
    prices_of_paid,
    shortfall_sentence,
    spent_budget,
)
from pipeline.config import Config
from pipeline.llm import Answer, Ledger, Message, Request
from pipeline.llm.ledger.spent import Amount, most_usd

Make = Callable[..., Config]
USED = {"prompt_tokens": 10, "completion_tokens": 2}
REQUEST = Request("explain", "hand-set", 0, "dear", (Message("user", "a question"),), 5)


@pytest.fixture
def budget(tmp_path: Path) -> dict[str, object]:
    """A budget whose price file knows one model, a dollar a token."""
    (tmp_path / "prices.yaml").write_text("dear: {prompt: 1000000, completion: 1000000}")
    return {"prices": str(tmp_path / "prices.yaml"), "max_usd": 1000}


def server(model: str) -> dict[str, str]:
    return {"provider": "openai", "model": model}


def test_what_the_budget_says_is_spent_is_what_each_role_counts(
    make_experiment: Make, budget: dict[str, object]
) -> None:
    config = make_experiment(explaining=server("dear"), budget=budget)  # a model in this process scores
    with Ledger(config.lake_folder / "ledger", "explanations", "hand-set", 0, 9, prices_of_paid(config)) as ledger:
        ledger.record(REQUEST, Answer(REQUEST.request_id, "ok", "cats", attempts=1))  # without a word of usage
    price = prices_of_paid(config).of("dear")
    assert price
    most = most_usd(price, REQUEST.messages, REQUEST.max_tokens)
    for name in ("explainer", "scorer"):
        with open_budget(config, role_of(config, name)) as opened:
            assert opened.spent() == (1, most)
    assert budget_sentence(config) == f"Budget: {most:,.4f} of 1,000 USD are spent (budget.max_usd)."


def test_of_two_models_of_one_name_the_one_in_this_process_costs_nothing(
    make_experiment: Make, budget: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fake:
        def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
            yield [Answer(request.request_id, "ok", "Yes", attempts=1, **USED) for request in requests]

    monkeypatch.setattr(ModelRole, "open_client", lambda *_: Fake())
    scoring = {"provider": "local", "model": "dear", "scorers": ["detection", "detection@paid"]}
    config = make_experiment(scoring={**scoring, "models": {"paid": server("dear")}}, budget=budget)
    lake = open_lake(config)
    with BatchAsker(lake, "predictions", ("scorer", "scorer@paid"), "hand-set", 0) as asker:
        for name, purpose in (("scorer", "detection"), ("scorer@paid", "detection@paid")):
            request = Request(purpose, "hand-set", 0, "dear", (Message("user", purpose),), 5)
            asker.ask(name, [ToAsk(request, lambda answer: True, "Yes")])
    costs = {row["purpose"]: row["cost_usd"] for row in rows_of(lake, "from llm_requests")}
    assert costs == {"detection": 0.0, "detection@paid": 12.0}


def test_what_is_spent_needs_no_price_of_a_model_that_nothing_asks(
    make_experiment: Make, budget: dict[str, object]
) -> None:
    """The scorer has no model of its own: detection asks one of `scoring.models`."""
    scoring = {"provider": "openai", "scorers": ["detection@paid"], "models": {"paid": {"model": "dear"}}}
    config = make_experiment(scoring=scoring, budget=budget)
    check_prices(config)
    assert budget_sentence(config) == "Budget: 0.0000 of 1,000 USD are spent (budget.max_usd)."
    assert spent_budget(config) is None


ORACLE = {"provider": "oracle"}


def record(config: Config, model: str, n_answers: int, **used: int) -> None:
    """Record answers of a model, at the price of its role if it has one."""
    folder = config.lake_folder / "ledger"
    with Ledger(folder, "predictions", "hand-set", 0, 9, prices_of_paid(config)) as ledger:
        for number in range(n_answers):
            request = Request("detection", "hand-set", 0, model, (Message("user", f"question {number}"),), 5)
            ledger.record(request, Answer(request.request_id, "ok", "Yes", attempts=1, **used))


def spent_in(config: Config, name: str) -> int:
    with open_budget(config, role_of(config, name)) as budget:
        return budget.spent().requests


def test_a_rehearsal_takes_nothing_from_the_budget_of_the_real_run(make_experiment: Make) -> None:
    budget = {"max_requests": 5}
    rehearsal = make_experiment(explaining=ORACLE, scoring=ORACLE, budget=budget)
    record(rehearsal, role_of(rehearsal, "scorer").model, 5)
    assert role_of(rehearsal, "scorer").model == "oracle (false positive 0.1, false negative 0.1)"
    assert budget_sentence(rehearsal).startswith("Budget of the rehearsal: 5 of 5 requests are spent")
    real = make_experiment(explaining=server("mini"), scoring=server("oracle"), budget=budget)
    record(real, "mini", 1)
    record(real, "oracle", 2, **USED)  # a server may call its model so
    for _ in range(2):  # the second time from the sums that the first has kept
        assert [spent_in(each, "scorer") for each in (rehearsal, real)] == [5, 3]
    assert budget_sentence(real) == "Budget: 3 of 5 requests are spent (budget.max_requests)."


def test_each_of_a_models_and_an_oracles_answers_has_its_own_limit_in_one_run(make_experiment: Make) -> None:
    config = make_experiment(explaining=server("mini"), scoring=ORACLE, budget={"max_requests": 5})
    record(config, "mini", 4)
    record(config, role_of(config, "scorer").model, 5)
    more = [Request("explain", "hand-set", 0, "mini", (Message("user", f"more {n}"),), 5) for n in range(3)]
    with (
        open_budget(config, role_of(config, "explainer")) as own,
        open_budget(config, role_of(config, "scorer")) as other,
    ):
        assert own.reserve(more) == more[:1], "what a model has left, whatever the oracle was asked"
        assert other.reserve(more) == []
    assert budget_sentence(config) == (
        "Budget: 4 of 5 requests are spent (budget.max_requests). "
        "Budget of the rehearsal: 5 of 5 requests are spent (budget.max_requests)."
    )
    stopped = spent_budget(config)
    assert stopped and stopped.startswith("Budget of the rehearsal: 5 of 5 requests are spent")


def test_what_is_to_be_sent_is_said_not_to_fit_into_what_is_left(
    make_experiment: Make, budget: dict[str, object]
) -> None:
    config = make_experiment(explaining=server("dear"), scoring=ORACLE, budget={**budget, "max_requests": 10})
    record(config, "dear", 4, **USED)
    oracle = role_of(config, "scorer").model
    assert shortfall_sentence(config, {"dear": Amount(6, 900.0), oracle: Amount(10)}) is None
    assert shortfall_sentence(config, {}) is None
    short = shortfall_sentence(config, {"dear": Amount(7, 900.0)})
    assert short and "up to 7 requests (budget.max_requests), more than is left" in short
    short = shortfall_sentence(config, {"dear": Amount(6, 980.0)})
    assert short and "about 980 USD (budget.max_usd), more than is left" in short
    assert shortfall_sentence(config, {oracle: Amount(11)})
