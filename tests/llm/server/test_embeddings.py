"""The client of OpenAI-style embeddings, against a server that does what servers do wrong."""

import json
from typing import Any

import numpy as np
import pytest

from llm import answers_of
from llm.oracle import Oracle, Reply, embedded
from pipeline.config import EndpointConfig
from pipeline.errors import ConfigError
from pipeline.llm import Ledger, ask
from pipeline.llm.ledger.budget import Budget, Limits
from pipeline.llm.ledger.prices import Price, Prices
from pipeline.llm.ledger.spent import Spent
from pipeline.llm.server import pacing
from pipeline.llm.server.embeddings import EmbeddingsClient
from pipeline.llm.server.endpoint import Endpoint
from pipeline.llm.vectors import embedding_request, packed, unpacked

KEY = "sk-secret-0123456789"
TEXTS = [f"text {number} of the fox" for number in range(70)]
REQUESTS = [embedding_request("sae", number, "small", text) for number, text in enumerate(TEXTS)]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(pacing, "FIRST_WAIT_SECONDS", 0.01)


def client_of(oracle, **changes):
    settings = {"api_key_env": None, "max_concurrent": 4, "timeout_seconds": 20, "max_attempts": 3, **changes}
    return EmbeddingsClient(Endpoint(EndpointConfig(base_url=oracle.base_url, **settings)))


def vectors_of(oracle, requests=REQUESTS, **changes):
    """The answers by request_id."""
    return {answer.request_id: answer for answer in answers_of(client_of(oracle, **changes), requests)}


def is_direction(answer, text):
    [told] = embedded({"model": "", "input": [text]})["data"]
    expected = np.array(told["embedding"]) / np.linalg.norm(told["embedding"])
    return np.allclose(unpacked(answer.text), expected, atol=1e-3)


def test_what_a_call_took_from_a_cache_is_shared_out_among_its_texts(tmp_path):
    def embeds(body):
        used = {"prompt_tokens": 320, "prompt_tokens_details": {"cached_tokens": 161}}
        return {**embedded(body), "usage": used}

    prices = Prices({"small": Price(prompt=1_000_000, cached=100_000, completion=0)})
    with Oracle(embeds=embeds) as oracle, Ledger(tmp_path, "embeddings", "sae", 0, 99, prices) as ledger:
        answers = ask(ledger, client_of(oracle), REQUESTS[:32]).values()
    assert sum(answer.cached_tokens for answer in answers) == 161
    lines = (tmp_path / "embeddings" / "sae" / "0-99.jsonl").read_text().splitlines()
    costs = [json.loads(line)["cost_usd"] for line in lines]
    assert sum(costs) == pytest.approx(159 + 16.1) and min(costs) > 0


def test_a_vector_survives_as_text_in_two_bytes_a_number_and_keeps_its_cosines():
    draw = np.random.default_rng(0)
    one, two = draw.normal(size=(2, 1536))
    cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    assert len(packed(one)) == 4 * 1536 * 2 / 3
    assert unpacked(packed(one)) @ unpacked(packed(two)) == pytest.approx(cosine, abs=1e-3)
    assert unpacked(packed(one)) @ unpacked(packed(one)) == pytest.approx(1, abs=1e-6)
    for none in ([], [0.0, 0.0], [1.0, float("nan")], [[1.0]]):
        with pytest.raises(ValueError, match="direction"):
            packed(none)
    assert unpacked("no vector") is None and unpacked("") is None


def test_texts_go_some_a_call_and_each_has_its_own_vector_and_its_part_of_the_tokens():
    with Oracle(embeds=embedded) as oracle:
        answers = vectors_of(oracle)
    assert sorted(len(body["input"]) for body in oracle.requests) == [6, 32, 32]
    assert set(oracle.paths) == {"/v1/embeddings"}
    for request, text in zip(REQUESTS, TEXTS, strict=True):
        assert is_direction(answers[request.request_id], text)
    assert sum(answer.prompt_tokens for answer in answers.values()) == sum(len(text.split()) for text in TEXTS)
    assert {(answer.status, answer.completion_tokens, answer.resolved_model) for answer in answers.values()} == {
        ("ok", 0, "small-2026")
    }


def test_an_empty_text_is_sent_as_a_space():
    with Oracle(embeds=embedded) as oracle:
        [answer] = answers_of(client_of(oracle), [embedding_request("sae", 0, "small", "")])
    assert oracle.requests[0]["input"] == [" "] and answer.status == "ok"


def test_vectors_in_another_order_are_put_in_the_order_of_the_texts():
    with Oracle(embeds=lambda body: (said := embedded(body)) | {"data": said["data"][::-1]}) as oracle:
        answers = vectors_of(oracle)
    assert all(is_direction(answers[each.request_id], text) for each, text in zip(REQUESTS, TEXTS, strict=True))


def wrong(body: dict[str, Any], fault: str) -> dict[str, Any]:
    """An answer that is wrong wherever there are several texts, or of one text in its vector."""
    said = embedded(body)
    match fault:
        case "one missing" if len(said["data"]) > 1:
            said["data"].pop()
        case "equal numbers":
            for each in said["data"]:
                each["index"] = 0
        case "no number":
            said["data"][0]["embedding"] = ["x"]
    return said


@pytest.mark.parametrize("fault", ["equal numbers", "one missing"])
def test_a_server_that_numbers_several_wrongly_is_asked_one_by_one(fault):
    with Oracle(embeds=lambda body: wrong(body, fault)) as oracle:
        answers = vectors_of(oracle, max_concurrent=1)
    assert all(is_direction(answers[each.request_id], text) for each, text in zip(REQUESTS, TEXTS, strict=True))
    assert [len(body["input"]) for body in oracle.requests[-38:]] == [1] * 38  # the first call alone is split


def test_a_vector_that_is_none_is_a_failure_of_its_text_alone():
    def embeds(body):
        return wrong(body, "no number") if TEXTS[3] in body["input"][0] else embedded(body)

    with Oracle(embeds=embeds) as oracle:
        answers = vectors_of(oracle, [REQUESTS[3]])
    [answer] = answers.values()
    assert (answer.status, answer.text) == ("http_error", None)
    assert answer.error == "the server gave an embedding that is not a vector of numbers"


def test_a_text_that_the_server_refuses_costs_no_other_its_vector():
    def embeds(body):
        too_long = any("text 40 " in text for text in body["input"])
        return Reply(fault="status", status=400, message="too many tokens") if too_long else embedded(body)

    with Oracle(embeds=embeds) as oracle:
        answers = vectors_of(oracle)
    failed = [request_id for request_id, answer in answers.items() if answer.status != "ok"]
    assert failed == [REQUESTS[40].request_id]
    assert answers[failed[0]].error == "HTTP 400: too many tokens"


def test_what_passes_is_tried_again_and_a_key_is_sent_and_written_nowhere(monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    said = iter([Reply(fault="status", status=429, message=f"slow down, {KEY}", retry_after="0.01")])

    with Oracle(embeds=lambda body: next(said, None) or embedded(body), key=KEY) as oracle:
        answers = vectors_of(oracle, REQUESTS[:5], api_key_env="TEST_KEY")
    assert set(oracle.keys) == {KEY} and oracle.n_requests == 2
    assert {(answer.status, answer.attempts) for answer in answers.values()} == {("ok", 2)}

    refuses = lambda body: Reply(fault="status", status=400, message=f"no such thing as {KEY}")  # noqa: E731
    with Oracle(embeds=refuses) as oracle:
        [answer] = vectors_of(oracle, REQUESTS[:1], api_key_env="TEST_KEY").values()
    assert answer.error == "HTTP 400: no such thing as ***"


def test_a_key_that_is_refused_stops_the_run_in_a_sentence(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "another")
    with Oracle(embeds=embedded, key=KEY) as oracle, pytest.raises(ConfigError, match="refuses the API key"):
        vectors_of(oracle, api_key_env="TEST_KEY")


def test_nothing_is_paid_twice_and_the_budget_holds(tmp_path):
    prices = Prices({"small": Price(prompt=1000.0, completion=0)})

    def asked(requests, limits):
        ledger = Ledger(tmp_path / "ledger", "embeddings", "sae", 0, 99, prices)
        budget = Budget(Spent(tmp_path / "ledger", prices, tmp_path / "budget"), limits, prices)
        with ledger, budget:
            return ask(ledger, client_of(oracle), requests, budget=budget)

    with Oracle(embeds=embedded) as oracle:
        first = asked(REQUESTS[:40], Limits(requests=1000))
        again = asked(REQUESTS, Limits(requests=50))
    sent = [text for body in oracle.requests for text in body["input"]]
    assert sorted(sent) == sorted(TEXTS[:50])
    assert {key: answer.text for key, answer in first.items()} == {key: again[key].text for key in first}
    assert [again[each.request_id].status for each in REQUESTS[50:]] == ["budget"] * 20
    written = (tmp_path / "ledger/embeddings/sae/0-99.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in written.splitlines()]
    n_tokens = sum(len(text.split()) for text in TEXTS[:50])
    assert sum(line["cost_usd"] for line in lines) == pytest.approx(n_tokens / 1000)
