"""The client of OpenAI-compatible endpoints, against a server that does everything that servers do."""

import json
import logging
import math
import re
import socketserver
import threading
import time
import traceback
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from llm import answers_of, client_of
from llm.oracle import Oracle, Reply, completion, in_turn, last_message
from pipeline.asking.draws import ask_draws
from pipeline.errors import ConfigError
from pipeline.llm import Ledger, Message, Request, ask
from pipeline.llm.choices import choice_masses, choice_of, choice_probabilities
from pipeline.llm.ledger.budget import Budget, Limits
from pipeline.llm.ledger.prices import Price, Prices
from pipeline.llm.ledger.spent import Spent
from pipeline.llm.server import pacing

KEY = "sk-secret-0123456789"
CHOICES = ("Yes", "No")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(pacing, "FIRST_WAIT_SECONDS", 0.01)


def question(number=0, **changes):
    messages = (Message("system", "Answer."), Message("user", f"question {number}"))
    return replace(Request("detection", "sae", 3, "model", messages, max_tokens=5), **changes)


def answer(oracle, request=None, **settings):
    [only] = answers_of(client_of(oracle.base_url, None, **settings), [request or question()])
    return only


def test_an_answer_carries_what_the_server_said_of_it():
    with Oracle(lambda body: "because of stop words") as oracle:
        given = answer(oracle, question(temperature=0.5))
        [body] = oracle.requests
    assert body == {
        "model": "model",
        "messages": [{"role": "system", "content": "Answer."}, {"role": "user", "content": "question 0"}],
        "max_tokens": 5,
        "temperature": 0.5,
    }
    assert (given.status, given.text, given.resolved_model) == ("ok", "because of stop words", "model-2026")
    assert (given.finish_reason, given.attempts, given.error) == ("stop", 1, None)
    assert (given.prompt_tokens, given.cached_tokens, given.completion_tokens) == (3, 1, 4)
    assert given.probabilities is None
    assert given.requested_at.endswith("+00:00") and given.duration_ms >= 0


def test_stops_are_sent_where_there_are_any():
    with Oracle() as oracle:
        answer(oracle, question(stop=("\n\n",)))
        assert oracle.requests[0]["stop"] == ["\n\n"]


def test_many_requests_are_in_flight_and_never_more_than_allowed():
    with Oracle(lambda body: Reply(last_message(body), delay_seconds=0.05)) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=4)
        answers = answers_of(client, [question(number) for number in range(16)])
        assert oracle.max_in_flight == 4
    assert {given.text for given in answers} == {f"question {number}" for number in range(16)}
    assert len({given.request_id for given in answers}) == 16


def test_answers_come_as_they_arrive():
    with Oracle(lambda body: Reply(delay_seconds=0.3 if last_message(body) == "question 0" else 0)) as oracle:
        answers = answers_of(client_of(oracle.base_url, None), [question(0), question(1)])
    assert [given.request_id for given in answers] == [question(1).request_id, question(0).request_id]


def test_a_caller_that_stops_early_leaves_nothing_running():
    with Oracle(lambda body: Reply(delay_seconds=0 if last_message(body) == "question 0" else 5)) as oracle:
        start = time.monotonic()
        answers = client_of(oracle.base_url, None).answer([question(number) for number in range(8)])
        assert [given.request_id for given in next(answers)] == [question(0).request_id]
        answers.close()
        assert time.monotonic() - start < 2


def test_no_requests_are_no_answers():
    assert answers_of(client_of("http://127.0.0.1:9/v1", None), []) == []


# What the answer says ----------------------------------------------------------------------------------


def test_a_refusal_is_a_status():
    with Oracle(lambda body: Reply(fault="refuse")) as oracle:
        given = answer(oracle)
    assert (given.status, given.attempts) == ("refused", 1)
    with Oracle(lambda body: Reply(fault="filter")) as oracle:
        assert answer(oracle).status == "refused"


def test_an_answer_cut_short_is_truncated():
    with Oracle(lambda body: Reply("because of", fault="truncate")) as oracle:
        given = answer(oracle)
    assert (given.status, given.text, given.finish_reason) == ("truncated", "because of", "length")


def test_one_token_of_a_choice_is_not_cut_short():
    with Oracle(lambda body: Reply("Yes", fault="truncate")) as oracle:
        assert answer(oracle, question(choices=CHOICES, max_tokens=1)).status == "ok"
        assert answer(oracle, question(choices=CHOICES, max_tokens=2)).status == "truncated"


def test_a_first_token_of_white_space_is_an_answer_that_says_nothing_and_stops_no_run():
    reply = Reply(" ", fault="truncate", first_tokens={"\u2581": 0.9, "The": 0.01})
    requests = [question(number, choices=("1", "2", "3"), max_tokens=1) for number in range(10)]
    with Oracle(lambda body: reply) as oracle:
        given = answers_of(client_of(oracle.base_url, None, max_concurrent=1), requests)
    assert {(each.status, each.text, each.probabilities) for each in given} == {("ok", " ", None)}


def test_half_a_surrogate_pair_becomes_text_that_utf8_can_carry():
    with Oracle(lambda body: "half \ud83d") as oracle:
        assert answer(oracle).text == "half ?"


# Passing faults ----------------------------------------------------------------------------------------

PASSING = [
    Reply(fault="status", status=500),
    Reply(fault="status", status=503),
    Reply(fault="status", status=529),
    Reply(fault="status", status=408),
    Reply(fault="status", status=409),
    Reply(fault="status", status=429, retry_after="0"),
    Reply(fault="drop"),
    Reply(fault="break_off"),
    Reply(fault="garble"),
    Reply(fault="not_an_object"),
    Reply(fault="error_inside"),
    Reply(fault="finish_error"),
    Reply(fault="error_in_choice"),
    Reply(fault="error_beside"),
    Reply(fault="error_in_choice", status=429),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda reply: f"{reply.fault}-{reply.status}")
def test_what_passes_is_tried_again(fault):
    with Oracle(in_turn(fault, fault, "Yes")) as oracle:
        given = answer(oracle)
    assert (given.status, given.text, given.attempts) == ("ok", "Yes", 3)


@pytest.mark.parametrize("fault", PASSING, ids=lambda reply: f"{reply.fault}-{reply.status}")
def test_what_does_not_pass_is_one_rows_failure(fault):
    with Oracle(lambda body: fault if last_message(body) == "question 0" else "Yes") as oracle:
        client = client_of(oracle.base_url, None, max_attempts=2)
        answers = {each.request_id: each for each in answers_of(client, [question(0), question(1)])}
    failed = answers[question(0).request_id]
    assert (failed.status, failed.text, failed.attempts) == ("http_error", None, 2)
    assert failed.error
    assert answers[question(1).request_id].status == "ok"


def test_an_answer_that_comes_back_empty_twice_is_the_models_and_is_not_paid_again(tmp_path):
    def brain(body):
        return Reply(fault="empty") if last_message(body) == "question 1" else "Yes"

    with Oracle(in_turn(Reply(fault="empty"), "Yes")) as oracle:
        assert (answer(oracle).status, oracle.n_requests) == ("ok", 2)
    with Oracle(brain) as oracle:
        for _ in range(2):
            with Ledger(tmp_path, "a", "sae", 0, 9) as ledger:
                given = list(ask(ledger, client_of(oracle.base_url, None), map(question, range(2))).values())
        assert oracle.n_requests == 3
    assert [(each.status, each.text, each.attempts) for each in given] == [("ok", "Yes", 1), ("ok", "", 2)]
    assert given[1].prompt_tokens == 6 and "empty" in given[1].error


@pytest.mark.parametrize("said", ["\n\n[EXPLANATION]: the token", " \n[EXPLANATION]: the token\nIndeed."])
def test_an_answer_that_begins_with_the_stop_is_asked_for_without_and_cut_here(said):
    with Oracle(lambda body: said.split("\n")[0] if "stop" in body else said) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=1, max_attempts=1)
        given = answers_of(client, [question(n, stop=("\n",)) for n in range(3)])
        assert ["stop" in body for body in oracle.requests] == [True, False, False, False]
    assert {(each.status, each.text) for each in given} == {("ok", "[EXPLANATION]: the token")}


def test_a_stop_that_leaves_nothing_of_a_thought_that_the_server_takes_out_is_not_sent_again():
    def brain(body):  # as vLLM's reasoning parser
        return Reply(fault="empty") if "stop" in body else "<think>\nmaybe\n</think>\n[EXPLANATION]: the token"

    with Oracle(brain) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=1)
        given = answers_of(client, [question(n, stop=("\n",)) for n in range(3)])
        assert ["stop" in body for body in oracle.requests] == [True, False, False, False]
    assert all(each.text.endswith("</think>\n[EXPLANATION]: the token") for each in given)


@pytest.mark.parametrize("fault", ["error_in_choice", "error_beside"])
def test_an_error_beside_some_text_is_the_rows_failure_in_the_servers_words(fault):
    with Oracle(lambda body: Reply("the tok", fault=fault, message="provider disconnected")) as oracle:
        given = answer(oracle, max_attempts=3)
    assert (given.status, given.text, given.error) == ("http_error", None, "provider disconnected")
    assert given.finish_reason == ("error" if fault == "error_in_choice" else "stop")
    assert (given.attempts, given.prompt_tokens, given.completion_tokens) == (3, 9, 6)


def test_an_error_inside_that_does_not_pass_is_not_tried_again():
    with Oracle(lambda body: Reply(fault="error_in_choice", status=400, message="no such role")) as oracle:
        given = answer(oracle)
    assert (given.status, given.attempts, given.error) == ("http_error", 1, "no such role")


@pytest.mark.parametrize("word", ["abort", "ERROR", "cancelled", "insufficient_system_resource"])
def test_a_finish_reason_that_is_no_end_is_a_failure_that_names_it(word):
    with Oracle(lambda body: Reply("the tok", finish_reason=word)) as oracle:
        given = answer(oracle, max_attempts=2)
    assert (given.status, given.attempts, given.finish_reason) == ("http_error", 2, word)
    assert f"'{word}'" in given.error


def test_a_finish_reason_of_the_servers_own_is_an_end():
    words = {"eos": "ok", "max_tokens": "truncated", "MAX_TOKENS": "truncated", "SAFETY": "refused"}
    words |= dict.fromkeys(("RECITATION", "BLOCKLIST", "SPII", "content_filter: RECITATION"), "refused")
    with Oracle(lambda body: Reply(finish_reason=last_message(body).removeprefix("question "))) as oracle:
        client = client_of(oracle.base_url, None)
        given = {word: answers_of(client, [question(word)])[0].status for word in words}
    assert given == words


def test_the_tokens_of_failed_attempts_are_counted_and_paid(tmp_path):
    prices = Prices({"model": Price(prompt=1_000_000, completion=1_000_000)})
    limits = Limits(usd=1000)
    with Oracle(in_turn(Reply("a b c", fault="finish_error"), Reply(fault="empty"), "Yes")) as oracle:
        client = client_of(oracle.base_url, None)
        with (
            Ledger(tmp_path / "ledger", "a", "s", 0, 9, prices) as ledger,
            Budget(Spent(tmp_path / "ledger", prices, tmp_path / "budget"), limits, prices) as budget,
        ):
            [given] = ask(ledger, client, [question()], budget=budget).values()
            assert budget.spent().usd == 3 * 3 + 3 + 1 + 1
    assert (given.status, given.attempts) == ("ok", 3)
    assert (given.prompt_tokens, given.cached_tokens, given.completion_tokens) == (9, 3, 5)


def test_an_answer_that_was_all_reasoning_is_truncated_and_paid_once():
    with Oracle(lambda body: Reply(fault="only_thought")) as oracle:
        given = answer(oracle)
        assert oracle.n_requests == 1
    assert (given.status, given.attempts) == ("truncated", 1)
    assert (given.completion_tokens, given.reasoning_tokens) == (5, 5)
    said = "Could not finish the message because max_tokens or model output limit was reached."
    with Oracle(lambda body: Reply(fault="status", status=400, message=said)) as oracle:  # OpenAI's other form
        assert (answer(oracle).status, oracle.n_requests) == ("truncated", 1)


def test_a_model_that_answers_with_reasoning_alone_stops_the_run_after_a_few_and_names_the_key(tmp_path):
    with (
        Oracle(lambda body: Reply(fault="only_thought")) as oracle,
        Ledger(tmp_path, "a", "s", 0, 9) as ledger,
    ):
        client = client_of(oracle.base_url, None, max_concurrent=2)
        with pytest.raises(ConfigError, match=r"5 times in a row; allow it more \(reasoning_tokens, now 0"):
            ask(ledger, client, [question(n) for n in range(100)])
        assert 5 <= oracle.n_requests <= 7
        assert sum(ledger.replay(question(n)) is not None for n in range(100)) >= 5


FIRST_OF_REASONING = {"<think>": 0.999, "Okay": 0.0005}


@pytest.mark.parametrize("changes", [
    {"max_tokens": 100},
    {"max_tokens": 1, "choices": CHOICES},
])  # fmt: skip
def test_reasoning_that_a_server_leaves_in_the_text_stops_the_run_as_well(changes):
    reply = Reply("<think>\nOkay, so", fault="truncate")
    if changes["max_tokens"] == 1:
        reply = Reply("<think>", fault="truncate", first_tokens=FIRST_OF_REASONING)
    with Oracle(lambda body: reply) as oracle:  # its probe was answered, as of a model that may or may not reason
        client = client_of(oracle.base_url, None, max_concurrent=2)
        with pytest.raises(ConfigError, match=r"finished no answer, 5 times in a row; .*reasoning_tokens, now 0"):
            answers_of(client, [question(n, **changes) for n in range(60)])
        assert 5 <= oracle.n_requests <= 7


def test_an_answer_after_inline_reasoning_stops_nothing():
    with Oracle(lambda body: "<think>\nOkay\n</think>\nrivers") as oracle:
        given = answers_of(client_of(oracle.base_url, None), [question(n) for n in range(9)])
    assert {each.status for each in given} == {"ok"}


@pytest.mark.parametrize("said", [
    Reply("<think>", fault="truncate", first_tokens=FIRST_OF_REASONING),
    Reply("Okay", fault="truncate", first_tokens={"Okay": 0.9, "So": 0.09}),  # DeepSeek-R1's template opens it
    Reply("", fault="only_thought", first_tokens=FIRST_OF_REASONING),
])  # fmt: skip
def test_a_model_that_reasons_is_not_asked_for_single_tokens(said):
    whole = "Okay, an address has a host.\n</think>\nYes"
    with Oracle(probed=lambda body: said if body["max_tokens"] == 1 else Reply(whole)) as oracle:
        for _ in range(2):
            client = client_of(oracle.base_url, None)
            with pytest.raises(
                ConfigError, match=r"'model' at .* reasons before it answers.*reasoning_tokens, now 0"
            ):
                answers_of(client, [question(n, max_tokens=1, choices=CHOICES) for n in range(60)])
        assert oracle.n_requests == 0 and len(oracle.probes) <= 4
        given = answer(oracle, question(max_tokens=1, choices=CHOICES, reasoning_tokens=100))
    assert given.status == "ok"


def test_a_run_that_stops_sends_nothing_more_and_records_what_was_under_way(tmp_path):
    """What is under way is paid, whoever waits for it."""

    def brain(body):
        is_wrong = last_message(body) == "question 0"
        return Reply(fault="status", status=401, delay_seconds=0.2) if is_wrong else Reply(delay_seconds=0.4)

    with Oracle(brain) as oracle, Ledger(tmp_path, "a", "s", 0, 9) as ledger:
        client = client_of(oracle.base_url, None, max_concurrent=4)
        with pytest.raises(ConfigError, match="refuses the API key"):
            ask(ledger, client, [question(n) for n in range(100)])
        assert oracle.n_requests == 4
        assert [n for n in range(100) if ledger.replay(question(n))] == [1, 2, 3]


def test_a_run_that_stops_does_not_wait_for_an_endpoint_that_asks_to_wait():
    def brain(body):
        if last_message(body) == "question 0":
            return Reply(fault="status", status=401, delay_seconds=0.2)
        return Reply(fault="status", status=429, retry_after="60", delay_seconds=0.4)

    with Oracle(brain) as oracle:
        start = time.monotonic()
        with pytest.raises(ConfigError, match="refuses the API key"):
            answers_of(client_of(oracle.base_url, None, max_concurrent=4), [question(n) for n in range(9)])
        assert time.monotonic() - start < 5
        assert oracle.n_requests == 4


def test_a_model_that_thinks_too_long_now_and_then_stops_nothing():
    with Oracle(in_turn(*[Reply(fault="only_thought")] * 4, "Yes", *[Reply(fault="only_thought")] * 4)) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=1)
        given = answers_of(client, [question(n) for n in range(9)])
    assert Counter(each.status for each in given) == {"truncated": 8, "ok": 1}


def test_room_for_reasoning_is_added_and_the_effort_is_passed_on():
    with Oracle() as oracle:
        thinking = question(choices=CHOICES, stop=("\n",), reasoning_tokens=1000, reasoning_effort="low")
        assert answer(oracle, thinking).status == "ok"
        [body] = oracle.requests
    assert (body["max_tokens"], body["reasoning_effort"]) == (1005, "low")
    assert not {"stop", "logprobs", "top_logprobs"} & body.keys()  # its first token and line are thoughts
    with Oracle() as oracle:
        answer(oracle, question(stop=("\n",), reasoning_effort="none"))
        assert (oracle.requests[0]["stop"], oracle.requests[0]["reasoning_effort"]) == (["\n"], "none")


def test_a_stop_that_cut_a_thought_is_not_sent_again(capfd):
    def thinking(body):
        whole = "<think>\nmaybe\n</think>\n[EXPLANATION]: the token"
        return whole.split("\n")[0] if "stop" in body else whole

    with Oracle(thinking) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=1)
        first, second = answers_of(client, [question(n, stop=("\n",)) for n in range(2)])
        assert ["stop" in body for body in oracle.requests] == [True, False, False]
    assert (first.status, first.attempts, second.attempts) == ("ok", 2, 1)
    assert first.text.endswith("[EXPLANATION]: the token")
    assert first.completion_tokens == 1 + 6  # what was cut is paid
    assert capfd.readouterr().err.count("one_line stop sequence cut its reasoning off") == 1


def test_ids_are_what_they_were_where_nothing_is_said_of_reasoning():
    request = Request("p", "s", 1, "m", (Message("user", "hello"),), 5, choices=CHOICES, stop=("\n",))
    assert request.request_id == "d559ce1860d62df105589a2d2ea7e295"
    assert replace(request, schema={"type": "object"}).request_id == "085dfb793d7e56bb501d761cb9c91b48"
    others = {replace(request, reasoning_tokens=9).request_id, replace(request, reasoning_effort="low").request_id}
    assert len({request.request_id} | others) == 3


def test_a_server_that_is_too_slow_is_tried_again():
    with Oracle(in_turn(Reply(delay_seconds=1), "Yes")) as oracle:
        assert answer(oracle, timeout_seconds=0.3).attempts == 2


def test_a_server_that_is_not_there_stops_the_run_before_it_is_tried_for_every_question():
    with pytest.raises(ConfigError, match=r"no connection to http://127.0.0.1:9/v1 .* start the server"):
        answers_of(client_of("http://127.0.0.1:9/v1", None, max_attempts=2), [question(n) for n in range(500)])


def test_a_server_that_dies_stops_the_run_and_what_was_answered_is_recorded(tmp_path):
    ended = []

    def brain(body):
        return Reply(fault="drop") if ended else Reply(delay_seconds=0.01)

    with Oracle(brain) as oracle, Ledger(tmp_path, "a", "s", 0, 9) as ledger:
        client = client_of(oracle.base_url, None, max_concurrent=2)

        def end_server(answer):
            if not ended:
                ended.append(True)
                oracle.__exit__()

        with pytest.raises(ConfigError, match="the answers so far are kept"):
            ask(ledger, client, [question(n) for n in range(300)], on_answer=end_server)
        assert 1 <= sum(ledger.replay(question(n)) is not None for n in range(300)) < 300


def test_retry_after_closes_the_endpoint_for_every_request():
    arrived = []

    def brain(body):
        arrived.append(time.monotonic())
        if len(arrived) == 1:
            return Reply(fault="status", status=429, retry_after="0.4")
        return Reply(last_message(body), delay_seconds=0.02)

    with Oracle(brain) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=2)
        answers = answers_of(client, [question(n) for n in range(9)])
    assert {given.status for given in answers} == {"ok"}
    before = [at for at in arrived if at < arrived[0] + 0.35]
    assert len(before) <= 3  # what was in flight already


def test_a_long_body_in_chunks_and_a_body_that_ends_with_the_connection_are_read(raw_server):
    body = json.dumps(completion({"model": "m", "messages": []}, Reply("word " * 50_000))).encode()
    pieces = [body[place : place + 70_000] for place in range(0, len(body), 70_000)]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    for response in (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
    ):
        url = raw_server(response)
        [given] = answers_of(client_of(url, None, max_attempts=4), [question()])
        assert (given.status, given.text) == ("ok", "word " * 50_000)


def test_what_is_no_http_is_one_rows_failure(raw_server):
    [given] = answers_of(client_of(raw_server(b"hello there\r\n\r\n"), None, max_attempts=2), [question()])
    assert (given.status, given.attempts) == ("http_error", 2)


@pytest.fixture
def raw_server():
    """A function that starts a server whose every connection answers with these bytes and is closed."""
    servers = []

    def start(response):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.recv(1 << 20)
                self.request.sendall(response)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}/v1"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_proxy_of_the_environment_is_used_and_may_be_bypassed(monkeypatch):
    with Oracle() as proxy:  # which is asked as a proxy is, with the whole address in the request's first line
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "")
        [given] = answers_of(client_of("http://server.invalid/v1", None), [question()])
        assert (given.status, proxy.n_requests) == ("ok", 1)
        assert proxy.paths[-1] == "http://server.invalid/v1/chat/completions"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert answer(proxy).status == "ok"
        assert proxy.paths[-1] == "/v1/chat/completions"


def test_another_client_error_is_not_tried_again():
    with Oracle(lambda body: Reply(fault="status", status=400, message="no such role")) as oracle:
        given = answer(oracle)
        assert oracle.n_requests == 1
    assert (given.status, given.error) == ("http_error", "HTTP 400: no such role")


@pytest.mark.parametrize("status, code, message", [
    (400, "context_length_exceeded", "Your input exceeds the limit."),
    (400, None, "The input token count exceeds the maximum number of tokens allowed (32768)."),
    (422, None, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096."),
    (400, None, "This model's maximum context length is 512 tokens. However, you requested 710 tokens."),
    (400, None, "request (710 tokens) exceeds the available context size (512 tokens)"),
    (400, None, "prompt is too long: 200001 tokens > 200000 maximum"),
    (413, None, "too large"),
])  # fmt: skip
def test_a_request_that_is_longer_than_the_model_reads_is_not_asked_again(tmp_path, status, code, message):
    reply = Reply(fault="status", status=status, message=message, code=code)
    with Oracle(lambda body: reply) as oracle:
        for _ in range(2):  # of two runs, each for any of three draws
            with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
                client = client_of(oracle.base_url, None)
                [given] = ask_draws(partial(ask, ledger, client), [question()], 3, lambda *_: True).values()
            assert (given.status, oracle.n_requests) == ("too_long", 1)


# What the user has to change ---------------------------------------------------------------------------


@pytest.mark.parametrize("fault, said, attempts", [
    (Reply(fault="status", status=400, message="no such model"), "HTTP 400: no such model", 1),
    (Reply(fault="status", status=500, message="CUDA error"), "HTTP 500: CUDA error", 2),
    (Reply("<html>Open WebUI", fault="raw"), "the server's answer was not JSON but begins: <html>Open WebUI", 2),
    (Reply(fault="empty"), "the server's answer was empty", 2),
])  # fmt: skip
def test_an_endpoint_that_answers_nothing_stops_the_run(fault, said, attempts):
    with Oracle(lambda body: fault, probed=lambda body: fault) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=4, max_attempts=2)
        with pytest.raises(ConfigError, match=rf"answered none of the first 20 requests .* \({re.escape(said)}\)"):
            answers_of(client, [question(number) for number in range(100)])
        assert 20 * attempts <= oracle.n_requests <= 24 * attempts


def test_what_was_paid_for_a_run_that_stops_is_booked_and_asked_again(tmp_path):
    prices = Prices({"model": Price(prompt=1_000_000, completion=1_000_000)})
    requests = [question(n) for n in range(60)]
    with Oracle(lambda body: Reply(fault="empty")) as oracle:
        for _ in range(2):
            with (
                Ledger(tmp_path / "ledger", "a", "s", 0, 9, prices) as ledger,
                Budget(Spent(tmp_path / "ledger", prices, tmp_path / "budget"), Limits(usd=1e6), prices) as budget,
            ):
                with pytest.raises(ConfigError, match="answered none of the first 20 requests"):
                    ask(ledger, client_of(oracle.base_url, None), requests, budget=budget)
                assert budget.spent().usd == 4 * oracle.n_requests  # tokens of a prompt and an answer
                assert not any(map(ledger.replay, requests))


@pytest.mark.parametrize("stops_by_itself", [True, False])
def test_the_usage_of_a_request_that_a_stop_leaves_unanswered_is_booked(tmp_path, monkeypatch, stops_by_itself):
    """The second attempt finds the key refused, or waits for its turn when another request finds that."""
    monkeypatch.setattr(pacing, "FIRST_WAIT_SECONDS", 0.01 if stops_by_itself else 60)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    bad_key = Reply(fault="status", status=401, delay_seconds=0.3)
    garbled = in_turn(Reply("a b", fault="finish_error"), bad_key)
    brain = garbled if stops_by_itself else lambda body: garbled(body) if is_first(body) else bad_key

    def is_first(body):
        return last_message(body) == "question 0"

    requests = [question(n) for n in range(1 if stops_by_itself else 2)]
    with Oracle(brain) as oracle, Ledger(tmp_path, "a", "s", 0, 9) as ledger:
        start = time.monotonic()
        with pytest.raises(ConfigError, match="refuses the API key"):
            ask(ledger, client_of(oracle.base_url, None), requests)
        assert time.monotonic() - start < 10
        left = ledger.last(requests[0])
        assert (left.status, left.text, left.prompt_tokens, left.completion_tokens) == ("http_error", None, 3, 2)
        assert left.attempts == (2 if stops_by_itself else 1)
        assert ledger.replay(requests[0]) is None


def test_a_quota_that_ends_ends_the_run_and_says_for_how_long(tmp_path):
    said = "Rate limit reached: requests per day (RPD): Limit 5, Used 5"
    quota = Reply(fault="status", status=429, retry_after="86400", message=said)
    requests = [question(n) for n in range(65)]
    with Oracle(in_turn(*["Yes"] * 5, quota)) as oracle, Ledger(tmp_path, "a", "sae", 0, 9) as ledger:
        client = client_of(oracle.base_url, None)
        for n_asked in (65, 60):  # a later run of the same process does not wait either
            start = time.monotonic()
            with pytest.raises(
                ConfigError, match=r"asks to wait 24\.0 hours .*per day.*the answers so far are kept"
            ):
                ask(ledger, client, requests)
            assert time.monotonic() - start < 10
            assert oracle.n_requests <= 65 + 60 - n_asked + 21
        assert sum(ledger.replay(each) is not None for each in requests) == 5


def test_a_quota_that_ends_without_a_word_of_when_ends_the_run(tmp_path):
    quota = Reply(fault="status", status=429, message="Quota exceeded")
    requests = [question(n) for n in range(65)]
    with Oracle(in_turn(*["Yes"] * 5, quota)) as oracle, Ledger(tmp_path, "a", "sae", 0, 9) as ledger:
        client = client_of(oracle.base_url, None, max_attempts=2)
        with pytest.raises(ConfigError, match=r"has failed 20 requests in a row, each 2 times .*Quota exceeded"):
            ask(ledger, client, requests)
        assert 5 + 40 <= oracle.n_requests <= 5 + 40 + 2 * 16
        assert sum(ledger.replay(each) is not None for each in requests) == 5
    with Oracle() as oracle, Ledger(tmp_path, "a", "sae", 0, 9) as ledger:
        given = ask(ledger, client_of(oracle.base_url, None), requests)
        assert oracle.n_requests == 60
    assert {each.status for each in given.values()} == {"ok"}


def test_requests_that_fail_now_and_then_stop_nothing():
    failed = Reply(fault="status", status=500)
    with Oracle(in_turn("Yes", *[*[failed] * 19, "Yes"] * 3)) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=1, max_attempts=1)
        given = answers_of(client, [question(n) for n in range(61)])
    assert Counter(each.status for each in given) == {"http_error": 57, "ok": 4}


def test_an_endpoint_that_answers_nothing_but_its_probe_stops_the_run():
    said = "max_tokens is too large: 32100. This model supports at most 16384 completion tokens"
    reply = Reply(fault="status", status=400, message=said)
    with Oracle(lambda body: reply) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=4)
        with pytest.raises(ConfigError, match=r"none of the first 20 requests \(detection\) .* 16384 completion"):
            answers_of(client, [question(number) for number in range(100)])
        assert oracle.n_requests <= 24


def test_a_server_that_reads_too_little_stops_the_run_and_leaves_nothing_final_behind(tmp_path):
    said = "This model's maximum context length is 4096 tokens. However, you requested 4400 tokens."
    reply = Reply(fault="status", status=400, message=said)
    requests = [question(number, reasoning_tokens=4000) for number in range(60)]
    with Oracle(lambda body: reply) as oracle, Ledger(tmp_path, "a", "sae", 0, 9) as ledger:
        client = client_of(oracle.base_url, None, max_concurrent=4)
        with pytest.raises(ConfigError, match=r"length is 4096.*--max-model-len.*reasoning_tokens, now 4000"):
            ask(ledger, client, requests)
        assert oracle.n_requests <= 24
    with Oracle() as oracle, Ledger(tmp_path, "a", "sae", 0, 9) as ledger:  # started anew with more context
        given = ask(ledger, client_of(oracle.base_url, None), requests)
    assert {each.status for each in given.values()} == {"ok"}


def test_an_endpoint_that_has_answered_a_request_may_refuse_any_number_of_its_kind():
    def brain(body):
        return "Yes" if last_message(body) == "question 9" else Reply(fault="status", status=400, message="no")

    with Oracle(brain) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=1)
        given = answers_of(client, [question(number) for number in range(60)])
        assert Counter(each.status for each in given) == {"ok": 1, "http_error": 59}
        with pytest.raises(ConfigError, match=r"\(fuzzing\)"):
            answers_of(client, [question(number, purpose="fuzzing") for number in range(60, 90)])


def test_a_key_that_is_not_set_is_refused_at_once(monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ConfigError, match="'SOME_KEY' is not set"):
        client_of(None, "SOME_KEY")


def test_a_wrong_key_stops_the_run_and_says_which_variable(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "wrong")
    with Oracle(key=KEY) as oracle, pytest.raises(ConfigError, match="'SOME_KEY'"):
        answers_of(client_of(oracle.base_url, "SOME_KEY"), [question(number) for number in range(20)])
    with Oracle(key=KEY) as oracle, pytest.raises(ConfigError, match="api_key_env"):
        answer(oracle)


def test_an_unknown_model_stops_the_run_and_says_so():
    with Oracle(models=("model",)) as oracle:
        assert answer(oracle).status == "ok"
        with pytest.raises(ConfigError, match="no model 'other'"):
            answer(oracle, question(model="other"))
        with pytest.raises(ConfigError, match="it serves; nearest: 'model'"):
            answer(oracle, question(model="other"))


def test_a_404_about_a_model_that_is_served_gives_the_servers_reason():
    said = "No endpoints found matching your data policy. Configure: https://openrouter.ai/settings/privacy"
    refused = Reply(fault="status", status=404, message=said)
    with (
        Oracle(lambda body: refused, models=("model",)) as oracle,
        pytest.raises(ConfigError, match="matching your data policy") as raised,
    ):
        answer(oracle)
    assert "has no model" not in str(raised.value)
    with Oracle(lambda body: refused) as oracle, pytest.raises(ConfigError, match=r"data policy.*base_url"):
        answer(oracle)


def test_a_403_that_names_a_parameter_is_no_bad_key():
    said = "You are not allowed to request logprobs from this model"
    with Oracle(lambda body: Reply(fault="status", status=403, message=said)) as oracle:
        assert answer(oracle, question(choices=CHOICES)).error == f"HTTP 403: {said}"
        assert (
            answer(oracle, question(choices=CHOICES)).status == "http_error"
        )  # the next run's probe may learn it
    no_access = Reply(fault="status", status=403, message="no access")
    with (
        Oracle(lambda body: no_access, probed=lambda body: no_access) as oracle,
        pytest.raises(ConfigError, match="refuses the API key"),
    ):
        answer(oracle)


@pytest.mark.parametrize("said", ["json_schema is not allowed for this key", "You may not request a schema"])
def test_a_403_of_a_probe_that_names_the_schema_costs_the_schema_alone(said):
    def probed(body):
        return Reply(fault="status", status=403, message=said) if "response_format" in body else "Yes"

    with Oracle(probed=probed) as oracle:
        given = answer(oracle, question(schema={"type": "object"}))
        assert "response_format" not in oracle.requests[0]
    assert given.status == "ok"


BLOCKED = Reply(fault="status", status=403, message="Sorry, you have been blocked (rule 949110)")


@pytest.mark.parametrize("blocked", [0, 30])
def test_a_text_that_a_firewall_blocks_is_that_rows_refusal(tmp_path, blocked):
    requests = [question(n) for n in range(50)]
    with Oracle(lambda body: BLOCKED if last_message(body) == f"question {blocked}" else "Yes") as oracle:
        for _ in range(2):
            with Ledger(tmp_path, "a", "s", 0, 9) as ledger:
                given = ask(ledger, client_of(oracle.base_url, None, max_concurrent=4), requests)
        assert oracle.n_requests == 50
    assert Counter(each.status for each in given.values()) == {"ok": 49, "refused": 1}
    refused = given[requests[blocked].request_id]
    assert "949110" in refused.error and (refused.prompt_tokens, refused.completion_tokens) == (
        0,
        0,
    )  # not charged


def test_many_blocked_texts_in_a_row_stop_nothing_while_a_probe_is_let_in():
    with Oracle(lambda body: "Yes" if last_message(body) == "question 0" else BLOCKED) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=1)
        given = answers_of(client, [question(n) for n in range(61)])
        assert len(oracle.probes) == 1 + 3
    assert Counter(each.status for each in given) == {"ok": 1, "refused": 60}


def test_a_firewall_that_blocks_everything_stops_the_run_and_leaves_nothing_final(tmp_path):
    requests = [question(n) for n in range(100)]
    probed = in_turn("Yes", BLOCKED)
    with (
        Oracle(in_turn(*["Yes"] * 5, BLOCKED), probed=probed) as oracle,
        Ledger(tmp_path, "a", "s", 0, 9) as ledger,
    ):
        with pytest.raises(ConfigError, match=r"no longer lets model .model. be asked .*been blocked"):
            ask(ledger, client_of(oracle.base_url, None, max_concurrent=4), requests)
        assert 25 <= oracle.n_requests < 50  # those beside the probe
        assert sum(ledger.replay(each) is not None for each in requests) == 5


@pytest.mark.parametrize(("status", "code"), [(402, None), (429, "insufficient_quota")])
def test_an_account_without_credit_stops_the_run(status, code):
    with Oracle(lambda body: Reply(fault="status", status=status, code=code)) as oracle:
        with pytest.raises(ConfigError, match="no credit left"):
            answer(oracle)
        assert oracle.n_requests == 1


def test_the_key_is_sent_and_never_told(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_KEY", KEY)
    with Oracle(key=KEY) as oracle:
        client = client_of(oracle.base_url, "SOME_KEY")
        assert [each.status for each in answers_of(client, [question()])] == ["ok"]
        assert set(oracle.keys) == {KEY}
    with Oracle(lambda body: Reply(fault="status", status=400, message=f"bad key {KEY}")) as oracle:
        [given] = answers_of(client_of(oracle.base_url, "SOME_KEY"), [question()])
    assert given.error == "HTTP 400: bad key ***"
    with Oracle(key="another") as oracle, pytest.raises(ConfigError) as raised:
        answers_of(client_of(oracle.base_url, "SOME_KEY"), [question()])
    told = "".join(traceback.format_exception(raised.value))
    assert raised.value.__context__ is None
    assert KEY not in told + caplog.text + repr(given) + repr(client)


def test_a_local_server_never_sees_what_the_environment_holds_for_openai(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    with Oracle() as oracle:
        answer(oracle)
        with pytest.raises(ConfigError):
            oracle.models = ("another",)
            answer(oracle)  # which lists the models
        assert "/v1/models" in oracle.paths
        assert KEY not in json.dumps(oracle.heads)
        of_openai = {"authorization", "openai-organization", "openai-project"}
        assert not any(of_openai & head.keys() for head in oracle.heads)


# Choices -----------------------------------------------------------------------------------------------


def test_probabilities_are_read_from_the_first_token():
    with Oracle(lambda body: Reply("No", confidence=0.8)) as oracle:
        given = answer(oracle, question(choices=CHOICES, max_tokens=1))
        assert oracle.requests[0]["logprobs"] is True and oracle.requests[0]["top_logprobs"] == 20
    assert given.text == "No"
    assert given.probabilities == pytest.approx({"Yes": 0.2, "No": 0.8})


def test_spellings_of_a_choice_add_up_and_other_tokens_do_not_count():
    first = {"Yes": 0.2, " yes": 0.1, "YES": 0.1, "No": 0.1, "Nope": 0.2, "The": 0.3}
    with Oracle(lambda body: Reply("Yes", first_tokens=first)) as oracle:
        given = answer(oracle, question(choices=CHOICES, max_tokens=1))
    assert given.probabilities == pytest.approx({"Yes": 0.8, "No": 0.2})


def test_choices_that_are_improbable_together_have_no_probabilities_and_the_mass_is_recorded():
    first = {"Yes": 0.002, "No": 0.003, "The": 0.9}
    with Oracle(lambda body: Reply("The", first_tokens=first)) as oracle:
        given = answer(oracle, question(choices=CHOICES))
    assert (given.status, given.probabilities, given.choice_mass) == ("ok", None, pytest.approx(0.005))
    with Oracle(lambda body: Reply("The", first_tokens={**first, "Yes": 0.008})) as oracle:
        given = answer(oracle, question(choices=CHOICES))
    assert given.probabilities == pytest.approx({"Yes": 8 / 11, "No": 3 / 11})
    assert given.choice_mass == pytest.approx(0.011)


def test_a_token_counts_for_the_one_choice_that_it_begins():
    spellings = ["Yes", " yes", "YES", "y", "Ye", "\u0120yes", '"Yes"', "\u2581No", "n", "'no"]
    expected = ["Yes"] * 7 + ["No"] * 3 + [None] * 5
    spellings += ["", " ", '"', "Yesterday", "Maybe"]
    assert [choice_of(each, CHOICES) for each in spellings] == expected
    assert choice_of("N", ("No", "Never")) is None
    assert choice_of("acti", ("activates strongly", "is silent")) == "activates strongly"
    assert choice_probabilities(choice_masses([("Maybe", -0.1), ("The", -3.0)], CHOICES)) is None
    assert choice_probabilities(choice_masses([("Yes", -0.1), ("No", -math.inf)], CHOICES)) == {"Yes": 1, "No": 0}


def test_logprobs_that_a_server_ignores_are_not_made_up():
    with Oracle(lambda body: Reply("Yes", fault="no_logprobs")) as oracle:
        given = answer(oracle, question(choices=CHOICES))
    assert (given.status, given.text, given.probabilities) == ("ok", "Yes", None)
    with Oracle(lambda body: Reply("Yes", first_tokens={"Yes": 0.7})) as oracle:
        assert answer(oracle, question(choices=CHOICES)).probabilities is None


def test_a_request_that_is_refused_for_another_reason_does_not_cost_the_others_their_logprobs():
    def brain(body):
        if last_message(body) == "question 0":
            return Reply(fault="status", status=400, message="context too long")
        return "Yes"

    with Oracle(brain) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=1)
        requests = [question(number, choices=CHOICES) for number in range(2)]
        given = {each.request_id: each for each in answers_of(client, requests)}
    assert given[requests[0].request_id].status == "too_long"
    assert given[requests[1].request_id].probabilities is not None


def test_an_empty_text_with_probabilities_is_an_answer():
    with Oracle(lambda body: Reply("Yes", fault="empty")) as oracle:
        given = answer(oracle, question(choices=CHOICES))
    assert (given.status, given.text) == ("ok", "")
    assert given.probabilities == pytest.approx({"Yes": 0.9, "No": 0.1})
