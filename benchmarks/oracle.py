"""An oracle: a chat server on this machine that knows where features fire, and errs as often as it is told to.

It is no language model, and what is measured with it says nothing about one. It reads each prompt as it was
sent: to the explainer's it answers with the feature whose windows it was shown, to a scorer's with what is true of
each numbered text for the feature that the explanation names. Without an explanation it does what a scorer still
can: it calls those texts alike that share their words. What the prompt does not say it does not know.
"""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from transformers import PreTrainedTokenizerBase

from pipeline.asking.windows import load_vocabulary
from pipeline.lake import Lake

CACHE_BLOCK_TOKENS = 16
"""A prompt's beginning counts as cached in whole blocks of this many tokens (vLLM's default block size)."""

_EXAMPLE = re.compile(r"^Example \d+: (.*)$", re.MULTILINE)
_QUESTION = re.compile(r"\AExplanation: (.*?)\n\n(.*)\Z", re.DOTALL)
_TEXT = re.compile(r"^(?:Text:|\d+\.) (.*)$", re.MULTILINE)
_NAMED = re.compile(r"\bfeature (\d+)\b")
_MARKED = re.compile(r"<<\s*(.*?)\s*>>")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Truth:
    """What the oracle knows of an SAE's features.

    Attributes:
        labels: By (feature, text as a prompt shows it): the feature fires in it, or just its marks are right.
        shown: By text without marks, the features for which it is a train example.
        words: By feature, what the oracle calls it; holds `feature <number>`.
        n_ambiguous: Texts of one feature with two answers (equal windows in different contexts), told as no.
    """

    labels: Mapping[tuple[int, str], bool]
    shown: Mapping[str, frozenset[int]]
    words: Mapping[int, str]
    n_ambiguous: int


def read_truth(lake: Lake, sae: str, batch: int) -> Truth:
    """The truth about a batch's examples and fuzzing pairs."""
    vocabulary = load_vocabulary(lake)
    with lake.connect(sae, batch) as connection:
        windows = connection.sql("select feature, example_id, role, kind, token_ids from examples").fetchall()
        pairs = connection.sql("select feature, example_id, partner_id, marked from fuzzing_pairs").fetchall()
        tokens = connection.sql(
            "select feature, list_transform(top_tokens, lambda t: t.text) from feature_stats "
            "where feature in (select feature from examples)"
        ).fetchall()
    found: dict[tuple[int, str], set[bool]] = {}
    shown: dict[str, set[int]] = {}
    token_ids = {}
    for feature, example_id, role, kind, ids in windows:
        token_ids[example_id] = ids
        text = vocabulary.render(ids)
        if role == "train":
            shown.setdefault(_plain(text), set()).add(feature)
        else:
            found.setdefault((feature, text), set()).add(kind == "activating")
    for feature, right_id, wrong_id, marked in pairs:
        for example_id, is_right in ((right_id, True), (wrong_id, False)):
            if wrong_id is not None:
                text = vocabulary.render(token_ids[example_id], marked)
                found.setdefault((feature, text), set()).add(is_right)
    return Truth(
        labels={key: labels == {True} for key, labels in found.items()},
        shown={text: frozenset(features) for text, features in shown.items()},
        words={feature: _words(feature, texts) for feature, texts in tokens},
        n_ambiguous=sum(len(labels) > 1 for labels in found.values()),
    )


@dataclass
class Oracle:
    """The server; a context manager.

    Args:
        truth: What it knows.
        tokenizer: By which it counts tokens, with the tokenizer's chat template.
        error_rates: By feature, the share of questions that it answers wrongly, by hash; of either answer alike.
        failure_rate: The chance that it leaves a question of a prompt of several out, by hash.
    """

    truth: Truth
    tokenizer: PreTrainedTokenizerBase
    error_rates: Mapping[int, float]
    failure_rate: float = 0.0
    prompt_tokens: int = 0
    _blocks: set[bytes] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._mutex = threading.Lock()
        handler = type("Handler", (_Handler,), {"oracle": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def completion(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a chat completion, with its token counts."""
        text = self.answer(body["messages"])
        with self._mutex:  # fast tokenizers are not for several threads at once
            n_prompt, n_cached = self._count(body["messages"])
            n_completion = len(self.tokenizer(text, add_special_tokens=False).input_ids)
        return {
            "model": body["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": n_prompt,
                "completion_tokens": n_completion,
                "prompt_tokens_details": {"cached_tokens": n_cached},
            },
        }

    def answer(self, messages: Sequence[Mapping[str, str]]) -> str:
        """What it says to a chat."""
        prompt = messages[-1]["content"]
        asked = _QUESTION.match(prompt)
        if not asked:
            features = Counter(
                feature
                for text in _EXAMPLE.findall(prompt)
                for feature in self.truth.shown.get(_plain(text), frozenset())
            )
            [(feature, _)] = features.most_common(1) or [(-1, 0)]
            return f"[EXPLANATION]: {self.truth.words.get(feature, 'nothing that I know')}"
        explanation, texts = asked[1], _TEXT.findall(asked[2])
        said = self._judge(explanation, texts)
        if "Answer Yes or No" in messages[0]["content"]:
            return "Yes" if said[0] else "No"
        kept = {
            str(number): each
            for number, each in enumerate(said, start=1)
            if _chance(prompt, str(number), "failure") >= self.failure_rate
        }
        return json.dumps(kept)

    def _judge(self, explanation: str, texts: Sequence[str]) -> list[bool]:
        named = _NAMED.search(explanation)
        if named is None:
            return alike(texts)
        feature = int(named[1])
        rate = self.error_rates[feature]
        return [
            self.truth.labels.get((feature, text), False) != (_chance(str(feature), text, "error") < rate)
            for text in texts
        ]

    def _count(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, int]:
        """Tokens of a prompt, and those at its beginning that an earlier prompt began with, in whole blocks."""
        chat = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
        )
        ids = self.tokenizer(str(chat), add_special_tokens=False).input_ids
        n_cached = 0
        seen, digest = True, hashlib.sha256()
        # As in vLLM the last token is always computed.
        for end in range(CACHE_BLOCK_TOKENS, len(ids), CACHE_BLOCK_TOKENS):
            digest.update(repr(ids[end - CACHE_BLOCK_TOKENS : end]).encode())
            block = digest.digest()
            seen = seen and block in self._blocks
            n_cached += CACHE_BLOCK_TOKENS * seen
            self._blocks.add(block)
        return len(ids), n_cached


def alike(texts: Sequence[str]) -> list[bool]:
    """Which texts a scorer without an explanation takes for the feature's: those that share words with others.

    Each text weighs the words that stand in other texts of the prompt too (only marked ones, where there are
    marks), rare words of English and of the prompt more; the heavier half is told as yes. One text alone is no.
    """
    marked = any("<<" in text for text in texts)
    words = [set(_MARKED.findall(text) if marked else _WORD.findall(text)) for text in texts]
    n_texts = Counter(word for each in words for word in each)
    weights = [
        max(((n_texts[word] - 1) * (1 - n_texts[word] / len(texts)) for word in each), default=0.0)
        for each in words
    ]
    cut = sorted(weights)[len(weights) // 2]
    return [weight >= cut and weight > 0 for weight in weights]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the default of 5, connections opened at once wait a second


class _Handler(BaseHTTPRequestHandler):
    oracle: Oracle
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer a chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        data = json.dumps(self.oracle.completion(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


def _plain(text: str) -> str:
    """A text without its marks, and without the spaces that keep marks apart from it."""
    return re.sub(r"<<|>>|\s", "", text)


def _words(feature: int, tokens: Sequence[str] | None) -> str:
    """A feature's explanation: its first tokens, on one line, as long as a sentence."""
    listed = ", ".join(json.dumps(token, ensure_ascii=True) for token in (tokens or ())[:5])
    return f"feature {feature}, which fires on tokens such as {listed} where the context calls for it"


def _chance(*parts: str) -> float:
    """A number from 0 to 1 by hash."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
