"""When a run stops: where an endpoint's failures say that no other request can succeed either.

What the user has to change (key, credit, model name, address, room to think) raises ConfigError; what was
answered is kept in the ledger.
"""

from collections import Counter
from collections.abc import Sequence

from pipeline.errors import ConfigError, nearest
from pipeline.llm.requests import Answer, Request
from pipeline.llm.server.capabilities import names_parameter
from pipeline.llm.server.reading import Failure
from pipeline.llm.server.redaction import Redaction, short

_UNANSWERED_AT_MOST = 20
"""Requests for one purpose that an endpoint may fail before it has answered any."""
_ONLY_THOUGHT_AT_MOST = 5
"""In a row."""


class Stopping:
    """Counts what fails in a row at one endpoint, over all requests, and says when that is enough."""

    def __init__(self, url: str, api_key_env: str | None, max_attempts: int, redaction: Redaction) -> None:
        self._url = url
        self._api_key_env = api_key_env
        self._max_attempts = max_attempts
        self._redaction = redaction
        self._n_unconnected = 0
        """Attempts in a row for which there was no connection."""
        self._n_only_thought = 0
        """Answers in a row that hold no text because thinking took all tokens."""
        self._n_unanswered: Counter[str] = Counter()
        """By purpose, the requests that failed for good before one was answered."""
        self._answered: set[str] = set()
        """The purposes for which a request was answered. A probe, which is small, says nothing about others."""

    def has_answered(self, request: Request) -> bool:
        """Whether the endpoint has answered any request for the purpose of this one."""
        return request.purpose in self._answered

    def count_connection(self, failure: Failure | None) -> None:
        """Count an attempt for which there was no connection; another one ends the row."""
        self._n_unconnected = 0 if failure is None or failure.connected else self._n_unconnected + 1

    def if_hopeless(self, failure: Failure, request: Request, attempts: int, served: Sequence[str]) -> None:
        """Raise ConfigError where no other request can succeed; `served` are the models that it lists."""
        if 300 <= (failure.http_status or 0) < 400:
            raise ConfigError(
                f"{self._url}: {short(self._redaction(failure.error))}; set base_url to the address that "
                "answers: a redirect is not followed, as it would carry the key along"
            )
        if failure.http_status == 401 or (failure.http_status == 403 and not names_parameter(failure.error)):
            cure = (
                f"put a valid key into environment variable '{self._api_key_env}'"
                if self._api_key_env
                else "name the environment variable that holds its key (api_key_env)"
            )
            raise ConfigError(
                f"{self._url} refuses the API key for model '{request.model}' "
                f"({short(self._redaction(failure.error))}); {cure}"
            )
        if failure.is_out_of_credit:
            raise ConfigError(
                f"{self._url} says that the account has no credit left ({short(self._redaction(failure.error))}); "
                "add some and run again: what was answered is kept"
            )
        if failure.http_status == 404:
            said = short(self._redaction(failure.error))
            if request.model in served:  # OpenRouter: no provider of it that the account's settings allow
                problem, cure = f"did not let model '{request.model}' answer", "change what it names"
            elif served:
                problem = f"has no model '{request.model}'"
                cure = f"set the model to a name that it serves; nearest: {nearest(request.model, served)}"
            else:
                problem = f"has no model '{request.model}', or is not the address of an API"
                cure = "correct the model's name or base_url, which usually ends in /v1"
            raise ConfigError(f"{self._url} {problem} ({said}); {cure}, and run again")
        if attempts >= self._max_attempts <= self._n_unconnected:
            raise ConfigError(
                f"{short(self._redaction(failure.error))}, {self._n_unconnected} times in a row; start the "
                "server or correct base_url, and run again: what was answered is kept"
            )

    def if_none_is_answered(self, outcome: Answer | Failure, request: Request) -> None:
        """Raise ConfigError where the first requests for a purpose all failed: not because of what one holds."""
        if isinstance(outcome, Answer):
            self._answered.add(request.purpose)
        if request.purpose in self._answered or isinstance(outcome, Answer):
            return
        self._n_unanswered[request.purpose] += 1
        if (n := self._n_unanswered[request.purpose]) >= _UNANSWERED_AT_MOST:
            cure = "check base_url (it usually ends in /v1), the model's name and the request settings"
            if outcome.is_too_long:
                cure = (
                    "let the server read more (vLLM: --max-model-len; llama.cpp: --ctx-size), or ask for less "
                    f"(reasoning_tokens, now {request.reasoning_tokens}; n_examples; questions_per_prompt)"
                )
            raise ConfigError(
                f"{self._url} answered none of the first {n} requests ({request.purpose}) for model "
                f"'{request.model}' ({short(self._redaction(outcome.error))}); {cure}, and run again"
            )

    def if_only_thought(self, outcome: Answer | Failure, request: Request) -> None:
        """Raise ConfigError where one answer after another is paid for and holds no text, only thoughts."""
        if isinstance(outcome, Answer):
            has_no_text = outcome.status == "truncated" and not (outcome.text or "").strip()
            self._n_only_thought = self._n_only_thought + 1 if has_no_text else 0
        if self._n_only_thought >= _ONLY_THOUGHT_AT_MOST:
            raise ConfigError(
                f"model '{request.model}' at {self._url} spent its tokens ({request.most_tokens} at most) on "
                f"reasoning and wrote no answer, {self._n_only_thought} times in a row; allow it "
                f"more (reasoning_tokens, now {request.reasoning_tokens}, in the section explaining or scoring) "
                "or let it think less (reasoning_effort), and run again: what was answered is kept"
            )
