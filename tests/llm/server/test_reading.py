"""What servers write that others do not: read from the JSON of a response, without a server."""

import json
import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import pytest

from pipeline.llm import Answer, Message, Request
from pipeline.llm.server.embeddings import EmbeddingsClient
from pipeline.llm.server.logprobs import first_token
from pipeline.llm.server.reading import (
    Failure,
    Response,
    is_cut_thought,
    json_of,
    read,
    shows_thinking,
    usage_of,
)

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


def test_a_server_that_counts_no_token_of_a_prompt_does_not_count():
    assert usage_of({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}).prompt_tokens is None


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


# Streams ------------------------------------------------------------------------------------------------


def stream(*events, end="\n\n"):
    """Server-sent events, as OpenRouter sends them: with a comment first and a word at the end."""
    data = [event if isinstance(event, str) else json.dumps(event) for event in events]
    lines = "".join(f"data: {each}{end}" for each in [*data, "[DONE]"])
    return f": PROCESSING{end}{lines}".encode(errors="replace")


def piece(text, finish_reason=None, index=0, **choice):
    own = {"index": index, "delta": {"content": text}, "finish_reason": finish_reason, **choice}
    return {"model": "m", "choices": [own]}


USED = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
def test_a_stream_that_nobody_asked_for_is_read_as_one_answer(end):
    told = [{"token": token, "logprob": math.log(share)} for token, share in (("Ye", 0.6), ("No", 0.2))]
    first = piece("Ye", logprobs={"content": [{**told[0], "top_logprobs": told}]})
    content = json_of(stream(first, piece("No", "stop", index=1), piece("s"), piece("", "stop"), USED, end=end))
    answer = read(replace(QUESTION, choices=("Yes", "No")), Response(200, {}, b""), content)
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish_reason, answer.resolved_model) == ("Yes", "stop", "m")
    assert answer.probabilities == pytest.approx({"Yes": 0.75, "No": 0.25})
    assert usage_of(content)[:3] == (3, None, 2)


def test_thoughts_in_a_stream_are_none_of_the_answer():
    thought = {"choices": [{"delta": {"reasoning_content": "hm, "}}]}
    content = json_of(stream(thought, thought, piece("Yes", "stop")))
    assert shows_thinking(content) and content["choices"][0]["message"]["reasoning_content"] == "hm, hm, "
    answer = read(QUESTION, Response(200, {}, b""), content)
    assert isinstance(answer, Answer) and answer.text == "Yes"


@pytest.mark.parametrize("body, words", [
    (stream(piece("Ye")), "not JSON"),  # it broke off
    (stream(piece("Ye"), "{torn", piece("s", "stop")), "not JSON"),
    (stream(piece("Ye"), {"error": {"message": "gone", "code": 502}}), "gone"),
    (stream(piece("Ye", "error", error={"message": "lost", "code": 502})), "lost"),
    (b"data: hello", "not JSON"),
])  # fmt: skip
def test_a_stream_without_an_end_is_a_failure_that_passes(body, words):
    failure = read(QUESTION, Response(200, {}, body), json_of(body))
    assert isinstance(failure, Failure) and failure.passes and words in failure.error


# Whatever comes -----------------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, 0, -1, math.inf, -math.inf, math.nan, 10**400, "", "x", "9" * 5000, "\ud800", [], [None], [[]],
    [1], ["a"], {}, {"message": 5}, {"code": []}, {"code": {}}, {"code": "429", "message": {"a": 1}},
    [{"type": "text", "text": None}], [{"type": "thinking", "thinking": [{}]}],
]  # fmt: skip
COMPLETION = {
    "model": "m", "error": None, "usage": {
        "prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "choices": [{
        "index": 0, "error": None, "finish_reason": "stop", "message": {"content": "Yes", "refusal": None},
        "logprobs": {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": [
            {"token": "Yes", "logprob": -0.1, "bytes": [89]}, {"token": "No", "logprob": -9999.0, "bytes": None},
        ]}]},
    }],
    "prompt_logprobs": [None, {"1": {"decoded_token": "a", "logprob": -1.0}}],
}  # fmt: skip
EVENTS = [piece("Y", logprobs=COMPLETION["choices"][0]["logprobs"]), piece("es", "stop"), USED]
EMBEDDINGS = {"data": [{"index": 0, "embedding": [0.1, 0.2]}, {"index": 1, "embedding": [1, 2]}], "model": "m"}


def places(content: Any) -> Iterator[tuple[Any, ...]]:
    """The places of all values in some JSON."""
    yield ()
    keys = content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield from ((key, *place) for place in places(content[key]))


def variants(content: Any) -> Iterator[Any]:
    """Some JSON with each odd value in each of its places."""
    for *above, last in filter(None, places(content)):
        for value in ODD:
            other = deepcopy(content)
            parent = other
            for key in above:
                parent = parent[key]
            parent[last] = value
            yield other


def check(outcome: Answer | Failure) -> None:
    json.dumps(asdict(outcome), allow_nan=False, ensure_ascii=False).encode()  # as the ledger keeps it


@pytest.mark.parametrize("changes", [
    {}, {"choices": ("Yes", "No")}, {"choices": ("true", "false"), "keys": ("1", "2")},
    {"choices": ("1", "2"), "blank": "\tunknown"},
], ids=["text", "choice", "keys", "blank"])  # fmt: skip
def test_whatever_a_server_writes_is_an_answer_or_a_failure(changes):
    question = replace(QUESTION, **changes)
    for content in variants(COMPLETION):
        for status in (200, 400, 429):
            outcome = read(question, Response(status, {}, b""), content)
            check(outcome)
            usage_of(content), shows_thinking(content)
            if isinstance(outcome, Answer):
                is_cut_thought(outcome, content)


def test_whatever_events_a_server_streams_is_an_answer_or_a_failure():
    for events in variants(EVENTS):
        body = stream(*events)
        check(read(QUESTION, Response(200, {}, body), json_of(body)))


def test_whatever_embeddings_a_server_gives_is_an_answer_or_a_failure():
    question = replace(QUESTION, messages=(Message("user", "a"), Message("user", "b")))
    for content in variants(EMBEDDINGS):
        check(EmbeddingsClient.read(question, Response(200, {}, b""), content))
