"""A key is taken out of what servers say, however they say it."""

import base64
import json
import urllib.parse

import pytest

from llm import client_of
from llm.oracle import Oracle, Reply
from pipeline.llm import Answer, Ledger, Message, Request, ask
from pipeline.llm.server.redaction import Redaction, short

KEY = 'sk-proj-aB3dE5+gH7/jK9"mN1pQ3sT5vW7yZ9'
ENCODINGS = {
    "plain": str,
    "json": json.dumps,
    "json_twice": lambda key: json.dumps(json.dumps(key)),
    "url": lambda key: urllib.parse.quote(key, safe=""),
    "hex": lambda key: key.encode().hex(),
    **{
        f"base64_{n}": lambda key, n=n: base64.b64encode(b"Bearer: "[: 6 + n] + key.encode() + b'"}').decode()
        for n in range(3)
    },
    "base64_url": lambda key: base64.urlsafe_b64encode(f"user:{key}".encode()).decode(),
    "cut_off": lambda key: key[:-12],
    "begun_late": lambda key: key[9:],
}


def longest_common_run(text, secret):
    return max(
        (end - start for start in range(len(secret)) for end in range(start, len(secret) + 1)
         if secret[start:end] in text), default=0,
    )  # fmt: skip


def decoded(text):
    """What stands in a text once it is decoded, whichever way."""
    yield text
    for way in (json.loads, urllib.parse.unquote, bytes.fromhex, base64.b64decode, base64.urlsafe_b64decode):
        for word in text.split():
            try:
                said = way(word)
            except ValueError:
                continue
            yield said.decode("latin-1") if isinstance(said, bytes) else str(said)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_long_run_of_the_key_survives(encoding):
    said = f"Authorization: Bearer {ENCODINGS[encoding](KEY)} was refused"
    cleaned = Redaction(KEY)(said)
    assert cleaned.startswith("Authorization: Bearer ") and cleaned.endswith(" was refused") and "***" in cleaned
    assert max(longest_common_run(each, KEY) for each in decoded(cleaned)) < 11


def test_a_text_without_the_key_is_left_alone():
    for text in ("", "the token sk- stops here", "Bearer of news", "a" * 5000):
        assert Redaction(KEY)(text) == text
        assert Redaction(None)(text) == text
    assert Redaction("none")("none of it") == "none of it"  # a dummy is no secret


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_server_that_echoes_the_key_gets_it_into_no_answer_and_no_ledger(encoding, monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_KEY", KEY)
    echo = f"Authorization: Bearer {ENCODINGS[encoding](KEY)}"
    refused, failed = Reply(fault="status", status=400, message=echo), Reply(fault="error_inside", message=echo)
    is_whole = encoding not in {"json_twice", "cut_off", "begun_late"}
    replies = [refused, failed, *[Reply(echo)] * is_whole]
    requests = [Request("p", "s", 0, "model", (Message("user", str(n)),), 5) for n in range(len(replies))]
    with (
        Oracle(lambda body: replies[int(body["messages"][0]["content"])]) as oracle,
        Ledger(tmp_path, "predictions", "s", 0, 0) as ledger,
    ):
        client = client_of(oracle.base_url, "SOME_KEY", max_attempts=1, ledger=ledger)
        answers = ask(ledger, client, requests)
    written = (tmp_path / "predictions" / "s" / "0-0.jsonl").read_text()
    for text in (repr(answers), written):
        assert text.count("***") >= len(replies)
        assert longest_common_run(text, KEY) < 11 and longest_common_run(text, ENCODINGS[encoding](KEY)) < 22


@pytest.mark.parametrize(("key", "text"), [
    ("placeholder", "a placeholder in a template"),
    ("sk-no-key-required", "sk-no-key-required, the dummy of llama.cpp"),
    (KEY, "prefixes of keys: sk-proj-, sk-ant-"),
    (KEY, f"what begins {KEY[:12]}"),
])  # fmt: skip
def test_what_a_model_wrote_is_left_alone_unless_it_is_the_whole_secret(key, text):
    answer = Answer("id", "ok", text, resolved_model=f"model of {key}", error=f"bad key {key[:-2]}")
    cleaned = Redaction(key).answer(answer)
    assert (cleaned.text, cleaned.resolved_model, cleaned.error) == (text, "model of ***", "bad key ***")


def test_what_a_server_says_cannot_command_a_terminal():
    assert short("a\x1b[2J\x07b\n\u202ec é") == "a\\x1b[2J\\x07b \\u202ec é"
