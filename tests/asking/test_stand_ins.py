"""What would be asked is counted by the code that asks, from the ledger as it is; nothing is locked or sent."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from tiny import open_lake

from pipeline.asking.batches import BatchAsker, ToAsk
from pipeline.asking.roles import ModelRole
from pipeline.asking.stand_ins import StandInAsker
from pipeline.config import Config
from pipeline.lake import Lake
from pipeline.llm import Answer, Message, Request
from pipeline.llm.requests import Status

SAE = "hand-set"


class Replies:
    """A client that answers with given texts, by prompt; None is a refusal without an attempt."""

    def __init__(self, texts: dict[str, str | None]) -> None:
        self.texts = texts

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        yield [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Answer:
        text = self.texts.pop(request.messages[0].content, "yes")
        status: Status = "refused" if text is None else "ok"
        return Answer(request.request_id, status, text, attempts=int(text is not None))


@pytest.fixture
def lake(make_experiment: Callable[..., Config]) -> Lake:
    scoring = {"provider": "openai", "model": "m", "scorers": ["detection"], "max_draws": 3}
    return open_lake(make_experiment(scoring=scoring))


def asker_of(kind: type[BatchAsker], lake: Lake) -> Any:
    return kind(lake, "predictions", ("scorer",), SAE, 0)


def to_ask(*prompts: str, is_certain: bool = True, renews: bool = False) -> list[ToAsk]:
    """A question each, whose answer can be used if it is yes; so can the stand-in."""
    return [
        ToAsk(
            Request("detection", SAE, 0, "m", (Message("user", prompt),), 5),
            lambda answer: answer.text == "yes",
            "yes",
            is_certain,
            renews,
        )
        for prompt in prompts
    ]


def counts(asker: StandInAsker) -> list[tuple[str, int, bool, bool]]:
    """Prompt, draw, whether it is known, and whether it is certain, of each request in order."""
    return [
        (each.request.messages[0].content, each.request.draw, each.is_known, each.is_certain)
        for each in asker.counted.values()
    ]


def test_it_counts_what_a_run_would_send_while_that_run_holds_the_ledger(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = Replies({"odd": "perhaps"})
    monkeypatch.setattr(ModelRole, "open_client", lambda *_: replies)
    with asker_of(BatchAsker, lake) as run:
        run.ask("scorer", to_ask("odd", "plain"))
        with asker_of(StandInAsker, lake) as counting:
            files = sorted(lake.root.rglob("*"))
            counting.ask("scorer", to_ask("odd", "plain", "new", "new", is_certain=False))
            answers = counting.ask("scorer", to_ask("new", "other"))
            assert sorted(lake.root.rglob("*")) == files
        sent = run.figures["requests_sent"]
        run.ask("scorer", to_ask("odd", "plain", "new", "other"))
        n_new = run.figures["requests_sent"] - sent
    assert {answer.status for answer in answers.values()} == {"ok"}
    assert counts(counting) == [
        ("odd", 0, True, False),
        ("plain", 0, True, False),
        ("new", 0, False, True),
        ("odd", 1, True, False),
        ("other", 0, False, True),
    ]
    assert n_new == sum(not each.is_known for each in counting.counted.values()) == 2
    assert counting.rounds == {"detection": 2}


def test_after_a_known_answer_that_is_of_no_use_the_next_draw_is_counted_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelRole, "open_client", lambda *_: Replies({"odd": "perhaps"}))
    [first] = to_ask("odd")
    with asker_of(BatchAsker, lake) as run:
        run.ask("scorer", [first._replace(is_usable=lambda _: True)])
    with asker_of(StandInAsker, lake) as counting:
        counting.ask("scorer", [first])
        counting.ask("scorer", [first])
    assert counts(counting) == [("odd", 0, True, True), ("odd", 1, False, True)]
    assert counting.counted[first.request.request_id].answer == "perhaps"
    assert counting.rounds == {"detection": 1}


def test_what_could_not_be_asked_is_counted_anew_with_all_that_goes_with_a_request_that_renews(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelRole, "open_client", lambda *_: Replies({"one": None, "two": None}))
    with asker_of(BatchAsker, lake) as run:
        run.ask("scorer", to_ask("one", "two"))
    with asker_of(StandInAsker, lake) as counting:
        counting.ask("scorer", to_ask("one", "two"))
        assert [is_known for _, _, is_known, _ in counts(counting)] == [True, True]
        both = to_ask("one") + to_ask("two", renews=True)
        counting.ask("scorer", both)
        assert [is_known for _, _, is_known, _ in counts(counting)] == [False, False]
    with asker_of(BatchAsker, lake) as run:
        run.ask("scorer", both)
        assert run.figures["requests_sent"] == 2


def test_nothing_is_made_in_a_lake_without_a_ledger(lake: Lake) -> None:
    with asker_of(StandInAsker, lake) as counting:
        counting.ask("scorer", to_ask("new"))
    assert len(counting.counted) == 1 and not list((lake.root / "ledger").rglob("*.jsonl"))
