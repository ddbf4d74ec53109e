"""What a server can do is found out by a tiny request, and nothing else is asked for."""

import json
import threading
from dataclasses import replace

import pytest

from llm import answers_of, client_of
from llm.oracle import Oracle, Reply
from pipeline.config import EndpointConfig
from pipeline.config.asking import ChatEndpointConfig, ScorerEndpointConfig
from pipeline.llm import Ledger, Message, Request, ask
from pipeline.llm.server import endpoint, pacing
from pipeline.llm.server.client import OpenAIClient
from pipeline.llm.server.endpoint import Endpoint, open_endpoint

CHOICES = ("Yes", "No")
SCHEMA = {"type": "array", "items": {"type": "integer"}}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(pacing, "FIRST_WAIT_SECONDS", 0.01)


def question(number=0, **changes):
    return replace(Request("detection", "sae", 3, "model", (Message("user", f"question {number}"),), 5), **changes)


def answer(oracle, *requests):
    return answers_of(client_of(oracle.base_url, None, max_concurrent=2), requests)


def refusing(**words):
    """A server that answers 400 to a request with one of these parameters, and says so in these words."""

    def brain(body):
        for name, message in words.items():
            if name in body:
                return Reply(fault="status", status=400, message=message)
        return '{"answer": "Yes"}' if "response_format" in body else "Yes"

    return brain


def test_a_form_of_request_is_tried_once_with_a_tiny_request():
    with Oracle() as oracle:
        client = client_of(oracle.base_url, None)
        answers_of(client, [question(n, choices=CHOICES) for n in range(5)])
        answers_of(client, [question(n, choices=CHOICES) for n in range(5, 9)])
        [probe] = oracle.probes
        assert (probe["max_tokens"], probe["logprobs"], probe["top_logprobs"]) == (1, True, 20)
        assert "127.0.0.1" in probe["messages"][0]["content"]
        answers_of(client, [question()])
        assert len(oracle.probes) == 2 and "logprobs" not in oracle.probes[1]


def test_what_was_found_out_holds_for_every_ledger_and_role_of_a_process(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "_opened", threading.local())
    with Oracle() as oracle:
        for number, kind in enumerate([ChatEndpointConfig, ChatEndpointConfig, ScorerEndpointConfig]):
            with Ledger(tmp_path, "predictions", "sae", number, number) as ledger:
                client = OpenAIClient(open_endpoint(kind(base_url=oracle.base_url)), ledger)
                ask(ledger, client, [question(number, choices=CHOICES)])
        assert (len(oracle.probes), oracle.n_requests) == (1, 3)
        other = open_endpoint(ChatEndpointConfig(base_url=oracle.base_url, max_concurrent=1))
        assert other is not open_endpoint(ChatEndpointConfig(base_url=oracle.base_url))


def test_a_probe_without_an_answer_is_sent_again_by_the_next_client():
    failing = Reply(fault="status", status=400, message="no")
    with Oracle(probed=lambda body: failing) as oracle:
        own = Endpoint(EndpointConfig(base_url=oracle.base_url))
        answers_of(OpenAIClient(own), [question(choices=CHOICES)])
        n_probes, oracle.probed = len(oracle.probes), lambda body: "Yes"
        answers_of(OpenAIClient(own), [question(choices=CHOICES)])
        answers_of(OpenAIClient(own), [question(choices=CHOICES)])
        assert len(oracle.probes) == n_probes + 1


def test_a_server_that_refuses_logprobs_is_not_asked_for_them():
    with Oracle(probed=refusing(logprobs="bad parameter")) as oracle:
        [first, second] = answer(oracle, question(0, choices=CHOICES), question(1, choices=CHOICES))
        assert [body.get("top_logprobs") for body in oracle.probes] == [20, 5, None]
        assert not any("logprobs" in body for body in oracle.requests)
    assert (first.status, first.probabilities, first.attempts, second.attempts) == ("ok", None, 1, 1)


def test_a_server_that_ignores_logprobs_is_not_asked_for_them():
    with Oracle(probed=lambda body: Reply("Yes", fault="no_logprobs")) as oracle:
        [given] = answer(oracle, question(choices=CHOICES))
        assert "logprobs" not in oracle.requests[0]
    assert given.probabilities is None
    with Oracle(probed=lambda body: Reply("Yes", first_tokens={"Yes": 0.9})) as oracle:  # one is none
        answer(oracle, question(choices=CHOICES))
        assert "logprobs" not in oracle.requests[0]


def test_a_server_that_gives_only_five_alternatives_is_asked_for_five():
    def probed(body):
        few = body.get("top_logprobs", 0) <= 5
        return "Yes" if few else Reply(fault="status", status=400, message="top_logprobs must be at most 5")

    with Oracle(probed=probed) as oracle:
        [given] = answer(oracle, question(choices=CHOICES))
        assert oracle.requests[0]["top_logprobs"] == 5
    assert given.probabilities is not None


def test_reasoning_models_get_their_own_names_and_no_temperature():
    words = {
        "max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        "temperature": "Unsupported value: 'temperature' does not support 0 with this model.",
        "stop": "Unsupported parameter: 'stop' is not supported with this model.",
    }
    with Oracle(probed=refusing(**words)) as oracle:
        [given] = answer(oracle, question(stop=("\n",)))
        [body] = oracle.requests
    assert body == {"model": "model", "messages": body["messages"], "max_completion_tokens": 5}
    assert (given.status, given.attempts) == ("ok", 1)


def test_a_schema_is_sent_where_the_server_keeps_to_it():
    with Oracle() as oracle:
        answer(oracle, question(schema=SCHEMA))
        [probe], [body] = oracle.probes, oracle.requests
    assert "JSON" not in probe["messages"][0]["content"]
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("said", ["Yes", "[1]", '{"answer": 1}', '{"answer": "Perhaps"}', "{"])
def test_a_server_that_ignores_a_schema_is_not_sent_one(said):
    with Oracle(probed=lambda body: said) as oracle:
        answer(oracle, question(schema=SCHEMA))
        assert "response_format" in oracle.probes[0]
        assert "response_format" not in oracle.requests[0]


def test_a_server_that_refuses_schemas_is_not_sent_one():
    with Oracle(probed=refusing(response_format="unknown field response_format")) as oracle:
        answer(oracle, question(schema=SCHEMA))
        assert "response_format" not in oracle.requests[0]


def test_a_server_that_refuses_schemas_with_http_500_is_not_sent_one():
    def probed(body):  # as llama-cpp-python 0.3.36 does
        refused = Reply(fault="status", status=500, message="Unsupported response_format type: json_schema")
        return refused if "response_format" in body else "Yes"

    with Oracle(probed=probed) as oracle:
        client = client_of(oracle.base_url, None, max_attempts=2)
        [given] = answers_of(client, [question(schema=SCHEMA)])
        assert "response_format" not in oracle.requests[0]
    assert given.status == "ok"


def test_a_probe_that_fails_for_another_reason_leaves_the_question_to_the_requests():
    with Oracle(probed=lambda body: Reply(fault="status", status=500)) as oracle:
        [given] = answers_of(client_of(oracle.base_url, None, max_attempts=2), [question(choices=CHOICES)])
        assert len(oracle.probes) == 2
        assert oracle.requests[0]["top_logprobs"] == 20
    assert given.probabilities is not None


def reasoning_model(body):
    """As OpenAI's: it names what it refuses, one thing at a time, and thinks longer than a probe lets it."""
    words = {
        "max_tokens": (400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        "temperature": (400, "Unsupported value: 'temperature' does not support 0 with this model."),
        "logprobs": (403, "You are not allowed to request logprobs from this model."),
        "reasoning_effort": (400, "Unsupported value: 'reasoning_effort' does not support 'low'."),
    }
    for name, (status, message) in words.items():
        if name in body:
            return Reply(fault="status", status=status, message=message)
    return Reply(fault="only_thought") if body["max_completion_tokens"] < 100 else "Yes"


def test_what_the_probe_learned_holds_though_its_own_answer_was_all_reasoning():
    with Oracle(reasoning_model, probed=reasoning_model) as oracle:
        room = {"choices": CHOICES, "reasoning_tokens": 200, "reasoning_effort": "low"}
        given = answer(oracle, question(0, **room), question(1, **room))
        assert [set(body) for body in oracle.requests] == [{"model", "messages", "max_completion_tokens"}] * 2
        assert len(oracle.probes) == 4
    assert [each.status for each in given] == ["ok", "ok"]


def test_what_the_probe_learned_by_name_holds_though_it_failed_in_the_end():
    def probed(body):
        refused = reasoning_model(body)
        failed = Reply(fault="status", status=500, message="overloaded")
        return refused if getattr(refused, "fault", None) == "status" else failed

    with Oracle(probed=probed) as oracle:
        client = client_of(oracle.base_url, None, max_attempts=2)
        answers_of(client, [question(choices=CHOICES)])
        assert set(oracle.requests[0]) == {"model", "messages", "max_completion_tokens"}


def test_what_the_probe_only_guessed_is_forgotten_when_it_failed_in_the_end():
    with Oracle(probed=lambda body: Reply(fault="status", status=400, message="no")) as oracle:
        answer(oracle, question(choices=CHOICES))
        assert len(oracle.probes) == 4
        assert oracle.requests[0]["top_logprobs"] == 20 and "temperature" in oracle.requests[0]


@pytest.mark.parametrize(("status", "said"), [
    (400, "System role not supported"),  # vLLM with Gemma 2
    (400, "Conversation roles must alternate user/assistant/user/assistant/..."),  # vLLM with Mistral 7B
    (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),  # Google
    (500, "Jinja Exception: System role not supported"),  # llama.cpp
    (400, "bad request"),
])  # fmt: skip
def test_a_model_without_a_system_role_gets_what_the_system_message_says_in_the_users_turn(status, said):
    def brain(body):
        has_system = any(each["role"] == "system" for each in body["messages"])
        return Reply(fault="status", status=status, message=said) if has_system else "Yes"

    turns = ("system", "Answer."), ("user", "2 + 2?"), ("assistant", "4"), ("user", "1 + 1?")
    with Oracle(brain, probed=brain) as oracle:
        client = client_of(oracle.base_url, None, max_concurrent=1, max_attempts=1)
        chat = tuple(Message(role, content) for role, content in turns)
        given = answers_of(client, [question(messages=chat, draw=draw) for draw in range(3)])
        sent = {json.dumps(body["messages"]) for body in oracle.requests}
    assert [each.status for each in given] == ["ok"] * 3
    [only] = map(json.loads, sent)
    assert [(each["role"], each["content"]) for each in only] == [("user", "Answer.\n\n2 + 2?"), *turns[2:]]


def test_a_model_that_is_seen_to_think_is_sent_no_stop():
    with Oracle(probed=lambda body: Reply(fault="only_thought")) as oracle:
        answer(oracle, question(stop=("\n",)))
        assert "stop" in oracle.probes[0] and "stop" not in oracle.requests[0]


REASONED = "Okay, a host and a path.\nThat is an address.\n</think>\n\nYes"
"""As DeepSeek-R1 answers a probe: its template opens the reasoning, so that only the end of it shows a tag."""


def reasoning_without_a_tag(body):
    """The answer to a probe as far as the tokens reach."""
    text = REASONED.split("\n")[0] if "stop" in body else REASONED
    return Reply(text) if body["max_tokens"] > 64 else Reply("Okay, a host", finish_reason="length")


def test_a_model_whose_template_opens_its_reasoning_is_sent_no_stop(tmp_path):
    whole = "Okay, what do these share?\nRivers.\n</think>\n\n[EXPLANATION]: names of rivers"

    def brain(body):
        return whole.split("\n")[0] if "stop" in body else whole

    with Oracle(brain, probed=reasoning_without_a_tag) as oracle, Ledger(tmp_path, "a", "sae", 0, 9) as ledger:
        client = client_of(oracle.base_url, None, ledger=ledger)
        given = ask(ledger, client, [question(n, stop=("\n",), max_tokens=100) for n in range(9)])
        assert not any("stop" in body for body in oracle.requests)
        assert [body["max_tokens"] for body in oracle.probes] == [64, 500]
        ask(ledger, client, [question(n, max_tokens=100) for n in range(9, 12)])  # another form, the same model
        assert len(oracle.probes) == 3
    assert {(each.status, each.text) for each in given.values()} == {("ok", whole)}
    assert (tmp_path / "a" / "sae" / "0-9.jsonl").read_text().count('"purpose":"probe"') == 3


def test_reasoning_that_does_not_end_in_the_probe_is_reasoning():
    unfinished = Reply("Okay, the user wants to know", finish_reason="length")
    with Oracle(probed=lambda body: unfinished) as oracle:
        answer(oracle, question(stop=("\n",)))
        assert "stop" not in oracle.requests[0]


def test_a_model_that_only_talks_keeps_its_stop_and_logprobs():
    talk = Reply("That depends on what you call an address.", first_tokens={"That": 0.9, "Yes": 0.02, "No": 0.01})
    with Oracle(probed=lambda body: talk) as oracle:
        answer(oracle, question(stop=("\n",)), question(choices=CHOICES))
        assert len(oracle.probes) == 3
        assert {"stop", "logprobs"} <= {name for body in oracle.requests for name in body}


def test_a_request_with_room_for_reasoning_needs_no_probe_with_room():
    with Oracle(probed=reasoning_without_a_tag) as oracle:
        answer(oracle, question(stop=("\n",), reasoning_tokens=1000))
        assert len(oracle.probes) == 1


def test_every_probe_is_in_the_ledger_and_a_run_that_asks_nothing_sends_none(tmp_path):
    with Oracle(probed=refusing(logprobs="logprobs are not supported")) as oracle:
        for _ in range(2):
            with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
                client = client_of(oracle.base_url, None, ledger=ledger)
                ask(ledger, client, [question(n, choices=CHOICES) for n in range(3)])
        assert (len(oracle.probes), oracle.n_requests) == (3, 3)
    lines = (tmp_path / "predictions" / "sae" / "0-9.jsonl").read_text().splitlines()
    probes = [record for record in map(json.loads, lines) if record["purpose"] == "probe"]
    assert [record["status"] for record in probes] == ["http_error", "http_error", "ok"]
    assert len({record["request_id"] for record in probes}) == 3
    assert all(record["prompt_tokens"] for record in probes[2:])
