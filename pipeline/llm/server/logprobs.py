"""Reads probabilities off the log-probabilities of a completion's JSON."""

from typing import Any, NamedTuple

from pipeline.llm.choices import choice_masses, choice_probabilities, key_probabilities
from pipeline.llm.requests import Request
from pipeline.llm.server.json_values import choice_in, dict_of, text_of
from pipeline.llm.value_positions import (
    blank_positions,
    expected_values,
    number_masses,
    value_positions,
    word_masses,
)

_ROUNDING, _LEAST_LOGPROB = 0.01, -1e9
"""Log-probabilities may exceed 0 by rounding; those below the least are treated as impossible."""


class Probabilities(NamedTuple):
    """The fields of an answer that come from log-probabilities."""

    probabilities: dict[str, float] | None = None
    choice_mass: float | None = None
    values: list[float] | None = None


def probabilities_of(request: Request, content: Any) -> Probabilities:
    """The probabilities of a request's choices in a completion."""
    if request.blank:
        masses = blank_masses(request, content) or []
        least = min((sum(each.values()) for each in masses), default=None)
        return Probabilities(None, least, expected_values(masses))
    if request.keys:
        return Probabilities(*key_probabilities(key_masses(request, content), request.choices or ()))
    mass = choice_masses(first_token(content), request.choices or ())
    return Probabilities(choice_probabilities(mass), sum(mass.values()) if any(mass.values()) else None)


def first_token(content: Any) -> list[tuple[str, float]]:
    """The alternatives (token, log-probability) at a completion's first token; empty if there are fewer than two.

    A single one only shows which token was drawn, not how probable another choice was.
    """
    return _alternatives(_written(content)[0]) if _written(content) else []


def key_masses(request: Request, content: Any) -> dict[str, dict[str, float]]:
    """The probability of each choice at the token of each key's value, without keys that have none."""
    written = _written(content)
    pieces = [text_of(dict_of(entry).get("token")) or "" for entry in written]
    positions = value_positions(pieces)
    found = {}
    for key in request.keys:
        if key in positions and (listed := _alternatives(written[positions[key].token])):
            found[key] = word_masses(listed, request.choices or (), positions[key].lead)
    return found


def blank_masses(request: Request, content: Any) -> list[dict[str, float]] | None:
    """The probability of each choice at each of a request's blanks; None if the server gave none."""
    prompt_tokens = dict_of(content).get("prompt_logprobs")
    read = [_prompt_token(entry) for entry in prompt_tokens] if isinstance(prompt_tokens, list) else []
    positions = blank_positions(
        [each[0][0] if each else "" for each in read], request.blank or "", request.n_blanks
    )
    if not positions:
        return None
    return [number_masses(read[position.token], request.choices or (), position.lead) for position in positions]


def _written(content: Any) -> list[Any]:
    """A completion's entry for each token that was written."""
    tokens = dict_of(choice_in(content).get("logprobs")).get("content")
    return tokens if isinstance(tokens, list) else []


def _alternatives(entry: Any) -> list[tuple[str, float]]:
    """The alternatives (token, log-probability) to a token, itself first; empty if there are fewer than two."""
    listed = dict_of(entry).get("top_logprobs")
    found = {}
    for each in [entry, *(listed if isinstance(listed, list) else [])]:
        token, logprob = dict_of(each).get("token"), _logprob(dict_of(each).get("logprob"))
        if isinstance(token, str) and logprob is not None:
            found[token] = logprob
    return list(found.items()) if len(found) > 1 else []


def _prompt_token(entry: Any) -> list[tuple[str, float]]:
    """The alternatives to a token of the prompt, itself first, in vLLM's format."""
    listed = [dict_of(each) for each in dict_of(entry).values()]
    listed_pairs = [(text_of(each.get("decoded_token")) or "", _logprob(each.get("logprob"))) for each in listed]
    return [(token, logprob) for token, logprob in listed_pairs if logprob is not None]


def _logprob(value: Any) -> float | None:
    """A log-probability; None for anything else, such as a number above 0 beyond rounding."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= _ROUNDING:
        return None
    return min(float(max(value, _LEAST_LOGPROB)), 0.0)
