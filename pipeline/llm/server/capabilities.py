"""A server's capabilities, and the body of a request to it.

Servers with the same protocol differ in what they accept, and some return 200 and ignore what they do not support
(`transformers serve`: logprobs and response_format). So each form of request is tried once with a tiny request (a
probe), and requests ask only for what the probe's answer contained.
"""

import json
import re
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from pipeline.llm.choices import choice_masses, choice_of, choice_probabilities
from pipeline.llm.requests import Message, Request, Wanted
from pipeline.llm.server.logprobs import blank_masses, first_token, key_masses
from pipeline.llm.server.reading import Failure, final_text_of, shows_thinking, was_cut
from pipeline.llm.server.refusals import Refusable, refuses

TOP_LOGPROBS = 20
"""Alternatives requested at the first token: the maximum at OpenAI and vLLM."""
FEW_LOGPROBS = 5
"""The maximum at some other servers; enough for each of many answers that are one of two words."""
PROMPT_LOGPROBS = 15
"""Alternatives requested at each token of a prompt (Bills et al. 2023)."""

_compact = json.JSONEncoder(separators=(",", ":")).encode

_PROBE_TOKENS = 64
_ROOM_TOKENS = 500
"""Maximum length of the answer that shows whether a model reasons, where a probe was too short for that."""
_PROBE_CHOICES = ("Yes", "No")
_PROBE_VALUE = "\t10"
_NUMBERS = tuple(map(str, range(11)))
_PROBE_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["Yes", "No"]}},
    "required": ["answer"],
    "additionalProperties": False,
}


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


def body_of(request: Request, can: Capabilities) -> bytes:
    """The body of the call, limited to the server's capabilities."""
    return _compact(_parameters(request, can)).encode()


def sends_stop(request: Request, can: Capabilities) -> bool:
    """Whether a request's stop sequences are sent."""
    return bool(request.sent_stop) and can.stop and not (can.thinks or can.cuts_here)


def probe_request(form: Form, base_url: str) -> Request:
    """A tiny request of a form. Each is a new draw, because it asks about the server as it runs now.

    Its text does not ask for JSON, so that a JSON answer shows that the schema was enforced.
    """
    url = urllib.parse.urlsplit(base_url)
    question = Message("user", f"Is {url.hostname}{url.path} an address? Answer Yes or No.")
    system = (Message("system", "You answer questions."),) if form.has_system else ()
    begun = (Message("assistant", f"a{_PROBE_VALUE}\nb{form.blank}"),) if form.blank else ()
    return Request(
        purpose="probe",
        sae="",
        feature=0,
        model=form.model,
        messages=(*system, question, *begun),
        max_tokens=_PROBE_TOKENS if form.has_schema or form.has_stop else 1,
        temperature=form.temperature,
        choices=_NUMBERS if form.blank else _PROBE_CHOICES if form.wants_logprobs else None,
        stop=("\n",) if form.has_stop else (),
        draw=time.time_ns() // 1_000_000,
        schema=_PROBE_SCHEMA if form.has_schema else None,
        reasoning_effort=form.reasoning_effort,
        keys=("answer",) if form.wanted == "keys" else (),
        blank=form.blank,
    )


def with_room(probe: Request) -> Request:
    """A probe again, for its text alone, with room for a model to reason before it answers."""
    return replace(
        probe, max_tokens=_ROOM_TOKENS, stop=(), schema=None, choices=None, keys=(), draw=probe.draw + 1
    )


def is_answered(content: Any) -> bool:
    """Whether a probe's answer (a completion's JSON) begins with Yes or No, might have, or follows its schema.

    If not, and there was no room for more, the model may be reasoning: many chat templates open the reasoning
    themselves, so that no tag shows it.
    """
    text = final_text_of(content) or ""
    first_word = re.search(r"[^\W\d_]+", text)
    return (
        (first_word is not None and choice_of(first_word[0], _PROBE_CHOICES) is not None)
        or choice_probabilities(choice_masses(first_token(content), _PROBE_CHOICES)) is not None
        or (bool(text) and _is_by_schema(content))
    )


def reasons(content: Any) -> bool:
    """Whether the answer to a probe with room (a completion's JSON) was reasoned, or is unfinished reasoning."""
    return shows_thinking(content) or (was_cut(content) and not is_answered(content))


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


def came_back(can: Capabilities, form: Form, content: Any) -> Capabilities:
    """The capabilities that a probe's answer (its JSON) shows: those that the server also honoured."""
    if not content.get("choices"):  # an answer given by its HTTP status, which shows nothing more
        return can
    if shows_thinking(content):
        can = replace(can, thinks=True)
    request = probe_request(form, "")
    if form.has_schema:
        can = replace(can, schema=can.schema and _is_by_schema(content))
    # Without the schema the probe's answer has no keys, because its text does not ask for JSON as requests do.
    gives_logprobs = key_masses(request, content) if form.wanted == "keys" and can.schema else first_token(content)
    if form.wants_logprobs and not gives_logprobs:
        can = replace(can, top_logprobs=0)
    if form.blank and not _reads_blanks(request, content):
        can = replace(can, prompt_logprobs=False)
    return can


def gives_probabilities(request: Request, can: Capabilities) -> bool:
    """Whether a request is sent such that the answer contains the probabilities or values it needs."""
    if request.wanted == "values":
        return can.prompt_logprobs
    return request.wanted != "text" and can.top_logprobs > 0 and not can.thinks


def _reads_blanks(request: Request, content: Any) -> bool:
    """Whether a probe's answer has probabilities of numbers in its blank, and 10 is a single token."""
    ten = blank_masses(replace(request, blank=_PROBE_VALUE), content)
    return any(blank_masses(request, content) or ()) and "10" in (ten or [{}])[0]


def _is_by_schema(content: Any) -> bool:
    """Whether a probe's answer follows its schema; assumed if reasoning left no room for an answer."""
    try:
        text = content["choices"][0]["message"]["content"]
        if not text and shows_thinking(content):
            return True
        answer = json.loads(text)
        return isinstance(answer, dict) and answer.get("answer") in {"Yes", "No"}
    except (ValueError, LookupError, TypeError):
        return False


def _turns(request: Request, can: Capabilities) -> Sequence[Message]:
    """The messages as they are sent."""
    if can.system or request.messages[0].role != "system":
        return request.messages
    system, *others = request.messages
    content = "\n\n".join([system.content, *(each.content for each in others[:1])])
    return [Message("user", content), *others[1:]]


def _parameters(request: Request, can: Capabilities) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "model": request.model,
        "messages": [message._asdict() for message in _turns(request, can)],
        can.max_tokens: request.most_tokens,
    }
    if can.temperature:
        parameters["temperature"] = request.temperature
    if request.reasoning_effort is not None and can.reasoning_effort:
        parameters["reasoning_effort"] = request.reasoning_effort
    if sends_stop(request, can):
        parameters["stop"] = list(request.stop)
    if gives_probabilities(request, can):
        if request.blank:
            parameters["prompt_logprobs"] = PROMPT_LOGPROBS
        else:
            parameters["logprobs"] = True
            parameters["top_logprobs"] = min(can.top_logprobs, FEW_LOGPROBS if request.keys else TOP_LOGPROBS)
    if request.blank and can.prompt_logprobs:
        parameters |= {"add_generation_prompt": False, "continue_final_message": True}
    if request.schema and can.schema:
        json_schema = {"name": "answer", "strict": True, "schema": request.schema}
        parameters["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    return parameters
