"""What was answered to no use is asked again as the next draw, and a replay chooses the same."""

import json
import threading
from collections import Counter

from llm import client_of
from llm.oracle import Oracle, Reply, last_message

from pipeline.asking.draws import ask_draws
from pipeline.llm import Ledger, Message, Request, ask
from pipeline.llm.server.client import not_given

USELESS = [Reply(fault="refuse"), Reply("cut", fault="truncate"), Reply("nonsense")]


def questions(n=6):
    return [Request("p", "s", 0, "m", (Message("user", f"question {k}"),), 5) for k in range(n)]


def useless_at_first():
    """Question k is answered to use from the k-th draw on."""
    lock, times = threading.Lock(), Counter()

    def brain(body):
        number = int(last_message(body).split()[1])
        with lock:
            times[number] += 1
            return USELESS[number % 3] if times[number] <= number else f"draw {times[number] - 1}"

    return brain


def drawn(folder, oracle, max_draws):
    with Ledger(folder, "predictions", "s", 0, 0) as ledger:
        client = client_of(oracle.base_url, None, max_attempts=1)
        counting = ask_draws(
            lambda some: ask(ledger, client, some), questions(), max_draws, lambda _, answer: "draw" in answer.text
        )
    return [counting[request.request_id] for request in questions()]


def test_the_first_usable_answer_counts_and_without_one_the_first(tmp_path):
    with Oracle(useless_at_first()) as oracle:
        answers = drawn(tmp_path, oracle, max_draws=3)
        assert oracle.n_requests == 1 + 2 + 3 * 4
        assert [answer.text for answer in answers[:3]] == ["draw 0", "draw 1", "draw 2"]
        assert [answer.status for answer in answers[3:]] == ["refused", "truncated", "ok"]
        ids = [request.request_id for request in questions()]
        is_first = [answer.request_id == each for answer, each in zip(answers, ids, strict=True)]
        assert is_first == [True, False, False, True, True, True]
        assert drawn(tmp_path, oracle, max_draws=3) == answers
        assert oracle.n_requests == 15  # a replay sends nothing
        more = drawn(tmp_path, oracle, max_draws=6)
        assert [answer.text for answer in more] == [f"draw {k}" for k in range(6)]
        assert oracle.n_requests == 15 + 1 + 2 + 3


def test_each_further_draw_says_of_which_request_it_is_one(tmp_path):
    with Oracle(useless_at_first()) as oracle:
        drawn(tmp_path, oracle, max_draws=3)
    [file] = tmp_path.rglob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    firsts = {line["request_id"] for line in lines if line["draw"] == 0}
    assert len(firsts) == 6 and {line["repeats"] for line in lines if line["draw"] == 0} == {None}
    assert Counter(line["repeats"] in firsts for line in lines if line["draw"] > 0) == {True: 1 + 4 * 2}
    asked = {line["repeats"] or line["request_id"]: line["messages"] for line in lines}
    assert all(asked[line["repeats"] or line["request_id"]] == line["messages"] for line in lines)


def test_one_draw_is_one_request(tmp_path):
    with Oracle(useless_at_first()) as oracle:
        drawn(tmp_path, oracle, max_draws=1)
        assert oracle.n_requests == 6


def test_a_draw_that_failed_on_its_way_is_asked_again_before_the_next(tmp_path):
    replies = [Reply("nonsense"), Reply(fault="status", status=400), Reply("draw 1")]
    with Oracle(lambda body: replies.pop(0)) as oracle:
        request = questions(1)
        for expected in ("http_error", "ok"):
            with Ledger(tmp_path, "predictions", "s", 0, 0) as ledger:
                client = client_of(oracle.base_url, None, max_attempts=1)
                [answer] = ask_draws(
                    lambda some, ledger=ledger, client=client: ask(ledger, client, some),
                    request,
                    5,
                    lambda _, answer: "draw" in answer.text,
                ).values()
            assert answer.status == expected
        assert (answer.text, oracle.n_requests) == ("draw 1", 3)


def test_what_the_server_cannot_be_asked_is_not_drawn_again():
    asked = []

    def ask_none(some):
        asked.extend(some)
        return {request.request_id: not_given(request) for request in some}

    answers = ask_draws(ask_none, questions(2), 3, lambda _, answer: True)
    assert asked == questions(2) and all(answer.is_unsent for answer in answers.values())
