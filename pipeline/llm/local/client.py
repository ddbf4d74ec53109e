"""A small language model in this process as the one that answers, so that the default needs no server and no key.

Requests that begin alike (same instructions, same explanation) are read together, their common beginning
once. A question with choices costs one forward pass and yields exact probabilities; other requests are
written out token by token.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.config import LocalConfig
from pipeline.errors import ConfigError
from pipeline.llm.choices import choice_probabilities, key_probabilities
from pipeline.llm.local.blanks import blank_places_of, read_blanks
from pipeline.llm.local.chats import encode_chats
from pipeline.llm.local.model import Batch, LocalModel, load_local_model
from pipeline.llm.local.prefixes import Group, group_by_prefix, n_shared_tokens
from pipeline.llm.requests import Answer, Request, Status
from pipeline.models.load import load_tokenizer, locate, pick_device

BATCH_TOKENS = 8192
"""Tokens of a batch, the shared ones counted for every row: it bounds the key/value cache (190 MB here)."""

INT8_BATCH_TOKENS = 2048
"""And on a CPU those of a larger model in int8: what a batch of 1.5B parameters takes beside 1.8 GB of weights."""

_MEASURED_ROWS, _MEASURED_TOKENS, _MEASURED_STEPS = 4, 256, 4
"""Of the batch by which speed is measured."""


class Work(NamedTuple):
    """What answering takes: tokens that are read, shared ones once, and steps in which each row writes a token."""

    read_tokens: int
    steps: int


class Speed(NamedTuple):
    """What a model does here: tokens read a second, and steps of a batch a second."""

    tokens_per_second: float
    steps_per_second: float

    def seconds(self, work: Work) -> float:
        """How long some work takes."""
        return work.read_tokens / self.tokens_per_second + work.steps / self.steps_per_second


class LocalClient:
    """Answers with a model that transformers loads, on first use and once per process.

    Args:
        subject: Where the model is and its dtype, as for a subject model.
        device: `auto`, `cpu`, `cuda:1`, …

    Raises:
        SubjectError: There is no such folder or package.
    """

    def __init__(self, subject: LocalConfig, device: str) -> None:
        locate(subject)
        self.subject = subject
        self._device = device

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        """One answer a request, batch by batch.

        Raises:
            SubjectError: The model cannot be loaded.
            ConfigError: Choices cannot be told apart by their first token.
        """
        model = load_local_model(self.subject, self._device)
        prompts = [model.encode(request.messages) for request in requests]
        fitting = []
        for place, request in enumerate(requests):
            n_needed = len(prompts[place]) + request.most_written
            if model.max_length is None or n_needed <= model.max_length:
                fitting.append(place)
            else:
                yield [self._too_long(request, len(prompts[place]), n_needed, model.max_length)]
        for answer, is_blank in ((self._answer_group, False), (self._fill_group, True)):
            some = [place for place in fitting if (requests[place].blank is not None) == is_blank]
            for group in group_by_prefix([prompts[place] for place in some]):
                places = Group(tuple(some[place] for place in group.places), group.n_shared)
                yield from answer(model, requests, prompts, places)

    def work_of(self, requests: Sequence[Request]) -> Work:
        """What it takes to answer these requests, each as long as it may be; only the tokenizer is loaded."""
        prompts = encode_chats(load_tokenizer(self.subject), [request.messages for request in requests])
        read_tokens = steps = 0
        for group in group_by_prefix(prompts):
            read_tokens += group.n_shared + sum(len(prompts[place]) - group.n_shared for place in group.places)
            for places in _batches(group.places, requests, prompts, self._batch_tokens):
                steps += max(requests[place].most_written for place in places)
        return Work(read_tokens, steps)

    def measure(self, requests: Sequence[Request]) -> Speed:
        """How fast the model is here, by a small batch of these requests; raises SubjectError as `answer` does."""
        model = load_local_model(self.subject, self._device)
        prompts = [model.encode(request.messages) for request in requests[:_MEASURED_ROWS]]
        suffixes = [prompt[:_MEASURED_TOKENS] for prompt in prompts]
        model.start(None, suffixes[:1])  # the first pass warms up
        started = time.monotonic()
        batch = model.start(None, suffixes)
        read = time.monotonic()
        for _ in range(_MEASURED_STEPS):
            batch.append([suffix[-1] for suffix in suffixes])
        end = time.monotonic()
        return Speed(sum(map(len, suffixes)) / (read - started), _MEASURED_STEPS / (end - read))

    @property
    def _batch_tokens(self) -> int:
        is_large = self.subject.precision == "int8" and pick_device(self._device).type == "cpu"
        return INT8_BATCH_TOKENS if is_large else BATCH_TOKENS

    def _answer_group(
        self, model: LocalModel, requests: Sequence[Request], prompts: Sequence[Sequence[int]], group: Group
    ) -> Iterator[list[Answer]]:
        requested_at, start = _now(), time.monotonic()
        prefix = model.read_prefix(prompts[group.places[0]][: group.n_shared])
        for places in _batches(group.places, requests, prompts, self._batch_tokens):
            batch = model.start(prefix, [prompts[place][group.n_shared :] for place in places])
            rows = [_Row(requests[place], len(prompts[place]), group.n_shared) for place in places]
            _choose(model, batch, rows)
            _fill_keys(model, batch, rows)
            _write(model, batch, rows)
            # A row's part of its batch, so that they add up to the time that was spent.
            duration_ms = round((time.monotonic() - start) * 1000 / len(rows))
            yield [self._answered(row, requested_at, duration_ms) for row in rows]
            requested_at, start = _now(), time.monotonic()

    def _fill_group(
        self, model: LocalModel, requests: Sequence[Request], prompts: Sequence[Sequence[int]], group: Group
    ) -> Iterator[list[Answer]]:
        """Read requests with blanks; what they share, up to the first blank of any, is read once."""
        requested_at, start = _now(), time.monotonic()
        blanks = {place: blank_places_of(model, requests[place], prompts[place]) for place in group.places}
        firsts = [blanks[place][0] - 1 for place in group.places if blanks[place]]
        n_shared = min([group.n_shared, *firsts])
        prefix = model.read_prefix(prompts[group.places[0]][:n_shared])
        for place in group.places:
            row = _Row(requests[place], len(prompts[place]), n_shared, status="ok")
            if blanks[place]:
                filled = read_blanks(model, prefix, n_shared, requests[place], prompts[place], blanks[place])
                row.values, row.choice_mass = filled.values, filled.least_mass
            yield [self._answered(row, requested_at, round((time.monotonic() - start) * 1000))]
            requested_at, start = _now(), time.monotonic()

    def _answered(self, row: "_Row", requested_at: str, duration_ms: int) -> Answer:
        return Answer(
            request_id=row.request.request_id,
            status=row.status,
            text=row.text,
            probabilities=row.probabilities,
            resolved_model=self.subject.model,
            finish_reason="length" if row.status == "truncated" else "stop",
            attempts=1,
            prompt_tokens=row.n_prompt,
            cached_tokens=row.n_shared,
            completion_tokens=len(row.written),
            duration_ms=duration_ms,
            requested_at=requested_at,
            choice_mass=row.choice_mass,
            values=row.values,
        )

    def _too_long(self, request: Request, n_prompt: int, n_needed: int, max_length: int) -> Answer:
        return Answer(
            request_id=request.request_id,
            status="too_long",
            text=None,
            probabilities=None,
            resolved_model=self.subject.model,
            finish_reason=None,
            attempts=0,
            prompt_tokens=n_prompt,
            cached_tokens=None,
            completion_tokens=None,
            duration_ms=0,
            requested_at=_now(),
            error=f"prompt and answer need {n_needed} tokens, and the model reads {max_length}",
        )


@dataclass
class _Row:
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


def _batches(
    places: Sequence[int], requests: Sequence[Request], prompts: Sequence[Sequence[int]], most_tokens: int
) -> Iterator[list[int]]:
    """Cut a group into batches of at most so many tokens when padded and written out, or of one."""
    batch: list[int] = []
    longest = 0
    for place in places:
        length = len(prompts[place]) + requests[place].most_written
        if batch and max(longest, length) * (len(batch) + 1) > most_tokens:
            yield batch
            batch, longest = [], 0
        batch.append(place)
        longest = max(longest, length)
    yield batch


def _choose(model: LocalModel, batch: Batch, rows: Sequence[_Row]) -> None:
    """Answer the rows whose first token is their answer, by its probabilities.

    Where the choices have under LEAST_MASS together there are none, and the text is what would be written.
    """
    for row, logits in zip(rows, batch.logits, strict=True):
        if not row.request.is_choice:
            continue
        masses = _masses(model, row.request, logits)
        row.choice_mass = sum(masses.values())
        row.probabilities = choice_probabilities(masses)
        likeliest = max(masses, key=masses.__getitem__)
        row.text = likeliest if row.probabilities else model.decode([int(logits.argmax())])
        row.status = "ok"


def _masses(model: LocalModel, request: Request, logits: Tensor) -> dict[str, float]:
    """How probable the tokens that stand for each choice are."""
    choices = request.choices or ()
    try:
        token_ids = model.choice_token_ids(choices)
    except ValueError as error:
        raise ConfigError(f"model '{request.model}': {error}") from None
    logprobs = logits.log_softmax(dim=0)
    return {
        choice: float(logprobs[list(ids)].exp().sum()) for choice, ids in zip(choices, token_ids, strict=True)
    }


def _fill_keys(model: LocalModel, batch: Batch, rows: Sequence[_Row]) -> None:
    """Answer the rows with keys by a JSON object of which only the values are the model's: the likelier choice."""
    places = [place for place, row in enumerate(rows) if row.request.keys]
    if not places:
        return
    batch, open_rows = batch.part(places, len(rows)), [rows[place] for place in places]
    masses: list[dict[str, dict[str, float]]] = [{} for _ in open_rows]
    written = [_up_to_value(model, f'{{"{row.request.keys[0]}":', row.request) for row in open_rows]
    for number in range(max(len(row.request.keys) for row in open_rows)):
        going = [place for place, row in enumerate(open_rows) if number < len(row.request.keys)]
        if len(going) < len(open_rows):
            batch.keep(going)
            open_rows, masses = [open_rows[place] for place in going], [masses[place] for place in going]
            written = [written[place] for place in going]
        batch.extend(written)
        for place, (row, logits) in enumerate(zip(open_rows, batch.logits, strict=True)):
            row.written += written[place]
            keys, found = row.request.keys, _masses(model, row.request, logits)
            masses[place][keys[number]] = found
            key = f'"{keys[number]}":'
            value = model.tokens(f"{key} {max(found, key=found.__getitem__)}")
            written[place] = value[len(_up_to_value(model, key, row.request)) :]
            if number + 1 < len(keys):
                written[place] += _up_to_value(model, f', "{keys[number + 1]}":', row.request)
            else:
                row.written += written[place] + model.tokens("}")
                row.text, row.status = model.decode(row.written), "ok"
                row.probabilities, row.choice_mass = key_probabilities(masses[place], row.request.choices or ())


def _up_to_value(model: LocalModel, before: str, request: Request) -> list[int]:
    """The tokens of a text that stand before a choice whichever it is: the space may be a part of the choice."""
    spelled = [model.tokens(f"{before} {choice}") for choice in request.choices or ()]
    return spelled[0][: min(n_shared_tokens(spelled[0], other) for other in spelled[1:])]


def _write(model: LocalModel, batch: Batch, rows: Sequence[_Row]) -> None:
    """Write out the other rows; a row leaves the batch when it ends its turn or has used its tokens."""
    places = [place for place, row in enumerate(rows) if not row.request.choices]
    if not places:
        return
    batch = batch.part(places, len(rows))
    open_rows = [rows[place] for place in places]
    generators = {row.request.request_id: _generator(row.request) for row in open_rows}
    while True:
        tokens = [
            _draw(logits, row.request.temperature, generators[row.request.request_id])
            for logits, row in zip(batch.logits, open_rows, strict=True)
        ]
        going = []
        for place, (row, token) in enumerate(zip(open_rows, tokens, strict=True)):
            if token in model.end_ids:
                row.status = "ok"
            else:
                row.written.append(token)
                if _stopped(model, row):
                    row.status = "ok"
                elif len(row.written) < row.request.most_tokens:
                    going.append(place)
        if not going:
            break
        if len(going) < len(open_rows):
            batch.keep(going)
            open_rows = [open_rows[place] for place in going]
        batch.append([row.written[-1] for row in open_rows])
    for place in places:
        rows[place].text = _before_stop(model.decode(rows[place].written), rows[place].request.sent_stop)


def _stopped(model: LocalModel, row: "_Row") -> bool:
    """Whether what a row has written holds one of its stops; without stops nothing is decoded."""
    if not row.request.sent_stop:
        return False
    text = model.decode(row.written)
    return any(stop in text for stop in row.request.sent_stop)


def _before_stop(text: str, stops: Sequence[str]) -> str:
    """The text up to its first stop."""
    ends = [text.find(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else text


def _draw(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """The next token: the most probable at temperature 0, else drawn."""
    if temperature == 0:
        return int(logits.argmax())
    probabilities = (logits.cpu() / temperature).softmax(dim=0)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _generator(request: Request) -> torch.Generator:
    """Randomness that depends on the request alone, so that it repeats in any batch."""
    return torch.Generator().manual_seed(int(request.request_id[:15], 16))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
