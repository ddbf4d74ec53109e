"""Answers the rows of a batch: by the first token's choice, by the values of a JSON object, or written token by
token.

A row's randomness depends only on its request, so results do not depend on the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.llm.choices import choice_probabilities, key_probabilities
from pipeline.llm.local.model import Batch, LocalModel
from pipeline.llm.local.prefixes import n_shared_tokens
from pipeline.llm.requests import Request, Status
from pipeline.llm.texts import before_stop, has_thoughts


@dataclass
class Row:
    """A request while it is being answered."""

    request: Request
    n_prompt: int
    n_shared: int
    status: Status = "truncated"
    text: str = ""
    probabilities: dict[str, float] | None = None
    choice_mass: float | None = None
    values: list[float] | None = None
    written: list[int] = field(default_factory=list)


def choose(model: LocalModel, batch: Batch, rows: Sequence[Row]) -> None:
    """Answer the rows whose answer is their first token, from its probabilities.

    If the choices have a total probability under LEAST_MASS, there are none, and the text is the most probable
    token.
    """
    indices = [index for index, row in enumerate(rows) if row.request.wanted == "choice"]
    logits = batch.logits if len(indices) == len(rows) else batch.logits[indices]
    likeliest_tokens = logits.argmax(dim=-1).tolist()
    all_masses = _masses(model, [rows[index].request for index in indices], logits)
    for index, masses, token in zip(indices, all_masses, likeliest_tokens, strict=True):
        row = rows[index]
        row.choice_mass = sum(masses.values())
        row.probabilities = choice_probabilities(masses)
        likeliest = max(masses, key=masses.__getitem__)
        row.text = likeliest if row.probabilities else model.decode([token])
        row.status = "ok"


def _masses(model: LocalModel, requests: Sequence[Request], logits: Tensor) -> list[dict[str, float]]:
    """The total probability of each choice's tokens, by request; logits float32 [n_requests, n_tokens].

    Probabilities are copied from the device once for all requests with the same choices, mostly the whole batch.
    """
    probabilities = logits.softmax(dim=-1)
    masses: list[dict[str, float]] = [{} for _ in requests]
    for choices in dict.fromkeys(request.choices or () for request in requests):
        indices = [index for index, request in enumerate(requests) if (request.choices or ()) == choices]
        try:
            token_ids = model.choice_token_ids(choices)
        except ValueError as error:
            raise ConfigError(f"model '{requests[indices[0]].model}': {error}") from None
        own = probabilities[indices]
        read = torch.stack([own[:, list(ids)].sum(dim=-1) for ids in token_ids], dim=-1).tolist()
        for index, sums in zip(indices, read, strict=True):
            masses[index] = dict(zip(choices, sums, strict=True))
    return masses


def fill_keys(model: LocalModel, batch: Batch, rows: Sequence[Row]) -> None:
    """Answer the rows with keys with a JSON object in which only the values are the model's: the likelier
    choice."""
    indices = [index for index, row in enumerate(rows) if row.request.wanted == "keys"]
    if not indices:
        return
    batch, open_rows = batch.part(indices, len(rows)), [rows[index] for index in indices]
    masses: list[dict[str, dict[str, float]]] = [{} for _ in open_rows]
    written = [_up_to_value(model, f'{{"{row.request.keys[0]}":', row.request) for row in open_rows]
    for number in range(max(len(row.request.keys) for row in open_rows)):
        going = [index for index, row in enumerate(open_rows) if number < len(row.request.keys)]
        if len(going) < len(open_rows):
            batch.keep(going)
            open_rows, masses = [open_rows[index] for index in going], [masses[index] for index in going]
            written = [written[index] for index in going]
        batch.extend(written)
        found_masses = _masses(model, [row.request for row in open_rows], batch.logits)
        for index, (row, found) in enumerate(zip(open_rows, found_masses, strict=True)):
            row.written += written[index]
            keys = row.request.keys
            masses[index][keys[number]] = found
            key = f'"{keys[number]}":'
            value = model.tokens(f"{key} {max(found, key=found.__getitem__)}")
            written[index] = value[len(_up_to_value(model, key, row.request)) :]
            if number + 1 < len(keys):
                written[index] += _up_to_value(model, f', "{keys[number + 1]}":', row.request)
            else:
                row.written += written[index] + model.tokens("}")
                row.text, row.status = model.decode(row.written), "ok"
                row.probabilities, row.choice_mass = key_probabilities(masses[index], row.request.choices or ())


def _up_to_value(model: LocalModel, before: str, request: Request) -> list[int]:
    """The tokens of a text before any of the choices; the space may be part of the choice's token."""
    spelled = [model.tokens(f"{before} {choice}") for choice in request.choices or ()]
    return spelled[0][: min(n_shared_tokens(spelled[0], other) for other in spelled[1:])]


def write(model: LocalModel, batch: Batch, rows: Sequence[Row]) -> None:
    """Write the other rows token by token; a row leaves the batch when it ends its turn or reaches its limit."""
    indices = [index for index, row in enumerate(rows) if row.request.wanted == "text"]
    if not indices:
        return
    batch = batch.part(indices, len(rows))
    open_rows = [rows[index] for index in indices]
    generators = {row.request.request_id: _generator(row.request) for row in open_rows}
    while True:
        tokens = _draw(batch.logits, open_rows, generators)
        going = []
        for index, (row, token) in enumerate(zip(open_rows, tokens, strict=True)):
            if token in model.end_ids:
                row.status = "ok"
            else:
                row.written.append(token)
                if _stopped(model, row):
                    row.status = "ok"
                elif len(row.written) < row.request.most_tokens:
                    going.append(index)
        if not going:
            break
        if len(going) < len(open_rows):
            batch.keep(going)
            open_rows = [open_rows[index] for index in going]
        batch.append([row.written[-1] for row in open_rows])
    for index in indices:
        rows[index].text = _cut(model.decode(rows[index].written), rows[index].request.sent_stop)


def _stopped(model: LocalModel, row: Row) -> bool:
    """Whether a row's text has reached one of its stops; without stops nothing is decoded."""
    if not row.request.sent_stop:
        return False
    text = model.decode(row.written)
    return _cut(text, row.request.sent_stop) != text


def _cut(text: str, stops: Sequence[str]) -> str:
    """The text up to its first stop; all of it if it contains reasoning, which stops would cut."""
    return text if has_thoughts(text) else before_stop(text, stops)


def _draw(logits: Tensor, rows: Sequence[Row], generators: Mapping[str, torch.Generator]) -> list[int]:
    """The next token of each row: the most probable at temperature 0, else sampled with the row's generator."""
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    for index, row in enumerate(rows):
        if row.request.temperature > 0:
            probabilities = (logits[index].cpu() / row.request.temperature).softmax(dim=0)
            drawn = torch.multinomial(probabilities, 1, generator=generators[row.request.request_id])
            tokens[index] = int(drawn)
    return tokens


def _generator(request: Request) -> torch.Generator:
    """A random generator that depends only on the request."""
    return torch.Generator().manual_seed(int(request.request_id[:15], 16))
