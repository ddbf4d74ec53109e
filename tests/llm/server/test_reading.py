"""What servers write that others do not: read from the JSON of a response, without a server."""

import json
import math
from dataclasses import replace

import pytest

from pipeline.llm import Answer, Message, Request
from pipeline.llm.server.reading import Failure, Response, first_token, json_of, read, shows_thinking, usage_of

QUESTION = Request("detection", "sae", 3, "model", (Message("user", "?"),), max_tokens=5)


def given(content, status=200, **headers):
    body = json.dumps(content).encode()
    return read(QUESTION, Response(status, headers, body), json_of(body))


def completion(content="Yes", **choice):
    return {"choices": [{"message": {"content": content}, "finish_reason": "stop", **choice}]}


def test_a_text_in_parts_is_read_without_its_thoughts():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Yes?"}]}
    content = completion([thought, {"type": "text", "text": "No"}, {"type": "text", "text": "."}])
    answer = given(content)
    assert isinstance(answer, Answer) and (answer.status, answer.text) == ("ok", "No.")
    assert shows_thinking(content) and not shows_thinking(completion([{"type": "text", "text": "No"}]))
    assert given(completion([thought])).status == "truncated"


@pytest.mark.parametrize("count, read_as", [
    (10, 10), (10.0, 10), ("10", 10), (-10, None), (True, None), (math.nan, None), ([10], None), (10**30, None),
])  # fmt: skip
def test_tokens_are_counted_as_they_are_written_or_not_at_all(count, read_as):
    assert usage_of({"usage": {"prompt_tokens": count}}).prompt_tokens == read_as


@pytest.mark.parametrize("usage, written", [
    ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}, 103),  # xAI: 94 tokens of reasoning
    ({"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 135}, 103),
    ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 32}, 9),
    ({"prompt_tokens": 32, "completion_tokens": 9}, 9),
    ({"completion_tokens": 9, "total_tokens": 135}, 9),
    ({"prompt_tokens": 32, "total_tokens": 32}, 0),
    ({"prompt_tokens": 32}, None),
])  # fmt: skip
def test_reasoning_that_only_the_total_counts_is_counted_as_written(usage, written):
    assert usage_of({"usage": usage}).completion_tokens == written


@pytest.mark.parametrize("logprob, read_as", [
    (-0.5, -0.5), (0.0001, 0.0), (-math.inf, -1e9), (-(10**400), -1e9),
    (0.7, None), (math.nan, None), (True, None), ("-0.5", None), (10**400, None),
])  # fmt: skip
def test_what_is_no_log_probability_is_none(logprob, read_as):
    others = [{"token": "No", "logprob": -3.0}, {"token": "Maybe", "logprob": -4.0}]
    entry = {"token": "Yes", "logprob": logprob, "top_logprobs": others}
    assert dict(first_token(completion(logprobs={"content": [entry]}))).get("Yes") == read_as


def written(*tokens):
    """A token a text, with the log-probabilities of what might stand there: (token, probability), itself first."""
    entries = []
    for token in tokens:
        told = token if isinstance(token, list) else [(token, 0.98), ("?", 0.001)]
        logprobs = [{"token": text, "logprob": math.log(share)} for text, share in told]
        entries.append({**logprobs[0], "top_logprobs": logprobs[1:] and logprobs})
    text = "".join(entry["token"] for entry in entries)
    content = completion(text, logprobs={"content": entries})
    question = replace(QUESTION, choices=("true", "false"), keys=("1", "2"))
    return read(question, Response(200, {}, b""), content).probabilities


@pytest.mark.parametrize("tokens, first", [
    (('{"1": ', [("tr", 0.6), ("fal", 0.2)], "ue"), 0.75),
    (('{"1":', [(' "true', 0.6), (' "false', 0.2)], '"'), 0.75),
    (('{"1": "', [('true",', 0.6), ('false",', 0.2)], " "), None),
    (('{"1', [('":true', 0.6), ('":false', 0.2), ('": ', 0.1)]), 0.75),
    (('{"1":', " ", [("\u0120true", 0.6), ("FALSE", 0.2)]), 0.75),
    (('{"1": ', [("true", 0.5), ('"', 0.3)]), None),  # false may have 0.2
    (('{"1": ', [("true", 0.5), ('"', 0.3), ("\n", 0.01)]), 1.0),  # 0.01 at most
    (('{"1": ', [("true", 0.9)]), None),
    (('<think>{"1": true}</think>{"1": ', [("true", 0.6), ("false", 0.2)]), None),
    (('{"1": ', [("1", 0.6), ("0", 0.2)]), None),
])  # fmt: skip
def test_however_tokens_are_cut_a_probability_is_that_of_its_answer_or_none(tokens, first):
    told = written(*tokens, ', "2": ', [("false", 0.75), ("true", 0.25)], "}")
    assert told is not None and told["2"] == 0.25
    assert told.get("1") == (first if first is None else pytest.approx(first))


@pytest.mark.parametrize("status, content", [
    (402, {}),
    (429, {"error": {"message": "quota", "type": "insufficient_quota", "code": None}}),
    (200, {"error": {"message": "Insufficient credits", "code": 402}}),
    (429, [{"error": {"message": "quota", "code": "insufficient_quota"}}]),
])  # fmt: skip
def test_want_of_credit_is_told_in_many_ways(status, content):
    failure = given(content, status)
    assert isinstance(failure, Failure) and failure.is_out_of_credit
