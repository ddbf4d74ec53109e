"""The oracle as a local chat server that counts tokens, and the tokens that a prefix cache would hold.

It is not a language model, and results obtained with it say nothing about one (`pipeline.llm.oracle`). Tokens are
counted as a server does: each control token that the chat template writes is one token.
"""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from transformers import PreTrainedTokenizerBase

from pipeline.llm import Message
from pipeline.llm.local.chats import encode_chats
from pipeline.llm.oracle.brain import Oracle

CACHE_BLOCK_TOKENS = 16
"""The beginning of a prompt counts as cached in whole blocks of this many tokens (vLLM's default block size)."""


@dataclass
class OracleServer:
    """The server; a context manager.

    Args:
        oracle: The oracle that answers.
        tokenizer: Counts tokens, with its chat template.
    """

    oracle: Oracle
    tokenizer: PreTrainedTokenizerBase
    _blocks: set[bytes] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._mutex = threading.Lock()
        handler = type("Handler", (_Handler,), {"served": self})
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
        """The server's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def completion(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a chat completion, with its token counts."""
        text = self.oracle.answer(body["messages"][-1]["content"])
        with self._mutex:  # fast tokenizers are not thread-safe
            n_prompt, n_cached = self._count([Message(**each) for each in body["messages"]])
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

    def _count(self, messages: Sequence[Message]) -> tuple[int, int]:
        """Tokens in a prompt, and those at its beginning that an earlier prompt shares, in whole blocks."""
        [ids] = encode_chats(self.tokenizer, [messages])
        n_cached = 0
        seen, digest = True, hashlib.sha256()
        # As in vLLM, the last token is always computed.
        for end in range(CACHE_BLOCK_TOKENS, len(ids), CACHE_BLOCK_TOKENS):
            digest.update(repr(ids[end - CACHE_BLOCK_TOKENS : end]).encode())
            block = digest.digest()
            seen = seen and block in self._blocks
            n_cached += CACHE_BLOCK_TOKENS * seen
            self._blocks.add(block)
        return len(ids), n_cached


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the default of 5, simultaneous connections wait a second


class _Handler(BaseHTTPRequestHandler):
    served: OracleServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer a chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        data = json.dumps(self.served.completion(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing to stderr."""
