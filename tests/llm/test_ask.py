"""Asking through the ledger: nothing is bought twice, and order does not matter."""

import os
import random
import time

import pytest

from llm import client_of
from llm.oracle import Oracle, Reply, last_message
from pipeline.llm import Answer, Ledger, Message, Request, ask
from pipeline.llm.server.arrivals import Arrivals


def questions(n=12):
    return [
        Request("detection", "sae", n, "model", (Message("user", f"question {number}"),), max_tokens=5)
        for number in range(n)
    ]


def echo(body):
    return f"answer to {last_message(body)}"


def open_ledger(folder):
    return Ledger(folder, "predictions", "sae", 0, 9)


def texts(answers):
    return {request_id: answer.text for request_id, answer in answers.items()}


def test_each_question_gets_its_own_answer_in_the_order_of_the_questions(tmp_path):
    with Oracle(echo) as oracle, open_ledger(tmp_path) as ledger:
        answers = ask(ledger, client_of(oracle.base_url, None), questions())
    assert list(answers) == [request.request_id for request in questions()]
    assert [answer.text for answer in answers.values()] == [f"answer to question {n}" for n in range(12)]


def test_a_second_run_sends_nothing(tmp_path):
    with Oracle(echo) as oracle:
        with open_ledger(tmp_path) as ledger:
            first = ask(ledger, client_of(oracle.base_url, None), questions())
        assert oracle.n_requests == 12
        with open_ledger(tmp_path) as ledger:
            second = ask(ledger, client_of(oracle.base_url, None), questions())
        assert oracle.n_requests == 12
    assert first == second


def test_the_order_of_the_questions_does_not_matter(tmp_path):
    shuffled = questions()
    random.Random(0).shuffle(shuffled)
    with Oracle(echo) as oracle:
        with open_ledger(tmp_path / "one") as ledger:
            one = ask(ledger, client_of(oracle.base_url, None), questions())
        with open_ledger(tmp_path / "other") as ledger:
            other = ask(ledger, client_of(oracle.base_url, None, max_concurrent=1), shuffled)
    assert texts(one) == texts(other)


def test_equal_questions_are_asked_once(tmp_path):
    with Oracle(echo) as oracle, open_ledger(tmp_path) as ledger:
        answers = ask(ledger, client_of(oracle.base_url, None), questions() + questions())
        assert oracle.n_requests == len(answers) == 12


def test_every_answer_is_told_once_and_is_recorded_by_then(tmp_path):
    told = []

    def on_answer(answer):
        lines = (tmp_path / "predictions" / "sae" / "0-9.jsonl").read_text().splitlines()
        assert any(answer.request_id in line for line in lines)
        told.append(answer.request_id)

    with Oracle(echo) as oracle, open_ledger(tmp_path) as ledger:
        client = client_of(oracle.base_url, None)
        ask(ledger, client, questions(3))
        ask(ledger, client, questions(3) + questions(12), on_answer=on_answer)
    assert sorted(told) == sorted(request.request_id for request in questions(12))


def test_only_what_failed_is_asked_again(tmp_path):
    def fail_on_five(body):
        return Reply(fault="status", status=400) if last_message(body).endswith("5") else echo(body)

    with Oracle(fail_on_five) as oracle, open_ledger(tmp_path) as ledger:
        answers = ask(ledger, client_of(oracle.base_url, None), questions())
    assert [answer.status for answer in answers.values()].count("http_error") == 1
    with Oracle(echo) as oracle, open_ledger(tmp_path) as ledger:
        answers = ask(ledger, client_of(oracle.base_url, None), questions())
        assert [last_message(body) for body in oracle.requests] == ["question 5"]
    assert {answer.status for answer in answers.values()} == {"ok"}


def test_what_came_before_an_interruption_is_kept(tmp_path):
    def interrupt(answer):
        raise KeyboardInterrupt

    with Oracle(echo) as oracle:
        with open_ledger(tmp_path) as ledger, pytest.raises(KeyboardInterrupt):
            ask(ledger, client_of(oracle.base_url, None), questions(), on_answer=interrupt)
        with open_ledger(tmp_path) as ledger:
            assert sum(ledger.replay(request) is not None for request in questions()) >= 1


def test_requests_at_the_server_and_answers_not_yet_on_the_disk_are_never_more_than_may_be_in_flight(
    tmp_path, monkeypatch
):
    """With a fast server and a slow disk, where many answers wait: so many a kill could make us pay again."""
    real_sync, n_recorded, n_open, n_syncs = os.fsync, 0, [], 0

    def slow_sync(handle):
        nonlocal n_recorded, n_syncs
        time.sleep(0.005)
        real_sync(handle)
        n_recorded = (tmp_path / "predictions" / "sae" / "0-9.jsonl").read_text().count('"purpose":"detection"')
        n_syncs += 1

    def brain(body):
        n_open.append(oracle.n_requests - n_recorded)
        return echo(body)

    with Oracle(brain) as oracle, open_ledger(tmp_path) as ledger:
        monkeypatch.setattr(os, "fsync", slow_sync)
        ask(ledger, client_of(oracle.base_url, None, max_concurrent=8), questions(200))
    assert max(n_open) == 8
    assert n_syncs < 150  # those that wait share a sync; on a busy machine few wait


def test_a_loop_that_cannot_start_is_an_error_and_no_wait(monkeypatch):
    def run(work):
        work.close()
        raise OSError("too many open files")

    monkeypatch.setattr("pipeline.llm.server.arrivals.asyncio.run", run)
    with pytest.raises(OSError, match="too many open files"), Arrivals(bring_nothing) as arrivals:
        list(arrivals)


async def bring_nothing(deliver):
    """No answers."""


def test_a_client_that_ends_too_early_is_named_and_what_it_answered_is_kept(tmp_path):
    class Lazy:
        def answer(self, requests):
            yield [Answer(requests[0].request_id, "ok", "Yes", attempts=1)]

    requests = questions(3)
    with open_ledger(tmp_path) as ledger:
        with pytest.raises(RuntimeError, match="Lazy stopped before answering 2 of 3 requests"):
            ask(ledger, Lazy(), requests)
        assert ledger.replay(requests[0])
