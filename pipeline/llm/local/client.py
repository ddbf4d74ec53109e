"""Answers requests with a small language model in this process, so that the default needs no server and no key.

Requests with a common prefix (same instructions, same explanation) are processed together, and the prefix is read
once. A question with choices costs one forward pass and yields exact probabilities; other answers are written
token by token.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.config import LocalConfig
from pipeline.llm.local.blanks import blank_positions_of, read_blanks
from pipeline.llm.local.chats import encode_chats
from pipeline.llm.local.model import LocalModel, load_local_model
from pipeline.llm.local.prefixes import Group, group_by_prefix
from pipeline.llm.local.writing import Row, choose, fill_keys, write
from pipeline.llm.requests import Answer, Request, now
from pipeline.llm.thinking import OnlyThought, no_room
from pipeline.models.load import load_subject_config, load_tokenizer, locate, pick_device

BATCH_TOKENS = 8192
"""Tokens per batch, shared ones counted for every row. This bounds the key/value cache (190 MB here)."""

INT8_BATCH_TOKENS = 2048
"""The same in int8 on a CPU, where models are larger: chosen by a batch's memory with 1.5B parameters, in addition
to 1.8 GB of weights."""

GPU_CACHE_BYTES = 1 << 30
"""On a GPU, a batch has as many tokens as fit in a 16-bit key/value cache of this size; for a large model as
above."""

PASS_COST, GPU_PASS_COST = 32, 2048
"""Fixed cost of a pass, in tokens that could be read in that time; large on a GPU, where launching is slow."""

_HERE = " in this process"

_MEASURED_ROWS, _MEASURED_TOKENS, _MEASURED_STEPS = 4, 256, 4
"""Size of the batch with which speed is measured."""


class Work(NamedTuple):
    """The work of answering requests.

    Attributes:
        new_tokens: Tokens of the prompts, with the prefix of a group counted once.
        read_tokens: The same including the padding of batches.
        passes: Forward passes: one per shared prefix, one to begin a batch, and one per token that its rows write.
    """

    new_tokens: int
    read_tokens: int
    passes: int


class Speed(NamedTuple):
    """The speed of a model on this machine.

    Attributes:
        tokens_per_second: Tokens read in a pass, without the fixed cost of a pass.
        passes_per_second: Passes with few tokens, which measure the fixed cost.
    """

    tokens_per_second: float
    passes_per_second: float

    def seconds(self, work: Work) -> float:
        """The time that some work takes."""
        return work.read_tokens / self.tokens_per_second + work.passes / self.passes_per_second


class LocalClient:
    """Answers with a transformers model, loaded on first use and once per process.

    Args:
        subject: Where the model is and its dtype, as for a subject model.
        device: `auto`, `cpu`, `cuda:1`, …

    Raises:
        SubjectError: The folder or package does not exist.
    """

    def __init__(self, subject: LocalConfig, device: str) -> None:
        locate(subject)
        self.subject = subject
        self._device = device
        self._only_thought = OnlyThought()

    def answer(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        """One answer per request, batch by batch.

        Raises:
            SubjectError: The model cannot be loaded.
            ConfigError: Choices do not differ in their first token, or the model's answers are only reasoning.
        """
        model = load_local_model(self.subject, self._device)
        prompts = _prompts(model, requests)
        fitting = []
        by_id = {request.request_id: request for request in requests}
        for index, request in enumerate(requests):
            n_needed = len(prompts[index]) + request.most_written
            if model.max_length is None or n_needed <= model.max_length:
                fitting.append(index)
            else:
                yield [self._too_long(request, len(prompts[index]), n_needed, model.max_length)]
        for answer, is_blank in ((self._answer_group, False), (self._fill_group, True)):
            some = [index for index in fitting if (requests[index].blank is not None) == is_blank]
            for group in group_by_prefix([prompts[index] for index in some], self._pass_cost):
                own = Group(tuple(some[index] for index in group.indices), group.n_shared)
                for answers in answer(model, requests, prompts, own):
                    yield answers
                    for each in answers:
                        request = by_id[each.request_id]
                        self._only_thought.count(each, request, where=_HERE, thinks=request.thinks)

    def work_of(self, requests: Sequence[Request]) -> Work:
        """The work of answering these requests at maximum length; only the tokenizer is loaded."""
        tokenizer = load_tokenizer(self.subject)
        prompts = [encode_chats(tokenizer, [each.messages], thinks=each.thinks)[0] for each in requests]
        new_tokens = read_tokens = passes = 0
        for indices, n_shared in group_by_prefix(prompts, self._pass_cost):
            new_tokens += n_shared + sum(len(prompts[index]) - n_shared for index in indices)
            read_tokens += n_shared
            passes += n_shared > 0
            for batch in _batches(indices, requests, prompts, self._batch_tokens):
                longest = max(len(prompts[index]) - n_shared for index in batch)
                read_tokens += len(batch) * longest
                passes += 1 + max(requests[index].most_written for index in batch)
        return Work(new_tokens, read_tokens, passes)

    def measure(self, requests: Sequence[Request]) -> Speed:
        """The model's speed on this machine, from a small batch of these requests. Raises SubjectError like
        `answer`."""
        model = load_local_model(self.subject, self._device)
        prompts = _prompts(model, requests[:_MEASURED_ROWS])
        suffixes = [prompt[:_MEASURED_TOKENS] for prompt in prompts]
        model.start(None, suffixes[:1])  # the first pass warms up
        started = time.monotonic()
        batch = model.start(None, suffixes)
        read = time.monotonic()
        for _ in range(_MEASURED_STEPS):
            batch.append([suffix[-1] for suffix in suffixes])
        a_pass = (time.monotonic() - read) / _MEASURED_STEPS
        n_tokens = len(suffixes) * max(map(len, suffixes))
        beside = max(read - started - a_pass, (read - started) / n_tokens)  # at least the time of one token
        return Speed(n_tokens / beside, 1 / a_pass)

    @property
    def _pass_cost(self) -> int:
        return GPU_PASS_COST if pick_device(self._device).type == "cuda" else PASS_COST

    @property
    def _batch_tokens(self) -> int:
        match pick_device(self._device).type:
            case "cuda":
                return max(BATCH_TOKENS, GPU_CACHE_BYTES // _cache_bytes(load_subject_config(self.subject)))
            case "cpu" if self.subject.precision == "int8":
                return INT8_BATCH_TOKENS
        return BATCH_TOKENS

    def _answer_group(
        self, model: LocalModel, requests: Sequence[Request], prompts: Sequence[Sequence[int]], group: Group
    ) -> Iterator[list[Answer]]:
        requested_at, start = now(), time.monotonic()
        prefix = model.read_prefix(prompts[group.indices[0]][: group.n_shared])
        for indices in _batches(group.indices, requests, prompts, self._batch_tokens):
            batch = model.start(prefix, [prompts[index][group.n_shared :] for index in indices])
            rows = [Row(requests[index], len(prompts[index]), group.n_shared) for index in indices]
            choose(model, batch, rows)
            fill_keys(model, batch, rows)
            write(model, batch, rows)
            # Each row's share of its batch's time, so that the shares add up to it.
            duration_ms = round((time.monotonic() - start) * 1000 / len(rows))
            yield [self._answered(row, requested_at, duration_ms) for row in rows]
            requested_at, start = now(), time.monotonic()

    def _fill_group(
        self, model: LocalModel, requests: Sequence[Request], prompts: Sequence[Sequence[int]], group: Group
    ) -> Iterator[list[Answer]]:
        """Answer requests with blanks; their common prefix, up to the first blank of any, is read once."""
        requested_at, start = now(), time.monotonic()
        blanks = {index: blank_positions_of(model, requests[index], prompts[index]) for index in group.indices}
        firsts = [blanks[index][0] - 1 for index in group.indices if blanks[index]]
        n_shared = min([group.n_shared, *firsts])
        prefix = model.read_prefix(prompts[group.indices[0]][:n_shared])
        for index in group.indices:
            row = Row(requests[index], len(prompts[index]), n_shared, status="ok")
            if blanks[index]:
                filled = read_blanks(model, prefix, n_shared, requests[index], prompts[index], blanks[index])
                row.values, row.choice_mass = filled.values, filled.least_mass
            yield [self._answered(row, requested_at, round((time.monotonic() - start) * 1000))]
            requested_at, start = now(), time.monotonic()

    def _answered(self, row: Row, requested_at: str, duration_ms: int) -> Answer:
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
            requested_at=now(),
            error=f"prompt and answer need {n_needed} tokens, but the model's limit is {max_length}",
        )


def _prompts(model: LocalModel, requests: Sequence[Request]) -> list[list[int]]:
    """The token ids of the requests' chats. Raises ConfigError if they leave a model no room to reason."""
    prompts = [model.encode(request.messages, thinks=request.thinks) for request in requests]
    for request, prompt in zip(requests, prompts, strict=True):
        if not request.thinks and model.opens_thought(prompt):
            raise no_room(request.model, _HERE)
    return prompts


def _batches(
    indices: Sequence[int], requests: Sequence[Request], prompts: Sequence[Sequence[int]], most_tokens: int
) -> Iterator[list[int]]:
    """Cut a group into batches of at most so many tokens, with padding and written tokens, or of one prompt."""
    batch: list[int] = []
    longest = 0
    for index in indices:
        length = len(prompts[index]) + requests[index].most_written
        if batch and max(longest, length) * (len(batch) + 1) > most_tokens:
            yield batch
            batch, longest = [], 0
        batch.append(index)
        longest = max(longest, length)
    yield batch


def _cache_bytes(config: Any) -> int:
    """Bytes of a token's keys and values in 16 bits, from a model's transformers config.

    A model without attention (Mamba) keeps one state per row, and is counted as if it had one head.
    """
    text = config.get_text_config()
    n_heads = getattr(text, "num_attention_heads", 1)
    heads = getattr(text, "num_key_value_heads", None) or n_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // n_heads
    return int(2 * 2 * text.num_hidden_layers * heads * width)
