"""The benchmarks' oracle: it reads what a prompt says, errs as often as it is told to, and counts tokens."""

import json
import sys
import urllib.request
from pathlib import Path

import pytest
from tiny import ANIMAL, STOP
from transformers import AutoTokenizer

from pipeline.asking.windows import Vocabulary
from pipeline.config import LAKE_VARIABLE, ExplainingConfig, ScoringConfig
from pipeline.errors import LakeError
from pipeline.explainers.base import Shown
from pipeline.explainers.default import explain_request
from pipeline.scorers.yes_no.answers import parse_many
from pipeline.scorers.yes_no.requests import Question, score_request

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks.borrowed import borrowed_lake
from benchmarks.oracle import CACHE_BLOCK_TOKENS, Oracle, Truth, alike

N = 400
VOCABULARY = Vocabulary([b" stop", b" cat", *(f" w{number}".encode() for number in range(N))])
QUESTIONS = [
    Question(f"q{number}", f"x{number}", None, number % 2 == 0, [number % 2, 2 + number]) for number in range(N)
]
TRUTH = Truth(
    labels={(STOP, VOCABULARY.render(each.token_ids)): each.label for each in QUESTIONS},
    shown={"stopw1": frozenset({STOP}), "catw1": frozenset({ANIMAL})},
    words={STOP: f'feature {STOP}, " stop"', ANIMAL: f'feature {ANIMAL}, " cat"'},
    n_ambiguous=0,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_subject):
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    return tokenizer


def ask(oracle, request):
    """The completion of a request over HTTP."""
    body = {"model": "oracle", "messages": [message._asdict() for message in request.messages]}
    sent = urllib.request.Request(
        f"{oracle.base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(sent) as response:
        return json.load(response)


def said(oracle, questions, words=TRUTH.words[STOP], per_prompt=50):
    request = score_request(
        ScoringConfig(questions_per_prompt=per_prompt), "sae", STOP, "detection", words, questions, VOCABULARY
    )
    return ask(oracle, request)["choices"][0]["message"]["content"]


def test_it_is_right_without_errors_one_or_many_a_prompt(tokenizer):
    with Oracle(TRUTH, tokenizer, {STOP: 0.0}) as oracle:
        some = QUESTIONS[:30]
        assert parse_many(said(oracle, some), 30) == [each.label for each in some]
        assert [said(oracle, [each], per_prompt=1) for each in some[:2]] == ["Yes", "No"]


def test_it_errs_as_often_as_it_is_told_to_and_the_same_way_each_time(tokenizer):
    with Oracle(TRUTH, tokenizer, {STOP: 0.3}) as oracle:
        many = [parse_many(said(oracle, QUESTIONS[first : first + 50]), 50) for first in range(0, N, 50)]
        again = [parse_many(said(oracle, QUESTIONS[first : first + 10]), 10) for first in range(0, N, 10)]
    flat = [each for some in many for each in some]
    assert flat == [each for some in again for each in some]
    wrong = [answer != each.label for answer, each in zip(flat, QUESTIONS, strict=True)]
    for label in (True, False):
        share = [error for error, each in zip(wrong, QUESTIONS, strict=True) if each.label is label]
        assert sum(share) / len(share) == pytest.approx(0.3, abs=0.1)


def test_it_fails_as_often_as_it_is_told_to(tokenizer):
    with Oracle(TRUTH, tokenizer, {STOP: 0.0}, failure_rate=0.02) as oracle:
        read = [parse_many(said(oracle, QUESTIONS[first : first + 20]), 20) for first in range(N - 20)]
    assert sum(each is None for each in read) / len(read) == pytest.approx(1 - 0.98**20, abs=0.1)


def test_it_explains_the_feature_whose_windows_it_is_shown(tokenizer):
    with Oracle(TRUTH, tokenizer, {STOP: 0.0}) as oracle:
        for token_id, feature in ((0, STOP), (1, ANIMAL)):
            request = explain_request(
                ExplainingConfig(), "sae", 0, [Shown("x", [token_id, 3], [1.0, 0.0])], VOCABULARY
            )
            text = ask(oracle, request)["choices"][0]["message"]["content"]
            assert text == f"[EXPLANATION]: {TRUTH.words[feature]}"


def test_without_an_explanation_one_text_tells_nothing_and_several_are_told_apart_by_likeness(tokenizer):
    with Oracle(TRUTH, tokenizer, {STOP: 0.0}) as oracle:
        assert {said(oracle, [each], "", 1) for each in QUESTIONS[:6]} == {"No"}
    texts = ["a<< cat>> b", "c<< dog>> d", "e<< cat>> f", "g<< cow>> h"]
    assert alike(texts) == [True, False, True, False]


def test_tokens_of_a_prompt_that_began_an_earlier_one_are_cached_in_whole_blocks(tokenizer):
    with Oracle(TRUTH, tokenizer, {STOP: 0.0}) as oracle:
        request = score_request(
            ScoringConfig(questions_per_prompt=50), "sae", STOP, "detection", TRUTH.words[STOP], QUESTIONS[:9],
            VOCABULARY,
        )
        first, second = (ask(oracle, request)["usage"] for _ in range(2))
        other = score_request(
            ScoringConfig(questions_per_prompt=50), "sae", STOP, "detection", "another", QUESTIONS[:9], VOCABULARY
        )
        third = ask(oracle, other)["usage"]
    n = len(tokenizer("\n".join([*(message.content for message in request.messages), ""])).input_ids)
    assert first["prompt_tokens"] == second["prompt_tokens"] == n
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in (first, second, third)]
    n_system = len(tokenizer(request.messages[0].content + "\nExplanation: ").input_ids)
    assert cached[0] == 0 and cached[1] == (n - 1) // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS
    assert n_system - 2 * CACHE_BLOCK_TOKENS < cached[2] <= n_system


def test_without_a_demo_the_benchmarks_say_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv(LAKE_VARIABLE, str(tmp_path))
    with pytest.raises(LakeError, match="make demo"), borrowed_lake(1):
        pass
    assert not list(tmp_path.iterdir())
