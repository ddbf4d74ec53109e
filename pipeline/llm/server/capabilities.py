"""What a server can do, and how a request is put to it.

Servers of the same protocol differ in what they take, and some answer 200 and ignore what they do not know
(`transformers serve`: logprobs and response_format). So each form of request is tried out once, with a tiny
request of that form, and only what came back is asked for.
"""

import json
import re
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from pipeline.llm.requests import Message, Request, Wanted
from pipeline.llm.server.reading import Failure, blank_masses, first_token, key_masses, shows_thinking

TOP_LOGPROBS = 20
"""Alternatives asked for at the first token; the most that OpenAI and vLLM give."""
FEW_LOGPROBS = 5
"""The most that some other servers give; and enough for each of many answers, one of two words."""
PROMPT_LOGPROBS = 15
"""Alternatives asked for in each place of a prompt (Bills et al. 2023)."""

_compact = json.JSONEncoder(separators=(",", ":")).encode

_PROBE_TOKENS = 64
_PROBE_VALUE = "\t10"
_NUMBERS = tuple(map(str, range(11)))
_PROBE_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["Yes", "No"]}},
    "required": ["answer"],
    "additionalProperties": False,
}


class Form(NamedTuple):
    """What requests have in common as far as a server's abilities matter; a probe is sent for each."""

    model: str
    wanted: Wanted
    has_schema: bool
    has_stop: bool
    temperature: float
    reasoning_effort: str | None
    blank: str | None = None
    has_system: bool = False

    @property
    def wants_logprobs(self) -> bool:
        """Whether probabilities of tokens that the model writes are wanted."""
        return self.wanted in {"choice", "keys"}


@dataclass(frozen=True)
class Capabilities:
    """What a server takes and heeds.

    Attributes:
        top_logprobs: Alternatives at the first token that may be asked for; 0: it gives none.
        prompt_logprobs: It gives those of a prompt, and numbers can be read from them: its model's tokenizer joins
            a blank with nothing before it, and writes 10 as one token.
        schema: It keeps to a JSON schema.
        max_tokens: Its name for the longest answer (OpenAI's newer models want the longer one).
        temperature: It lets one set the temperature (reasoning models do not).
        stop: It takes stops (reasoning models do not).
        reasoning_effort: It lets one say how much to think.
        thinks: Its model thinks before it answers: it is sent no stop, and asked for no logprobs.
        cuts_here: Its answers begin with a stop (a line end), which leaves nothing of them: stops are not sent,
            and the text is cut here.
        system: Its model's chat template has a system role. Without one (Gemma 2), the system message goes in
            front of the first user message, as for a model in this process.
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
    """What to try after a refusal, and whether its words named what was taken away."""

    can: Capabilities
    is_named: bool


_PARAMETER = re.compile(
    r"\b(max_completion_tokens|max_tokens|((top|prompt)_)?logprobs|continue_final_message|response_format|json_schema|temperature|reasoning_effort)\b"
    r"|(?<=['\"`])stop(?=['\"`])"
)


def names_parameter(said: str) -> bool:
    """Whether the words of a refusal name a parameter of a request."""
    return _PARAMETER.search(said) is not None


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
    )


def body_of(request: Request, can: Capabilities) -> bytes:
    """The body of the call, with what the server can do and nothing else."""
    return _compact(_parameters(request, can)).encode()


def sends_stop(request: Request, can: Capabilities) -> bool:
    """Whether the stops of a request are sent."""
    return bool(request.sent_stop) and can.stop and not (can.thinks or can.cuts_here)


def probe_request(form: Form, base_url: str) -> Request:
    """A tiny request of a form; each is a draw of its own, because it asks about the server as it now runs.

    Nothing in its words asks for JSON: if JSON comes, the schema was heeded.
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
        choices=_NUMBERS if form.blank else ("Yes", "No") if form.wants_logprobs else None,
        stop=("\n",) if form.has_stop else (),
        draw=time.time_ns() // 1_000_000,
        schema=_PROBE_SCHEMA if form.has_schema else None,
        reasoning_effort=form.reasoning_effort,
        keys=("answer",) if form.wanted == "keys" else (),
        blank=form.blank,
    )


class _Ability(NamedTuple):
    """Something that a server may refuse.

    Attributes:
        words: A refusal that matches this is about it.
        is_asked: Whether requests of a form still ask for it.
        without: The capabilities without it, or with less of it.
        is_guessed: Whether it is left out after a refusal that names nothing.
    """

    words: str
    is_asked: Callable[[Capabilities, Form], bool]
    without: Callable[[Capabilities], Capabilities]
    is_guessed: bool = True


def _fewer_logprobs(can: Capabilities) -> Capabilities:
    return replace(can, top_logprobs=FEW_LOGPROBS if can.top_logprobs > FEW_LOGPROBS else 0)


_NO_SYSTEM_ROLE = (
    r"[Ss]ystem (role|message|prompt)|'system'|[Rr]oles must alternate|[Oo]nly user and assistant roles"
    r"|Developer instruction"
)
"""Of the chat templates of Gemma, Mistral 7B and Llama 2, of OpenAI's o1-mini, and of Google's API for Gemma."""

_ABILITIES = (
    _Ability(
        "max_completion_tokens|max_tokens",
        lambda can, form: can.max_tokens == "max_tokens",
        lambda can: replace(can, max_tokens="max_completion_tokens"),
        is_guessed=False,
    ),
    _Ability(
        "response_format|json_schema|schema",
        lambda can, form: form.has_schema and can.schema,
        lambda can: replace(can, schema=False),
    ),
    _Ability(
        "prompt_logprobs|continue_final_message|add_generation_prompt|logprobs",
        lambda can, form: form.blank is not None and can.prompt_logprobs,
        lambda can: replace(can, prompt_logprobs=False),
    ),
    _Ability(
        "top_logprobs|logprobs",
        lambda can, form: form.wants_logprobs and can.top_logprobs > 0,
        _fewer_logprobs,
    ),
    _Ability(
        "reasoning_effort|reasoning",
        lambda can, form: form.reasoning_effort is not None and can.reasoning_effort,
        lambda can: replace(can, reasoning_effort=False),
    ),
    _Ability("temperature", lambda can, form: can.temperature, lambda can: replace(can, temperature=False)),
    _Ability("stop", lambda can, form: form.has_stop and can.stop, lambda can: replace(can, stop=False)),
    _Ability(
        _NO_SYSTEM_ROLE,
        lambda can, form: form.has_system and can.system,
        lambda can: replace(can, system=False),
    ),
)
"""In the order in which they are given up where a refusal names none of them."""


def without_what_was_refused(can: Capabilities, form: Form, failure: Failure) -> Fewer | None:
    """What to try after a refusal (HTTP 400 or 422), by its words, else in turn; None: nothing is left.

    OpenAI refuses logprobs with HTTP 403, llama-cpp-python a JSON schema with 500; there only the words count.
    """
    if failure.http_status not in {400, 403, 422, 500}:
        return None
    asked = [ability for ability in _ABILITIES if ability.is_asked(can, form)]
    for ability in asked:
        if re.search(rf"(?<!\w)({ability.words})(?!\w)", failure.error):
            return Fewer(ability.without(can), is_named=True)
    guessed = [ability for ability in asked if ability.is_guessed]
    if guessed and failure.http_status in {400, 422}:
        return Fewer(guessed[0].without(can), is_named=False)
    return None


def came_back(can: Capabilities, form: Form, content: Any) -> Capabilities:
    """What a probe's answer (its JSON) shows: of what the server took, only what it heeded."""
    if not content.get("choices"):  # an answer by its HTTP status: it shows nothing more
        return can
    if shows_thinking(content):
        can = replace(can, thinks=True)
    request = probe_request(form, "")
    if form.has_schema:
        can = replace(can, schema=can.schema and _is_by_schema(content))
    # Without the schema the probe's answer has no keys: the prompts of requests ask for JSON, its own does not.
    gives_logprobs = key_masses(request, content) if form.wanted == "keys" and can.schema else first_token(content)
    if form.wants_logprobs and not gives_logprobs:
        can = replace(can, top_logprobs=0)
    if form.blank and not _reads_blanks(request, content):
        can = replace(can, prompt_logprobs=False)
    return can


def gives_probabilities(request: Request, can: Capabilities) -> bool:
    """Whether a request is sent in a form whose answer gives the probabilities, or values, that it wants."""
    if request.wanted == "values":
        return can.prompt_logprobs
    return request.wanted != "text" and can.top_logprobs > 0 and not can.thinks


def _reads_blanks(request: Request, content: Any) -> bool:
    """Whether a probe's answer tells of a number in its blank, and 10 is one token, as it would be there."""
    ten = blank_masses(replace(request, blank=_PROBE_VALUE), content)
    return any(blank_masses(request, content) or ()) and "10" in (ten or [{}])[0]


def _is_by_schema(content: Any) -> bool:
    """Whether a probe's answer keeps to its schema. Thoughts may have left no room for it: then it was taken."""
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
