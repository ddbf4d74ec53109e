"""Numbers in the blanks of a text that the model has begun: their expected values, all read in one pass.

The text is read once, the blanks as they are, and in place of each stand the probabilities of the choices. Of a
tokenizer that writes 10 as two tokens the first is that of 1: the second is read behind it in a pass more, a token
for each blank that sees nothing of the text from its blank on.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from transformers import DynamicCache

from pipeline.errors import ConfigError
from pipeline.llm.local.model import LocalModel
from pipeline.llm.places import blank_places, expected_value
from pipeline.llm.requests import Request


class Filled(NamedTuple):
    """The expected value of each blank, and the least probability of all choices together in one."""

    values: list[float]
    least_mass: float


def blank_places_of(model: LocalModel, request: Request, prompt: Sequence[int]) -> list[int]:
    """The tokens of a prompt in whose places a request's values are wanted; none if it lacks a blank.

    Raises ConfigError if the tokenizer joins a blank with the white space before it.
    """
    places = blank_places(model.pieces(prompt), request.blank or "", request.n_blanks) or []
    if any(place.lead for place in places):
        raise _joins(request)
    return [place.token for place in places]


def read_blanks(
    model: LocalModel,
    prefix: DynamicCache | None,
    n_shared: int,
    request: Request,
    prompt: Sequence[int],
    places: Sequence[int],
) -> Filled:
    """The values of a prompt's blanks; its first `n_shared` tokens are in the prefix."""
    choices = request.choices or ()
    try:
        spelled = _spelled(model, choices, (request.blank or "").removesuffix((request.blank or "").lstrip()))
    except ValueError:
        raise _joins(request) from None
    read, cache_ = model.read_behind(prefix, prompt[n_shared:], [place - 1 - n_shared for place in places])
    firsts = {choice: read[:, ids[0]].exp() for choice, ids in spelled.items()}
    masses = dict(firsts)
    for first in {ids[0] for ids in spelled.values() if len(ids) > 1}:
        behind = model.read_branches(cache_, first, places).exp()
        cache_.crop(-len(places))
        for choice, ids in spelled.items():
            if ids[0] == first and len(ids) > 1:
                masses[choice] = firsts[choice] * behind[:, ids[1]]
                for other, own in spelled.items():
                    if own == [first]:
                        masses[other] = masses[other] - masses[choice]
    rows = [{choice: float(mass[row]) for choice, mass in masses.items()} for row in range(len(places))]
    return Filled([expected_value(row) or 0.0 for row in rows], min(sum(row.values()) for row in rows))


@cache
def _spelled(model: LocalModel, choices: tuple[str, ...], before: str) -> dict[str, list[int]]:
    """The tokens of each choice behind white space, one or two. Raises ValueError if they are joined with it."""
    spelled = {}
    for choice in choices:
        ids = model.tokens(f"a{before}{choice}\nb")
        places = blank_places(model.pieces(ids), f"{before}{choice}", 1) or []
        own: list[int] = []
        while places and len("".join(model.pieces(own))) < len(choice):
            own.append(ids[places[0].token + len(own)])
        if not places or places[0].lead or "".join(model.pieces(own)) != choice or len(own) > 2:
            raise ValueError(f"'{choice}' is no token or two of its own")
        spelled[choice] = own
    return spelled


def _joins(request: Request) -> ConfigError:
    return ConfigError(
        f"model '{request.model}' cannot simulate in this process: its tokenizer joins a tab with what follows; "
        "set scoring.simulation.method to structured"
    )
