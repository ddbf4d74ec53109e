"""What a server accepts and honours, by form of request.

Servers with the same protocol differ in what they accept, and some return 200 and ignore what they do not support
(`transformers serve`: logprobs and response_format). So each form of request is tried once with a tiny request
(`probes`), and requests ask only for what the probe's answer contained (`bodies`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from pipeline.llm.requests import Request, Wanted
from pipeline.llm.server.reading import Failure
from pipeline.llm.server.refusals import Refusable, refuses

TOP_LOGPROBS = 20
"""Alternatives requested at the first token: the maximum at OpenAI and vLLM."""
FEW_LOGPROBS = 5
"""The maximum at some other servers; enough for each of many answers that are one of two words."""


class Form(NamedTuple):
    """What determines the capabilities that a request needs; one probe is sent per form.

    `thinks` is whether the request itself leaves room for reasoning.
    """

    model: str
    wanted: Wanted
    has_schema: bool
    has_stop: bool
    temperature: float
    reasoning_effort: str | None
    blank: str | None = None
    has_system: bool = False
    thinks: bool = False

    @property
    def wants_logprobs(self) -> bool:
        """Whether probabilities of written tokens are requested."""
        return self.wanted in {"choice", "keys"}


@dataclass(frozen=True)
class Capabilities:
    """What a server accepts and honours.

    Attributes:
        top_logprobs: Maximum alternatives at the first token; 0 if it gives none.
        prompt_logprobs: Whether it gives log-probabilities of a prompt from which numbers can be read: its model's
            tokenizer merges nothing with the white space before a blank, and writes 10 as one token.
        schema: Whether it enforces a JSON schema.
        max_tokens: Its parameter for the maximum length of an answer (OpenAI's newer models use the longer name).
        temperature: Whether the temperature can be set (not for reasoning models).
        stop: Whether it accepts stop sequences (not for reasoning models).
        reasoning_effort: Whether the reasoning effort can be set.
        thinks: Whether its model reasons before it answers; then no stop is sent and no logprobs are requested.
        cuts_here: Whether answers begin with a stop sequence (a line end), which would leave nothing of them; then
            no stop is sent, and the text is cut here.
        system: Whether its model's chat template has a system role. Without one (Gemma 2), the system message
            goes before the first user message, as for a model in this process.
    """

    top_logprobs: int = TOP_LOGPROBS
    prompt_logprobs: bool = True
    schema: bool = True
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    stop: bool = True
    reasoning_effort: bool = True
    thinks: bool = False
    cuts_here: bool = False
    system: bool = True


class Fewer(NamedTuple):
    """The capabilities to try after a refusal, and whether the refusal named the one that was removed."""

    can: Capabilities
    is_named: bool


def form_of(request: Request) -> Form:
    """The form of a request."""
    return Form(
        request.model,
        request.wanted,
        bool(request.schema),
        bool(request.sent_stop),
        request.temperature,
        request.reasoning_effort,
        request.blank,
        any(message.role == "system" for message in request.messages),
        request.thinks,
    )


class _Ability(NamedTuple):
    """Something that a server may refuse.

    Attributes:
        name: Its name, by which refusals of it are recognised.
        is_asked: Whether requests of a form still use it.
        without: Capabilities without it, or with less of it.
        is_guessed: Whether to try without it after a refusal that names no parameter.
    """

    name: Refusable
    is_asked: Callable[[Capabilities, Form], bool]
    without: Callable[[Capabilities], Capabilities]
    is_guessed: bool = True


def _fewer_logprobs(can: Capabilities) -> Capabilities:
    return replace(can, top_logprobs=FEW_LOGPROBS if can.top_logprobs > FEW_LOGPROBS else 0)


_ABILITIES = (
    _Ability(
        "max_tokens",
        lambda can, form: can.max_tokens == "max_tokens",
        lambda can: replace(can, max_tokens="max_completion_tokens"),
        is_guessed=False,
    ),
    _Ability(
        "schema",
        lambda can, form: form.has_schema and can.schema,
        lambda can: replace(can, schema=False),
    ),
    _Ability(
        "prompt_logprobs",
        lambda can, form: form.blank is not None and can.prompt_logprobs,
        lambda can: replace(can, prompt_logprobs=False),
    ),
    _Ability(
        "logprobs",
        lambda can, form: form.wants_logprobs and can.top_logprobs > 0,
        _fewer_logprobs,
    ),
    _Ability(
        "reasoning_effort",
        lambda can, form: form.reasoning_effort is not None and can.reasoning_effort,
        lambda can: replace(can, reasoning_effort=False),
    ),
    _Ability("temperature", lambda can, form: can.temperature, lambda can: replace(can, temperature=False)),
    _Ability("stop", lambda can, form: form.has_stop and can.stop, lambda can: replace(can, stop=False)),
    _Ability(
        "system",
        lambda can, form: form.has_system and can.system,
        lambda can: replace(can, system=False),
    ),
)
"""In the order in which they are removed if a refusal names none of them."""


def without_what_was_refused(can: Capabilities, form: Form, failure: Failure) -> Fewer | None:
    """What to try after a refusal (HTTP 400 or 422): what its message names, else the next in turn, or None.

    OpenAI refuses logprobs with HTTP 403, llama-cpp-python a JSON schema with 500; then only the message counts.
    """
    if failure.http_status not in {400, 403, 422, 500}:
        return None
    asked = [ability for ability in _ABILITIES if ability.is_asked(can, form)]
    for ability in asked:
        if refuses(ability.name, failure.error):
            return Fewer(ability.without(can), is_named=True)
    guessed = [ability for ability in asked if ability.is_guessed]
    if guessed and failure.http_status in {400, 422}:
        return Fewer(guessed[0].without(can), is_named=False)
    return None
