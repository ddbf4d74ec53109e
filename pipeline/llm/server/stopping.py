"""Stops a run when an endpoint's failures show that no other request can succeed either.

Problems that the user has to fix (key, credit, model name, address, tokens for reasoning) raise ConfigError. The
answers so far are kept in the ledger.
"""

from collections import Counter
from collections.abc import Sequence

from pipeline.config import EndpointConfig
from pipeline.errors import ConfigError, nearest
from pipeline.llm.requests import Answer, Request
from pipeline.llm.server.capabilities import Capabilities, Form
from pipeline.llm.server.reading import Failure
from pipeline.llm.server.redaction import Redaction, short
from pipeline.llm.thinking import OnlyThought, no_room

_UNANSWERED_AT_MOST = 20
"""Failed requests for one purpose, before any was answered, that stop the run."""
_FAILED_AT_MOST = 20
"""Requests in a row that used all their attempts; or as many as may be in flight, if more."""
_FORBIDDEN_AT_MOST = 20
"""Requests in a row that were not let in, after which a probe shows whether any would be."""


class Stopping:
    """Counts consecutive failures at one endpoint, over all requests, and stops the run at too many."""

    def __init__(self, url: str, config: EndpointConfig, redaction: Redaction) -> None:
        self._url = url
        self._api_key_env = config.api_key_env
        self._max_attempts = config.max_attempts
        self._failed_at_most = max(_FAILED_AT_MOST, config.max_concurrent)
        self._redaction = redaction
        self._n_unconnected = 0
        """Consecutive attempts without a connection."""
        self._n_failed = 0
        """Consecutive requests that used all their attempts."""
        self._n_forbidden = 0
        """Consecutive requests that were not let in."""
        self._only_thought = OnlyThought()
        self._let_in: set[str] = set()
        """Models whose probe was answered, so that the key is good for them."""
        self._n_unanswered: Counter[str] = Counter()
        """Requests that failed for good before one was answered, by purpose."""
        self._answered: set[str] = set()
        """Purposes with an answered request. Probes do not count: being small, they may succeed alone."""

    def has_answered(self, request: Request) -> bool:
        """Whether the endpoint has answered any request for the purpose of this one."""
        return request.purpose in self._answered

    def let_in(self, model: str) -> None:
        """Note that a model's probe was answered, so that another HTTP 403 is not about the key."""
        self._let_in.add(model)

    def is_probe_due(self) -> bool:
        """Whether so many requests in a row were not let in that a probe has to show whether any would be.

        They are then counted anew.
        """
        is_due = self._n_forbidden >= _FORBIDDEN_AT_MOST
        self._n_forbidden *= not is_due
        return is_due

    def count_connection(self, failure: Failure | None) -> None:
        """Count an attempt without a connection; an attempt with one resets the count."""
        self._n_unconnected = 0 if failure is None or failure.connected else self._n_unconnected + 1

    def if_hopeless(self, failure: Failure, request: Request, attempts: int, served: Sequence[str]) -> None:
        """Raise ConfigError if no other request can succeed; `served` are the models that the endpoint lists."""
        said = short(self._redaction(failure.error))
        if 300 <= (failure.http_status or 0) < 400:
            raise ConfigError(
                f"{self._url}: {said}; set base_url to the address that answers: redirects are not followed, "
                "because they would send the key elsewhere"
            )
        was_let_in = request.model in self._let_in
        if failure.is_forbidden and was_let_in and request.purpose == "probe":
            raise ConfigError(
                f"{self._url} no longer lets model '{request.model}' be asked ({said}); see whether the key or "
                "this address is blocked, and run again: the answers so far are kept"
            )
        if failure.http_status == 401 or (failure.is_forbidden and not was_let_in):
            cure = (
                f"put a valid key into environment variable '{self._api_key_env}'"
                if self._api_key_env
                else "name the environment variable that holds its key (api_key_env)"
            )
            raise ConfigError(f"{self._url} refuses the API key for model '{request.model}' ({said}); {cure}")
        if failure.is_out_of_credit:
            raise ConfigError(
                f"{self._url} reports that the account has no credit left ({said}); add some and run again: the "
                "answers so far are kept"
            )
        if failure.http_status == 404:
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
                f"{said}, {self._n_unconnected} times in a row; start the server or correct base_url, and run "
                "again: the answers so far are kept"
            )

    def asked_to_wait(self, failure: Failure) -> ConfigError:
        """The error for an endpoint that asks to wait too long."""
        minutes = (failure.retry_after_seconds or 0.0) / 60
        wait = f"{minutes / 60:.1f} hours" if minutes >= 100 else f"{minutes:.0f} minutes"
        return ConfigError(
            f"{self._url} asks to wait {wait if minutes > 2 else 'again and again'} "
            f"({short(self._redaction(failure.error))}); run again then: the answers so far are kept"
        )

    def if_all_fail(self, outcome: Answer | Failure, request: Request) -> None:
        """Raise ConfigError if so many requests failed that no single one is to blame.

        These are the first ones for a purpose, or later so many in a row that used all their attempts.
        """
        if isinstance(outcome, Answer):
            self._answered.add(request.purpose)
            self._n_failed = self._n_forbidden = 0
            return
        self._n_forbidden += outcome.is_forbidden
        if request.purpose in self._answered:
            self._n_failed += outcome.passes and not outcome.is_empty
            if self._n_failed >= self._failed_at_most:
                raise ConfigError(
                    f"{self._url} has failed {self._n_failed} requests in a row, each {self._max_attempts} times "
                    f"({short(self._redaction(outcome.error))}); run again once it answers: the answers so far "
                    "are kept"
                )
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

    def if_only_thought(self, outcome: Answer | Failure, request: Request, can: Capabilities) -> None:
        """Raise ConfigError if consecutive answers are paid for and contain reasoning but no answer."""
        if isinstance(outcome, Answer):
            is_hidden = not (outcome.text or "").strip()  # the server takes the reasoning out
            thinks = can.thinks or request.thinks or is_hidden
            self._only_thought.count(outcome, request, where=f" at {self._url}", thinks=thinks)

    def if_no_room(self, form: Form, can: Capabilities) -> None:
        """Raise ConfigError for a probe's form whose answers are one token, which reasoning takes."""
        if can.thinks and form.wanted == "choice":
            raise no_room(form.model, f" at {self._url}")
