"""Expected values of the numbers in the blanks of a text, all read in one forward pass.

The text is read once with its blanks unfilled, and the probabilities of the choices are taken at each blank. If
the tokenizer writes 10 as two tokens, the first is the token of 1. The second is then read in one more pass, with
one token per blank that does not attend to the text from its blank on.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from transformers import DynamicCache

from pipeline.errors import ConfigError
from pipeline.llm.local.model import LocalModel
from pipeline.llm.requests import Request
from pipeline.llm.value_positions import blank_positions, expected_values


class Filled(NamedTuple):
    """The expected value of each blank, and the smallest total probability of the choices at any blank.

    `values` is None if any blank has no value, as where a model overflows in half precision.
    """

    values: list[float] | None
    least_mass: float


def blank_positions_of(model: LocalModel, request: Request, prompt: Sequence[int]) -> list[int]:
    """The positions of a prompt's tokens at which a request's values are read; empty if a blank is missing.

    Raises ConfigError if the tokenizer merges a blank with the white space before it.
    """
    positions = blank_positions(model.pieces(prompt), request.blank or "", request.n_blanks) or []
    if any(position.lead for position in positions):
        raise _joins(request)
    return [position.token for position in positions]


def read_blanks(
    model: LocalModel,
    prefix: DynamicCache | None,
    n_shared: int,
    request: Request,
    prompt: Sequence[int],
    positions: Sequence[int],
) -> Filled:
    """The values of a prompt's blanks; the prefix holds its first `n_shared` tokens."""
    choices = request.choices or ()
    try:
        spelled = _spelled(model, choices, (request.blank or "").removesuffix((request.blank or "").lstrip()))
    except ValueError:
        raise _joins(request) from None
    read, cache_ = model.read_behind(prefix, prompt[n_shared:], [each - 1 - n_shared for each in positions])
    firsts = {choice: read[:, ids[0]].exp() for choice, ids in spelled.items()}
    masses = dict(firsts)
    for first in {ids[0] for ids in spelled.values() if len(ids) > 1}:
        behind = model.read_branches(cache_, first, positions).exp()
        cache_.crop(-len(positions))
        for choice, ids in spelled.items():
            if ids[0] == first and len(ids) > 1:
                masses[choice] = firsts[choice] * behind[:, ids[1]]
                for other, own in spelled.items():
                    if own == [first]:
                        masses[other] = masses[other] - masses[choice]
    rows = [{choice: float(mass[row]) for choice, mass in masses.items()} for row in range(len(positions))]
    return Filled(expected_values(rows), min(sum(row.values()) for row in rows))


@cache
def _spelled(model: LocalModel, choices: tuple[str, ...], before: str) -> dict[str, list[int]]:
    """The one or two tokens of each choice after white space. Raises ValueError if they are merged with it."""
    spelled = {}
    for choice in choices:
        ids = model.tokens(f"a{before}{choice}\nb")
        positions = blank_positions(model.pieces(ids), f"{before}{choice}", 1) or []
        own: list[int] = []
        while positions and len("".join(model.pieces(own))) < len(choice):
            own.append(ids[positions[0].token + len(own)])
        if not positions or positions[0].lead or "".join(model.pieces(own)) != choice or len(own) > 2:
            raise ValueError(f"'{choice}' is not one or two tokens of its own")
        spelled[choice] = own
    return spelled


def _joins(request: Request) -> ConfigError:
    return ConfigError(
        f"model '{request.model}' cannot simulate in this process: its tokenizer merges a tab with the next text; "
        "set scoring.simulation.method to structured"
    )
