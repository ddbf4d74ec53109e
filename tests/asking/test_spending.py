"""What is paid: each role by its own price, and one budget over all of them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tiny import open_lake, rows_of

from pipeline.asking.batches import BatchAsker, ToAsk
from pipeline.asking.roles import ModelRole, role_of
from pipeline.asking.spending import budget_sentence, check_prices, open_budget, prices_of_paid, spent_budget
from pipeline.config import Config
from pipeline.llm import Answer, Ledger, Message, Request
from pipeline.llm.ledger.spent import most_usd

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
