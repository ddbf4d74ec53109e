"""Probes: tiny requests that show what a server honours, and what their answers show."""

import json
import re
import time
import urllib.parse
from dataclasses import replace
from typing import Any

from pipeline.llm.choices import choice_masses, choice_of, choice_probabilities
from pipeline.llm.requests import Message, Request
from pipeline.llm.server.capabilities import Capabilities, Form
from pipeline.llm.server.logprobs import blank_masses, first_token, key_masses
from pipeline.llm.server.reading import final_text_of, shows_thinking, was_cut

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


def honoured(can: Capabilities, form: Form, content: Any) -> Capabilities:
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
