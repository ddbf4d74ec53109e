"""Several forms of a scorer's prompts: the pilot tells which, for every batch, and a failure tells nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tiny import rows_of

from pipeline.lake import Lake
from pipeline.llm import Answer, Request
from pipeline.llm.oracle.client import OracleClient
from pipeline.pilot.write import write_scorer_rhos
from pipeline.scorers.write import write_predictions

pytestmark = pytest.mark.whole

SAE = "hand-set"
ANSWERED = OracleClient._answered


def without_probabilities(client: OracleClient, request: Request) -> Answer:
    """The oracle's answer, as of a server that gives no log-probabilities, also none of a prompt."""
    if request.blank:
        return Answer(request.request_id, "refused", error="not sent")
    return replace(ANSWERED(client, request), probabilities=None)


def with_one_probability(client: OracleClient, request: Request) -> Answer:
    """The oracle's answer, with the probability of its first value alone."""
    return replace(ANSWERED(client, request), probabilities={"1": 0.5} if request.keys else None)


@pytest.mark.parametrize("answered", [without_probabilities, with_one_probability])
def test_too_few_probabilities_are_no_reason_to_put_many_questions_at_once(
    copied_lake: Any, monkeypatch: pytest.MonkeyPatch, score: Callable[[Lake], None], answered: Any
) -> None:
    monkeypatch.setattr(OracleClient, "_answered", answered)
    lake = copied_lake()(scoring={"scorers": ["detection"], "pilot_features": 1})
    score(lake)
    assert [row["form"] for row in rows_of(lake, "from scorer_rhos")] == ["1"]


def of_many(n: int, status: str, text: str | None = None) -> Callable[[OracleClient, Request], Answer]:
    """The oracle's answers, but for the first prompts of many questions, n in all, that end in another way."""
    without: list[str] = []

    def answered(client: OracleClient, request: Request) -> Answer:
        if request.keys and request.request_id not in without and len(without) < n:
            without.append(request.request_id)
        if request.request_id in without:
            return Answer(request.request_id, status, text)  # type: ignore[arg-type]
        return ANSWERED(client, request)

    return answered


@pytest.mark.parametrize(
    ("answered", "form"),
    [
        (of_many(1, "refused"), "40"),
        (of_many(1, "truncated"), "40"),
        (of_many(1, "ok", "I cannot help with that."), "40"),
        (of_many(99, "ok", "I cannot help with that."), "1"),
    ],
)
def test_an_answer_that_cannot_be_read_does_not_tell_the_form_of_all_prompts(
    copied_lake: Any, monkeypatch: pytest.MonkeyPatch, answered: Any, form: str
) -> None:
    monkeypatch.setattr(OracleClient, "_answered", answered)
    scoring = {"scorers": ["detection"], "pilot_features": 3, "max_draws": 1}
    lake = copied_lake()(scoring=scoring)
    write_scorer_rhos(lake, SAE)
    assert [row["form"] for row in rows_of(lake, "from scorer_rhos")] == [form]


def test_where_many_questions_are_too_long_half_as_many_are_put(
    copied_lake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def answered(client: OracleClient, request: Request) -> Answer:
        n = len(request.keys)
        sent.append(n)
        return Answer(request.request_id, "too_long") if n > 12 else ANSWERED(client, request)

    monkeypatch.setattr(OracleClient, "_answered", answered)
    lake = copied_lake()(scoring={"scorers": ["detection"], "pilot_features": 3})
    write_scorer_rhos(lake, SAE)
    assert [row["form"] for row in rows_of(lake, "from scorer_rhos")] == ["10"]
    assert len([n for n in sent if n > 12]) == 2, "of 40 and of 20"


@pytest.mark.parametrize("is_first_without", [True, False])
def test_every_batch_puts_its_questions_in_the_form_that_the_pilot_found(
    copied_lake: Any, monkeypatch: pytest.MonkeyPatch, score: Callable[[Lake], None], is_first_without: bool
) -> None:
    from pipeline.pilot import write

    now, simulated = [is_first_without], set()
    piloted = write.write_scorer_rhos

    def answered(client: OracleClient, request: Request) -> Answer:
        if request.purpose == "simulation" and now[0] != is_first_without:
            simulated.add("all_at_once" if request.blank else "structured")
        return (without_probabilities if now[0] else ANSWERED)(client, request)

    def write_scorer_rhos(lake: Lake, sae: str) -> Any:
        published = piloted(lake, sae)
        now[0] = not is_first_without  # the router sends what follows to another server
        return published

    monkeypatch.setattr(OracleClient, "_answered", answered)
    monkeypatch.setattr(write, "write_scorer_rhos", write_scorer_rhos)
    scoring = {"scorers": ["detection", "fuzzing", "simulation"], "pilot_features": 1, "threshold": "controls"}
    lake = copied_lake()(explaining={"controls": 0}, scoring=scoring)
    score(lake)
    forms = {row["scorer"]: row["form"] for row in rows_of(lake, "from scorer_rhos")}
    size, method = ("1", "structured") if is_first_without else ("40", "all_at_once")
    assert forms == {"detection": size, "fuzzing": size, "simulation": method}
    assert simulated == {method}
    asked = rows_of(
        lake,
        """select scorer, feature, request_id, count(*) as n
        from predictions where request_id is not null and scorer <> 'simulation' group by all""",
    )
    sizes = {row["n"] for row in asked}
    assert len({row["feature"] for row in asked}) > 1
    assert sizes == {1} if is_first_without else min(sizes) > 1


def test_a_first_request_that_fails_leaves_the_others_unsent_and_the_next_run_asks_in_one_form(
    copied_lake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.explainers.write import write_explanations
    from pipeline.make_table import make_table

    lake = copied_lake()(explaining={"controls": 0}, scoring={"scorers": ["detection"], "pilot_features": 0})
    for table in ("examples", "fuzzing_pairs"):
        make_table(lake, table, sae=SAE, batch=0)
    write_explanations(lake, SAE, 0)
    failed: list[Request] = []

    def answered(client: OracleClient, request: Request) -> Answer:
        if not failed:
            failed.append(request)
            return Answer(request.request_id, "http_error", error="504", attempts=6)
        return without_probabilities(client, request)

    monkeypatch.setattr(OracleClient, "_answered", answered)
    first = write_predictions(lake, SAE, 0)
    assert first.figures["requests_sent"] == 1
    [row] = rows_of(lake, "select status, count(prediction) as said, count(*) as n from predictions group by all")
    assert (row["status"], row["said"]) == ("http_error", 0) and row["n"] > 20
    write_predictions(lake, SAE, 0)
    asked = rows_of(lake, "from llm_requests where purpose = 'detection' and status = 'ok'")
    n_questions = rows_of(lake, "select count(*) as n from predictions")[0]["n"]
    assert n_questions > 20 and len(asked) == n_questions + 1, "the first prompt of many, and each question once"
