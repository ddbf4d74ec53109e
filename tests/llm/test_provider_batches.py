"""Asking by a provider's batch API, against a server that ends batches in every way that theirs end."""

import asyncio
import json
import math
from contextlib import contextmanager
from dataclasses import replace

import pytest

from llm import answers_of, client_of
from llm.batch_oracle import BatchOracle, End
from llm.oracle import Oracle, Reply, last_message
from pipeline.config import ChatEndpointConfig
from pipeline.errors import ConfigError
from pipeline.llm import Ledger, Message, Request, ask
from pipeline.llm.ledger.budget import Budget, Limits
from pipeline.llm.ledger.prices import Price, Prices
from pipeline.llm.ledger.spent import Spent
from pipeline.llm.provider_batches import calls, client
from pipeline.llm.provider_batches.client import BatchClient
from pipeline.llm.provider_batches.files import cut_parts, read_line
from pipeline.llm.provider_batches.journal import Journal
from pipeline.llm.server import pacing
from pipeline.llm.server.capabilities import Capabilities

PRICES = Prices({"model": Price(prompt=2.0, cached=1.0, completion=8.0)})
KEY = "sk-secret-0123456789"
POLLED = ChatEndpointConfig(batch_poll_seconds=0.005)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(pacing, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(calls, "LISTED_AFTER_SECONDS", 0.0)


def question(number=0, **changes):
    return replace(Request("detection", "sae", 3, "model", (Message("user", f"question {number}"),), 5), **changes)


QUESTIONS = [question(number) for number in range(6)]
IDS = [each.request_id for each in QUESTIONS]


@contextmanager
def opened(folder, oracle, unfinished="batch", **settings):
    """A ledger, and a client whose journal lies beside it."""
    with Ledger(folder / "ledger", "predictions", "sae", 0, 9, PRICES) as ledger:
        server = client_of(oracle.base_url, None, ledger=ledger, **settings)
        config = POLLED.model_copy(update={"batch_unfinished": unfinished})
        yield ledger, BatchClient(server, Journal(ledger), config)


def asked(folder, oracle, requests=QUESTIONS, **settings):
    """The answers to requests, asked in a run of its own."""
    with opened(folder, oracle, **settings) as (ledger, batches):
        return ask(ledger, batches, requests)


def records(folder):
    """The ledger's lines but for probes, by request."""
    [path] = (folder / "ledger").rglob("*.jsonl")
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [line for line in lines if line["purpose"] != "probe"]


def echo(body):
    return f"{last_message(body)}\u2028 answered"


def assert_echoed(answers, requests=QUESTIONS):
    assert {each.request_id: answers[each.request_id].text for each in requests} == {
        each.request_id: f"{each.messages[-1].content}\u2028 answered" for each in requests
    }


# What goes, and what comes back ------------------------------------------------------------------------


def test_requests_go_in_one_file_and_every_answer_is_booked_once_at_half_the_price(tmp_path):
    with BatchOracle(echo) as oracle:
        answers = asked(tmp_path, oracle)
        assert oracle.n_requests == 0  # none was asked for by itself
        [content] = oracle.files.values()
    assert_echoed(answers)
    first = json.loads(content.splitlines()[0])
    assert (first["custom_id"], first["body"]["messages"][0]["content"]) == (IDS[0], "question 0")
    booked = records(tmp_path)
    assert [record["request_id"] for record in booked] == IDS
    for record in booked:
        assert (record["batch_id"], record["attempts"], record["status"]) == ("batch_0", 1, "ok")
        assert record["cost_usd"] == pytest.approx(0.5 * (2 * 2.0 + 3 * 8.0) / 1e6)  # none of it as cached


def test_what_is_booked_is_not_asked_again(tmp_path):
    with BatchOracle(echo) as oracle:
        asked(tmp_path, oracle)
        assert_echoed(asked(tmp_path, oracle))
        assert oracle.n_creates == 1


def test_files_keep_to_the_providers_limits():
    some = [(each, Capabilities()) for each in QUESTIONS]
    [whole] = cut_parts(some, 50_000, 10**6)
    size = max(map(len, whole.content.splitlines(keepends=True)))
    by_number = list(cut_parts(some, 4, 10**6))
    by_bytes = list(cut_parts(some, 50_000, 2 * size))
    assert [len(part.requests) for part in by_number] == [4, 2]
    assert [len(part.requests) for part in by_bytes] == [2, 2, 2]
    assert all(len(part.content) <= 2 * size for part in by_bytes)
    assert b"".join(part.content for part in by_bytes) == whole.content


def test_many_files_are_many_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "MOST_REQUESTS", 4)
    with BatchOracle(echo) as oracle:
        assert_echoed(asked(tmp_path, oracle))
        assert [len(batch.lines) for batch in oracle.batches.values()] == [4, 2]


def test_lines_that_come_twice_backwards_strange_or_broken_off_are_read_for_what_they_are(tmp_path):
    end = End(twice=True, backwards=False, strange=True, breaks_off=2)
    with BatchOracle(echo, ends=[end]) as oracle:
        assert_echoed(asked(tmp_path, oracle))
    assert sorted(record["request_id"] for record in records(tmp_path)) == sorted(IDS)
    with BatchOracle(echo, ends=[End(backwards=True)]) as oracle:
        assert_echoed(asked(tmp_path / "backwards", oracle))


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"custom_id": 1}', b"null"])
def test_what_is_no_line_is_none(line):
    assert read_line(line) is None


# How batches end ---------------------------------------------------------------------------------------


def test_of_an_expired_batch_the_answers_are_kept_and_the_rest_goes_in_a_new_one(tmp_path):
    ends = [End("expired", lambda number: "answer" if number < 2 else "expired"), End()]
    with BatchOracle(echo, ends=ends) as oracle:
        assert_echoed(asked(tmp_path, oracle))
        assert oracle.asked() == [*IDS, *IDS[2:]]
    assert [record["attempts"] for record in records(tmp_path)] == [1, 1, 2, 2, 2, 2]


def test_the_rest_is_asked_for_by_itself_where_the_config_says_so(tmp_path):
    ends = [End("expired", lambda number: "answer" if number < 2 else "expired")]
    with BatchOracle(echo, ends=ends) as oracle:
        assert_echoed(asked(tmp_path, oracle, unfinished="ordinary"))
        assert (oracle.n_creates, oracle.n_requests) == (1, 4)
    assert [record["batch_id"] for record in records(tmp_path)] == [*["batch_0"] * 2, *[None] * 4]


def test_what_may_pass_is_asked_again_and_what_was_refused_is_a_failure(tmp_path):
    outcomes = {1: "overloaded", 2: "missing", 3: "refused"}
    ends = [End(line=lambda number: outcomes.get(number, "answer")), End()]
    with BatchOracle(echo, ends=ends) as oracle:
        answers = asked(tmp_path, oracle)
        assert oracle.asked() == [*IDS, IDS[1], IDS[2]]
    failed = answers[IDS[3]]
    assert (failed.status, failed.batch_id) == ("http_error", "batch_0")
    assert "Invalid value for 'messages'" in failed.error
    assert_echoed(answers, [each for each in QUESTIONS if each.request_id != IDS[3]])


def test_a_failure_for_good_is_asked_again_by_the_next_run(tmp_path):
    ends = [End(line=lambda number: "refused" if number == 3 else "answer"), End()]
    with BatchOracle(echo, ends=ends) as oracle:
        asked(tmp_path, oracle)
        assert_echoed(asked(tmp_path, oracle))
        assert oracle.asked() == [*IDS, IDS[3]]


def test_after_its_attempts_a_request_is_a_failure(tmp_path):
    with BatchOracle(echo, ends=[End(line=lambda number: "overloaded")]) as oracle:
        answers = asked(tmp_path, oracle, QUESTIONS[:1], max_attempts=3)
        assert oracle.n_creates == 3
    assert (answers[IDS[0]].status, answers[IDS[0]].attempts) == ("http_error", 3)


def test_a_batch_that_somebody_cancelled_stops_the_run_and_the_next_asks_for_the_rest(tmp_path):
    ends = [End("cancelled", lambda number: "answer" if number < 2 else "cancelled"), End()]
    with BatchOracle(echo, ends=ends) as oracle:
        with pytest.raises(ConfigError, match=r"batch_0 at .* was cancelled with 4 requests unanswered"):
            asked(tmp_path, oracle)
        assert len(records(tmp_path)) == 2
        assert_echoed(asked(tmp_path, oracle))
        assert oracle.asked() == [*IDS, *IDS[2:]]


def test_a_batch_that_fails_its_validation_stops_the_run_with_the_providers_words(tmp_path):
    error = {"code": "model_not_found", "message": "The provided model 'model' is not supported", "line": 1}
    with BatchOracle(echo, ends=[End("failed", errors=(error,)), End()]) as oracle:
        with pytest.raises(ConfigError, match=r"batch_0 \(model_not_found: .* \(line 1\)\); none of it was sent"):
            asked(tmp_path, oracle)
        assert_echoed(asked(tmp_path, oracle))  # the next run, with a model that it has


def test_batches_go_one_after_another_and_smaller_where_the_provider_has_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "MOST_REQUESTS", 4)
    with BatchOracle(echo, most_at_once=3) as oracle:
        assert_echoed(asked(tmp_path, oracle))
        assert sorted(oracle.asked()) == sorted(IDS)  # each was taken on once


def test_after_a_lack_of_room_batches_grow_again(tmp_path):
    def brain(body):
        oracle.most_at_once = None  # what took the room has ended
        return echo(body)

    some = [question(number) for number in range(8)]
    with BatchOracle(brain, probed=lambda body: "Yes", most_at_once=2) as oracle:
        assert_echoed(asked(tmp_path, oracle, some), some)
        taken = [len(batch.lines) for batch in oracle.batches.values() if batch.end.status != "failed"]
    assert taken == [2, 4, 2]


@pytest.mark.parametrize("unfinished", ["batch", "ordinary"])
def test_a_batch_that_the_provider_has_lost_is_asked_for_again(tmp_path, unfinished):
    with BatchOracle(echo, ends=[End(n_unknown=math.inf), End()]) as oracle:
        assert_echoed(asked(tmp_path, oracle, unfinished=unfinished))
        assert (oracle.n_creates, oracle.n_requests) == ((2, 0) if unfinished == "batch" else (1, 6))
    assert [record["attempts"] for record in records(tmp_path)] == [2] * 6


def test_a_batch_that_is_lost_each_time_is_a_failure_after_its_attempts(tmp_path):
    with BatchOracle(echo, ends=[End(n_unknown=math.inf)]) as oracle:
        answers = asked(tmp_path, oracle, max_attempts=3)
        assert oracle.n_creates == 3
    assert {(each.status, each.error) for each in answers.values()} == {("http_error", "batch batch_2 is gone")}


def test_a_batch_that_the_provider_does_not_know_yet_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(calls, "LISTED_AFTER_SECONDS", 60.0)
    with BatchOracle(echo, ends=[End(n_unknown=2)]) as oracle:
        assert_echoed(asked(tmp_path, oracle))
        assert oracle.n_creates == 1


def test_a_batch_all_of_which_is_refused_stops_the_run(tmp_path):
    some = [question(number) for number in range(20)]
    words = "refused all 20 requests of batch batch_0 .*Invalid value"
    with BatchOracle(ends=[End(line=lambda _: "refused")]) as oracle, pytest.raises(ConfigError, match=words):
        asked(tmp_path, oracle, some)


def test_a_model_whose_thoughts_a_stop_cut_is_asked_again_without_stops(tmp_path):
    def thinks(body):
        return Reply("<think>hm") if "stop" in body else Reply("<think>hm</think>Yes")

    requests = [question(number, stop=("\n",), max_tokens=50) for number in range(3)]
    with BatchOracle(thinks, probed=lambda body: "Yes") as oracle:
        answers = asked(tmp_path, oracle, requests)
        assert oracle.n_creates == 2
    assert {answer.text for answer in answers.values()} == {"<think>hm</think>Yes"}


def cut_at_first(body):
    """Thoughts that a stop has cut; a token of an answer either way, to two of a prompt."""
    return Reply("<think>hm") if "stop" in body else Reply("<think>hm</think>Yes")


THOUGHTFUL = [question(number, stop=("\n",), max_tokens=50) for number in range(3)]


def booked(folder):
    """What the ledger's lines say of attempts and tokens."""
    names = ("attempts", "prompt_tokens", "completion_tokens", "batch_id")
    return [tuple(record[name] for name in names) for record in records(folder)]


@pytest.mark.parametrize("unfinished, batch_id", [("batch", "batch_1"), ("ordinary", None)])
def test_what_attempts_in_a_batch_used_is_booked_with_the_answer_that_comes_elsewhere(
    tmp_path, unfinished, batch_id
):
    with BatchOracle(cut_at_first, probed=lambda body: "Yes") as oracle:
        asked(tmp_path, oracle, THOUGHTFUL, unfinished=unfinished)
    assert booked(tmp_path) == [(2, 2 + 2, 1 + 1, batch_id)] * 3
    price = PRICES.of("model").in_batch if batch_id else PRICES.of("model")
    for record in records(tmp_path):  # the dearer price, where one part of it came by itself
        assert record["cost_usd"] == pytest.approx(price.usd(4, 2, record["cached_tokens"] if not batch_id else 0))


def test_what_attempts_in_the_batch_of_a_killed_run_used_is_booked(tmp_path, monkeypatch):
    ends = [End(n_looks=0)]  # it has ended when the next run looks
    with BatchOracle(cut_at_first, ends=ends, probed=lambda body: "Yes") as oracle:
        with monkeypatch.context() as patch, opened(tmp_path, oracle) as (ledger, batches):
            patch.setattr(calls.Calls, "look_up", kill)
            with pytest.raises(KilledError):
                ask(ledger, batches, THOUGHTFUL)
        asked(tmp_path, oracle, THOUGHTFUL)
    assert booked(tmp_path) == [(2, 2 + 2, 1 + 1, "batch_1")] * 3


def test_what_a_recorded_failure_used_is_not_booked_again(tmp_path):
    said = [Reply("a b c", fault="finish_error"), Reply("Yes")]
    with BatchOracle(lambda body: said[oracle.n_creates - 1], probed=lambda body: "Yes") as oracle:
        asked(tmp_path, oracle, QUESTIONS[:1], max_attempts=1)
        asked(tmp_path, oracle, QUESTIONS[:1], max_attempts=1)
    assert booked(tmp_path) == [(1, 2, 3, "batch_0"), (2, 2, 1, "batch_1")]


# Creating one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["rate_limit", "drop_before", "drop_after", "error_after"])
def test_a_creation_without_a_clear_answer_makes_one_batch(tmp_path, fault):
    with BatchOracle(echo, creates=[fault]) as oracle:
        assert_echoed(asked(tmp_path, oracle))
        assert oracle.asked() == IDS


def test_a_server_without_a_batch_api_is_a_sentence(tmp_path):
    words = "did not take a batch's file .*HTTP 404.* batch API"
    with Oracle(echo) as oracle, pytest.raises(ConfigError, match=words):
        asked(tmp_path, oracle)


def test_the_key_goes_in_each_call_and_into_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("BATCH_KEY", KEY)
    error = {"code": "invalid", "message": f"key {KEY} is no good", "line": None}
    ends = [End("failed", errors=(error,))]
    with BatchOracle(echo, ends=ends) as oracle, Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
        server = client_of(oracle.base_url, "BATCH_KEY", ledger=ledger)
        batches = BatchClient(server, Journal(ledger), POLLED)
        with pytest.raises(ConfigError) as raised:
            answers_of(batches, QUESTIONS)
    assert KEY not in str(raised.value) and "***" in str(raised.value)
    assert {head["authorization"] for head in oracle.heads} == {f"Bearer {KEY}"}
    assert not any(KEY in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


# After a kill ------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """In place of SIGKILL; benchmarks/kills.py sends that."""


def kill(*_, **__):
    raise KilledError


@pytest.mark.parametrize("moment", ["before the creation", "after it", "before the answers are read", "amid them"])
def test_a_killed_run_sends_nothing_twice(tmp_path, monkeypatch, moment):
    with BatchOracle(echo) as oracle:
        with monkeypatch.context() as patch:
            if moment == "before the creation":
                patch.setattr(calls.Calls, "create", kill)
            if moment == "after it":
                patch.setattr(Journal, "end", kill)
            if moment == "before the answers are read":
                patch.setattr(calls.Calls, "look_up", kill)
            if moment == "amid them":
                patch.setattr(client, "_RECORDED_AT_ONCE", 2)
            with opened(tmp_path, oracle) as (ledger, batches):
                if moment == "amid them":
                    answers = batches.answer(QUESTIONS)
                    ledger.record_all([(QUESTIONS[IDS.index(each.request_id)], each) for each in next(answers)])
                    answers.close()
                else:
                    with pytest.raises(KilledError):
                        ask(ledger, batches, QUESTIONS)
        assert_echoed(asked(tmp_path, oracle))
        assert oracle.asked() == IDS
    assert sorted(record["request_id"] for record in records(tmp_path)) == sorted(IDS)


def test_a_batch_sent_by_a_run_with_other_batches_of_features_is_waited_for(tmp_path, monkeypatch):
    with BatchOracle(echo) as oracle:
        with monkeypatch.context() as patch, opened(tmp_path, oracle) as (ledger, batches):
            patch.setattr(calls.Calls, "look_up", kill)
            with pytest.raises(KilledError):
                ask(ledger, batches, QUESTIONS)
        with Ledger(tmp_path / "ledger", "predictions", "sae", 0, 99, PRICES) as ledger:
            server = client_of(oracle.base_url, None)
            wider = BatchClient(server, Journal(ledger), POLLED)
            assert_echoed(ask(ledger, wider, QUESTIONS))
        assert oracle.asked() == IDS


def noted(folder, *sent):
    """Writes the beginnings of batches, each a key and a time, as a journal has them."""
    path = folder / "ledger" / "predictions" / "sae" / "0-9.batches"
    path.parent.mkdir(parents=True)
    lines = [json.dumps({"key": key, "sent_at": at, "request_ids": IDS}) for key, at in sent]
    path.write_text("\n".join(lines) + "\n")


def test_a_clock_that_was_ahead_makes_nobody_wait(tmp_path, monkeypatch):
    noted(tmp_path, ("never created", "2199-01-01T00:00:00.000+00:00"))
    wait = asyncio.sleep

    async def wait_briefly(seconds):
        assert seconds <= 60
        await wait(min(seconds, 0.01))

    monkeypatch.setattr(asyncio, "sleep", wait_briefly)
    with BatchOracle(echo) as oracle:
        assert_echoed(asked(tmp_path, oracle))
        assert oracle.asked() == IDS


def test_of_two_batches_the_later_line_counts_though_the_clock_was_set_back_between_them(tmp_path):
    noted(tmp_path, ("one", "2026-02-01T00:00:00.000+00:00"), ("two", "2026-01-01T00:00:00.000+00:00"))
    journal = Journal(Ledger(tmp_path / "ledger", "predictions", "sae", 0, 9))
    assert [each.key for each in journal.holding(IDS)] == ["two"]


def test_a_line_torn_by_a_kill_is_passed_over(tmp_path):
    ledger = Ledger(tmp_path, "predictions", "sae", 0, 9)
    ledger.path.parent.mkdir(parents=True)
    journal = Journal(ledger)
    sent = journal.end(journal.begin(IDS[:3]), "batch_7")
    later = journal.begin(IDS[2:])
    with journal.path.open("ab") as file:
        file.write(b'{"key": "torn')
    assert journal.holding(IDS[:2]) == [sent]
    overlapping = Journal(Ledger(tmp_path, "predictions", "sae", 5, 20))
    assert {each.batch_id for each in overlapping.holding(IDS)} == {"batch_7", None}
    assert journal.end(later, "batch_8") in journal.holding(IDS[2:])


# The budget --------------------------------------------------------------------------------------------


def test_the_budget_counts_a_batch_at_its_price(tmp_path):
    limits = Limits(usd=1.0)
    one = Budget(Spent(tmp_path / "ledger", PRICES, tmp_path / "one"), limits, PRICES)
    two = Budget(Spent(tmp_path / "ledger", PRICES, tmp_path / "two"), limits, PRICES, in_batch=True)
    assert two._bound(question()).usd == pytest.approx(0.5 * one._bound(question()).usd)
    limits = Limits(usd=3.5 * two._bound(question()).usd)
    with BatchOracle(echo, ends=[End(n_looks=0)]) as oracle:
        own = Budget(Spent(tmp_path / "ledger", PRICES, tmp_path / "budget"), limits, PRICES, in_batch=True)
        with opened(tmp_path, oracle) as (ledger, batches), own as budget:
            answers = ask(ledger, batches, QUESTIONS, budget=budget)
            spent = budget.spent()
        assert len(next(iter(oracle.batches.values())).lines) == 3
    assert spent.usd <= limits.usd
    assert spent.requests == sum(answer.status == "ok" for answer in answers.values())
