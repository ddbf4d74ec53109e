"""The benchmarks' oracle server counts tokens, and those that a prefix cache would hold."""

import json
import sys
import urllib.request
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pipeline.config import LAKE_VARIABLE
from pipeline.errors import LakeError
from pipeline.llm.oracle.brain import Oracle, Truth

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks.borrowed import borrowed_lake
from benchmarks.oracle import CACHE_BLOCK_TOKENS, OracleServer

SYSTEM = "You judge whether texts contain what an explanation describes. " * 4


def ask(server, explanation):
    """The usage that the server tells of a question about an explanation, and the prompt."""
    texts = "\n".join(f"{number}\tthe cat {number}" for number in range(1, 10))
    prompt = f"Explanation: {explanation}\n\n{texts}\n\nJSON object for texts 1 to 9:"
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    sent = urllib.request.Request(
        f"{server.base_url}/chat/completions",
        json.dumps({"model": "oracle", "messages": messages}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(sent) as response:
        answer = json.load(response)
    assert json.loads(answer["choices"][0]["message"]["content"]).keys() == {str(n) for n in range(1, 10)}
    return answer["usage"], prompt


def test_tokens_of_a_prompt_that_began_an_earlier_one_are_cached_in_whole_blocks(tiny_subject):
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    with OracleServer(Oracle(Truth({}, {}, {})), tokenizer) as server:
        (first, prompt), (second, _), (third, _) = (ask(server, words) for words in ("one", "one", "another"))
    n = len(tokenizer(f"{SYSTEM}\n{prompt}\n").input_ids)
    assert first["prompt_tokens"] == second["prompt_tokens"] == n
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in (first, second, third)]
    n_system = len(tokenizer(f"{SYSTEM}\nExplanation: ").input_ids)
    assert cached[0] == 0 and cached[1] == (n - 1) // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS
    assert n_system - 2 * CACHE_BLOCK_TOKENS < cached[2] <= n_system


def test_without_a_demo_the_benchmarks_say_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setenv(LAKE_VARIABLE, str(tmp_path))
    with pytest.raises(LakeError, match="make demo"), borrowed_lake(1):
        pass
    assert not list(tmp_path.iterdir())
