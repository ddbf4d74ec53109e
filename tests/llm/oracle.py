"""A local HTTP server that speaks chat completions, with a scripted brain: a real endpoint for tests.

The brain is a function from the request's JSON to what the model says: a text, or a `Reply` with a fault.

    with Oracle(lambda body: "Yes" if "stop" in last_message(body) else "No") as oracle:
        client = client_of(oracle.base_url, api_key_env=None)

Logprobs are given when asked for: a one-word answer has `confidence` at the first token, split with the
other words of `alternatives`. `oracle.requests` holds the bodies that came in, `oracle.max_in_flight` how
many were being answered at once. Probes, by which the client finds out what a server can do, are counted apart
in `oracle.probes` and answered by `probed`: by default as a server does that can do everything.
"""

import json
import math
import re
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

Fault = Literal[
    "refuse",  # message.refusal is set, no content
    "filter",  # finish_reason content_filter
    "truncate",  # finish_reason length
    "empty",  # content ""
    "garble",  # HTTP 200, a body that breaks off
    "raw",  # HTTP 200, the text as it is, which is no completion
    "not_an_object",  # HTTP 200, JSON of another shape
    "error_inside",  # HTTP 200 with an error in it (OpenRouter)
    "finish_error",  # finish_reason error after some text, no other word
    "error_in_choice",  # finish_reason error and the error's words in the choice (OpenRouter)
    "error_beside",  # a whole answer, and an error beside its choices
    "only_thought",  # no text: all tokens went into reasoning
    "no_logprobs",  # ignores logprobs (transformers serve)
    "drop",  # closes the connection without an answer
    "break_off",  # closes it in the middle of the body
    "status",  # the HTTP status of `status`, with `message`
]


@dataclass(frozen=True)
class Reply:
    """What the model says, and what goes wrong on the way."""

    text: str = "Yes"
    fault: Fault | None = None
    status: int = 500
    message: str = "something went wrong"
    code: str | None = None
    retry_after: str | None = None
    location: str | None = None
    finish_reason: str = "stop"
    delay_seconds: float = 0.0
    confidence: float = 0.9
    alternatives: tuple[str, ...] = ("Yes", "No")
    first_tokens: dict[str, float] | None = None  # the first token's probabilities, instead of confidence


Brain = Callable[[dict[str, Any]], "str | Reply"]


def last_message(body: dict[str, Any]) -> str:
    """The content of a request's last message: the question."""
    return body["messages"][-1]["content"]


def is_probe(body: dict[str, Any]) -> bool:
    """Whether a request only finds out what the server can do."""
    return any(each["content"].endswith(" an address? Answer Yes or No.") for each in body["messages"])


def in_turn(*replies: "str | Reply") -> Brain:
    """A brain that gives these replies one after the other, and the last one from then on."""
    left, lock = list(replies), threading.Lock()

    def brain(body: dict[str, Any]) -> "str | Reply":
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return brain


@dataclass
class Oracle:
    """The server; a context manager. With `key` only that key is let in; with `models` only those are known.

    With `tls` it speaks https, with the certificate of that context. With `tells_all` logprobs are those of every
    token of an answer, else of the first alone. `blank` says what may stand in a blank of a prompt, by its line;
    with `splits_ten` the model's tokenizer writes 10 as two tokens. With `embeds` it serves embeddings as well, of
    which that makes the JSON, or a fault; `embedded` does.
    """

    brain: Brain = lambda body: "Yes"
    key: str | None = None
    models: tuple[str, ...] | None = None
    tls: ssl.SSLContext | None = None
    probed: Brain = lambda body: '{"answer": "Yes"}' if "response_format" in body else "Yes"
    requests: list[dict[str, Any]] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)  # the headers of all that came, names in lower case
    paths: list[str] = field(default_factory=list)
    tells_all: bool = False
    blank: Callable[[str], dict[str, float]] | None = None
    splits_ten: bool = False
    embeds: "Callable[[dict[str, Any]], dict[str, Any] | Reply] | None" = None
    max_in_flight: int = 0
    in_flight: int = 0
    handler: ClassVar[type["Handler"]]

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (self.handler,), {"oracle": self}))
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def n_requests(self) -> int:
        return len(self.requests)

    def reply(self, body: dict[str, Any], key: str) -> "Reply":
        """The reply to a request, which is counted."""
        with self._lock:
            (self.probes if "messages" in body and is_probe(body) else self.requests).append(body)
            self.keys.append(key)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.key is not None and key != self.key:
                return Reply(fault="status", status=401, message=f"Incorrect API key provided: {key}")
            if self.models is not None and body["model"] not in self.models:
                return Reply(fault="status", status=404, message=f"no model {body['model']}")
            if "input" in body and self.embeds:
                said = self.embeds(body)
                return said if isinstance(said, Reply) else Reply(json.dumps(said))
            said = (self.probed if is_probe(body) else self.brain)(body)
            reply = Reply(said) if isinstance(said, str) else said
            time.sleep(reply.delay_seconds)
            return reply
        finally:
            with self._lock:
                self.in_flight -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the default of 5, connections opened at once wait a second

    def handle_error(self, *_: object) -> None:
        """Nothing on stderr: a client that was killed resets its connections."""


class Handler(BaseHTTPRequestHandler):
    oracle: Oracle
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        self.note()
        embeds = self.oracle.embeds and urlsplit(self.path).path.endswith("/embeddings")
        if not embeds and not urlsplit(self.path).path.endswith("/chat/completions"):
            return self.send(404, {"error": {"message": f"no such path {self.path}"}})
        body = json.loads(data)
        reply = self.oracle.reply(body, self.headers.get("authorization", "").removeprefix("Bearer "))
        match reply.fault:
            case "drop":
                self.close_connection = True
                return None
            case "break_off":
                self.send(200, completion(body, reply), promised=10)
                self.close_connection = True
                return None
            case "status":
                headers = {"Retry-After": reply.retry_after, "Location": reply.location}
                error = {"message": reply.message, "type": "invalid_request_error", "code": reply.code}
                return self.send(reply.status, {"error": error}, {k: v for k, v in headers.items() if v})
            case "garble":
                return self.send(200, json.dumps(completion(body, reply))[:-20])
            case "raw":
                return self.send(200, reply.text)
            case "not_an_object":
                return self.send(200, ["Yes"])
            case "error_inside":
                return self.send(200, {"error": {"message": reply.message, "code": 502}})
        if embeds:
            return self.send(200, reply.text)
        content = completion(body, reply)
        if self.oracle.tells_all and body.get("logprobs"):
            content["choices"][0]["logprobs"] = _all_logprobs(body, reply)
        if self.oracle.blank and "prompt_logprobs" in body:
            content["prompt_logprobs"] = _prompt_logprobs(body, self.oracle.blank, self.oracle.splits_ten)
        return self.send(200, content)

    def note(self) -> None:
        self.oracle.paths.append(self.path)
        self.oracle.heads.append({name.lower(): value for name, value in self.headers.items()})

    def do_GET(self) -> None:
        self.note()
        if self.path == "/v1/models" and self.oracle.models:
            return self.send(200, {"object": "list", "data": [{"id": name} for name in self.oracle.models]})
        return self.send(404, {"error": {"message": f"no such path {self.path}"}})

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None, promised: int = 0) -> None:
        """Send a response whose head promises so many bytes more than come."""
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data) + promised))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the client did not wait
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


Oracle.handler = Handler


def embedded(body: dict[str, Any], width: int = 8) -> dict[str, Any]:
    """The JSON of embeddings: a vector of each text's words, by hash, so that texts of like words are alike."""
    listed = []
    for place, text in enumerate(body["input"]):
        vector = [0.01] * width
        for word in text.split():
            vector[zlib.crc32(word.encode()) % width] += 1.0
        listed.append({"object": "embedding", "index": place, "embedding": vector})
    n_tokens = sum(len(text.split()) for text in body["input"])
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    return {"object": "list", "data": listed, "model": f"{body['model']}-2026", "usage": usage}


def completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """The JSON of an answer, with token counts by words."""
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    finish_reason = reply.finish_reason
    match reply.fault:
        case "refuse":
            message |= {"content": None, "refusal": "I cannot help with that."}
        case "filter":
            finish_reason = "content_filter"
        case "truncate":
            finish_reason = "length"
        case "empty" | "only_thought":
            message["content"] = ""
        case "finish_error" | "error_in_choice":
            finish_reason = "error"
    wants_logprobs = body.get("logprobs") and reply.fault != "no_logprobs"
    prompt_tokens = sum(len(each["content"].split()) for each in body["messages"])
    content: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": f"{body['model']}-2026",
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": finish_reason,
                "logprobs": _logprobs(body, reply) if wants_logprobs else None,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(reply.text.split()),
            "total_tokens": prompt_tokens + len(reply.text.split()),
            "prompt_tokens_details": {"cached_tokens": prompt_tokens // 2},
        },
    }
    error = {"message": reply.message, "code": reply.status}
    match reply.fault:
        case "error_in_choice":
            content["choices"][0]["error"] = error
        case "error_beside":
            content["error"] = error
        case "only_thought":
            n_tokens = body.get("max_completion_tokens") or body["max_tokens"]
            content["usage"] |= {
                "completion_tokens": n_tokens,
                "completion_tokens_details": {"reasoning_tokens": n_tokens},
            }
    return content


def _logprobs(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    first = (reply.text.split() or [""])[0]
    others = [word for word in reply.alternatives if word != first]
    probabilities = reply.first_tokens or {
        first: reply.confidence,
        **{word: (1 - reply.confidence) / len(others) for word in others},
    }
    listed = sorted(probabilities.items(), key=lambda pair: -pair[1])[: body.get("top_logprobs", 0)]
    entries = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in listed]
    return {"content": [{**entries[0], "top_logprobs": entries}]}


def _all_logprobs(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """Those of every token; a word of an answer has `confidence`, and its opposite the rest."""
    opposites = {"true": "false", "false": "true", "Yes": "No", "No": "Yes"}
    content = []
    for token in re.findall(r" ?\w+|\W", reply.text):
        word = token.strip()
        told = {token: 1.0}
        if word in opposites:
            told = {token: reply.confidence, token.replace(word, opposites[word]): 1 - reply.confidence}
        listed = [{"token": each, "logprob": math.log(p), "bytes": None} for each, p in told.items()]
        content.append({**listed[0], "top_logprobs": listed[: body["top_logprobs"]]})
    return {"content": content}


def _prompt_logprobs(
    body: dict[str, Any], blank: Callable[[str], dict[str, float]], splits_ten: bool
) -> list[dict[str, Any] | None]:
    """As vLLM tells them: by token id, the prompt's own token first."""
    text = "\n".join(each["content"] for each in body["messages"])
    if splits_ten:
        text = text.replace("10", "1\x000")
    told: list[dict[str, Any] | None] = [None]
    for token in re.findall(r"\t|\n|\x00|[^\t\n\x00]+", text):
        probabilities = {token: 0.5}
        if token == "unknown":
            line = "".join(next(iter(each.values()))["decoded_token"] for each in told if each).split("\n")[-1]
            probabilities |= blank(line.removesuffix("\t"))
        if token != "\x00":
            told.append(
                {
                    str(rank): {"logprob": math.log(p), "rank": rank, "decoded_token": each}
                    for rank, (each, p) in enumerate(probabilities.items(), start=1)
                }
            )
    return told
