"""How many requests are in flight: as many as the endpoint bears."""

import asyncio
import email.utils
import threading
import time

import pytest

from llm import answers_of, client_of
from llm.oracle import Oracle, Reply, last_message
from pipeline.llm import Message, Request
from pipeline.llm.server import pacing
from pipeline.llm.server.pacing import Pace, back_off_seconds, retry_after_seconds


def pass_through(pace, n, **how):
    """Let n requests in and out again."""

    async def run():
        entered = [await pace.enter() for _ in range(n)]
        for at in entered:
            pace.leave(at, **how)

    asyncio.run(run())


def test_the_number_doubles_every_round_trip_up_to_the_limit():
    pace = Pace(100)
    seen = [pace.allowed]
    for _ in range(4):
        pass_through(pace, pace.allowed, went_well=True)
        seen.append(pace.allowed)
    assert seen == [16, 32, 64, 100, 100]
    assert Pace(3).allowed == 3


def test_an_overload_halves_it_once_a_round_trip_and_then_it_grows_by_one():
    pace = Pace(64)
    for _ in range(3):
        pass_through(pace, pace.allowed, went_well=True)
    pass_through(pace, 64, overloaded=True)  # all 64 were sent before the first of them was refused
    assert pace.allowed == 32
    for most in (33, 34):
        pass_through(pace, pace.allowed, went_well=True)
        assert most - 1 <= pace.allowed <= most
    for _ in range(20):
        pass_through(pace, 1, overloaded=True)
    assert pace.allowed == 1


def test_no_more_than_allowed_are_inside_and_the_next_goes_as_one_leaves():
    async def run():
        pace = Pace(2)
        first, _ = await pace.enter(), await pace.enter()
        third = asyncio.create_task(pace.enter())
        await asyncio.sleep(0.01)
        assert not third.done()
        pace.leave(first)
        await asyncio.wait_for(third, 1)

    asyncio.run(run())


def test_an_endpoint_that_asks_to_wait_gets_nothing_until_then():
    async def run():
        pace = Pace(8)
        pace.close_for(0.1)
        pace.close_for(0.01)  # the longer wait holds
        start = time.monotonic()
        await pace.enter()
        return time.monotonic() - start

    assert 0.09 <= asyncio.run(run()) < 1


def test_an_endpoint_may_ask_to_wait_only_so_long_before_it_answers(monkeypatch):
    monkeypatch.setattr(pacing, "LONGEST_RETRY_AFTER_SECONDS", 0.05)
    pace = Pace(8)
    assert not pace.close_for(0.06)
    pass_through(pace, 1)  # which does not wait
    for _ in range(3):
        assert pace.close_for(0.02) and pace.close_for(0.01)  # asked twice for the same time
        pass_through(pace, 1, went_well=True)
    assert pace.close_for(0.02)
    pass_through(pace, 1)
    assert pace.close_for(0.02)
    pass_through(pace, 1)
    assert not pace.close_for(0.02)  # 0.06 s in all, and no answer


def test_waits_double_are_capped_and_have_full_jitter():
    waits = [back_off_seconds(3) for _ in range(400)]
    assert 0 <= min(waits) < 0.2 and 1.8 < max(waits) <= 2.0
    assert max(back_off_seconds(40) for _ in range(100)) <= pacing.LONGEST_WAIT_SECONDS


def test_retry_after_is_read_in_both_its_forms():
    assert retry_after_seconds("1.5") == 1.5
    assert 28 <= retry_after_seconds(email.utils.formatdate(time.time() + 30, usegmt=True)) <= 30
    assert retry_after_seconds("-3") == 0.0
    assert retry_after_seconds("soon") is None and retry_after_seconds(None) is None


@pytest.mark.parametrize("status", [429, 503, 529])
def test_an_overloaded_server_gets_fewer_at_once_until_it_keeps_up(status, monkeypatch):
    monkeypatch.setattr(pacing, "FIRST_WAIT_SECONDS", 0.02)
    bears, inside, lock = 4, [0, 0, 0], threading.Lock()  # inside now, refused, answered

    def brain(body):
        with lock:
            inside[0] += 1
            too_many = inside[0] > bears
            inside[1 if too_many else 2] += 1
        time.sleep(0.01)
        with lock:
            inside[0] -= 1
        return Reply(fault="status", status=status) if too_many else last_message(body)

    requests = [Request("p", "s", 0, "model", (Message("user", f"question {n}"),), 5) for n in range(150)]
    with Oracle(brain) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=64, max_attempts=20)
        answers = answers_of(client, requests)
    assert {given.status for given in answers} == {"ok"}
    assert inside[1] < 150  # without pacing, most of what is sent would be refused again and again
    assert client.endpoint.pace.allowed <= 16
