"""Stops a run when an endpoint's failures show that no other request can succeed either.

Problems that the user has to fix (key, credit, model name, address, tokens for reasoning) raise ConfigError. The
answers so far are kept in the ledger.
"""

from collections import Counter
from collections.abc import Sequence

from pipeline.errors import ConfigError, nearest
from pipeline.llm.requests import Answer, Request
from pipeline.llm.server.capabilities import names_parameter
from pipeline.llm.server.reading import Failure
from pipeline.llm.server.redaction import Redaction, short

_UNANSWERED_AT_MOST = 20
"""Failed requests for one purpose, before any was answered, that stop the run."""
_ONLY_THOUGHT_AT_MOST = 5
"""In a row."""


class Stopping:
    """Counts consecutive failures at one endpoint, over all requests, and stops the run at too many."""

    def __init__(self, url: str, api_key_env: str | None, max_attempts: int, redaction: Redaction) -> None:
        self._url = url
        self._api_key_env = api_key_env
        self._max_attempts = max_attempts
        self._redaction = redaction
        self._n_unconnected = 0
        """Consecutive attempts without a connection."""
        self._n_only_thought = 0
        """Consecutive answers without text because reasoning took all tokens."""
        self._n_unanswered: Counter[str] = Counter()
        """Requests that failed for good before one was answered, by purpose."""
        self._answered: set[str] = set()
        """Purposes with an answered request. Probes do not count: being small, they may succeed alone."""

    def has_answered(self, request: Request) -> bool:
        """Whether the endpoint has answered any request for the purpose of this one."""
        return request.purpose in self._answered

    def count_connection(self, failure: Failure | None) -> None:
        """Count an attempt without a connection; an attempt with one resets the count."""
        self._n_unconnected = 0 if failure is None or failure.connected else self._n_unconnected + 1

    def if_hopeless(self, failure: Failure, request: Request, attempts: int, served: Sequence[str]) -> None:
        """Raise ConfigError if no other request can succeed; `served` are the models that the endpoint lists."""
        if 300 <= (failure.http_status or 0) < 400:
            raise ConfigError(
                f"{self._url}: {short(self._redaction(failure.error))}; set base_url to the address that "
                "answers: redirects are not followed, because they would send the key elsewhere"
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
                f"{self._url} reports that the account has no credit left "
                f"({short(self._redaction(failure.error))}); add some and run again: the answers so far are kept"
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
                "server or correct base_url, and run again: the answers so far are kept"
            )

    def if_none_is_answered(self, outcome: Answer | Failure, request: Request) -> None:
        """Raise ConfigError if the first requests for a purpose all failed, so that no single one is to blame."""
        if isinstance(outcome, Answer):
            self._answered.add(request.purpose)
        if request.purpose in self._answered or isinstance(outcome, Answer):
            return
        self._n_unanswered[request.purpose] += 1
        if (n := self._n_unanswered[request.purpose]) >= _UNANSWERED_AT_MOST:
            cure = "check base_url (it usually ends in /v1), the model's name and the request settings"
            if outcome.is_too_long:
                cure = (
                    "raise the server's context length (vLLM: --max-model-len; llama.cpp: --ctx-size) or lower "
                    f"(reasoning_tokens, now {request.reasoning_tokens}; n_examples; questions_per_prompt)"
                )
            raise ConfigError(
                f"{self._url} answered none of the first {n} requests ({request.purpose}) for model "
                f"'{request.model}' ({short(self._redaction(outcome.error))}); {cure}, and run again"
            )

    def if_only_thought(self, outcome: Answer | Failure, request: Request) -> None:
        """Raise ConfigError if consecutive answers are paid for and contain reasoning but no text."""
        if isinstance(outcome, Answer):
            has_no_text = outcome.status == "truncated" and not (outcome.text or "").strip()
            self._n_only_thought = self._n_only_thought + 1 if has_no_text else 0
        if self._n_only_thought >= _ONLY_THOUGHT_AT_MOST:
            raise ConfigError(
                f"model '{request.model}' at {self._url} spent its tokens ({request.most_tokens} at most) on "
                f"reasoning and wrote no answer, {self._n_only_thought} times in a row; allow it "
                f"more (reasoning_tokens, now {request.reasoning_tokens}, in the section explaining or scoring) "
                "or less reasoning (reasoning_effort), and run again: the answers so far are kept"
            )
