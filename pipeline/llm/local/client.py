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
from pipeline.llm.local.prefixes import group_by_prefix
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


class _Prompt(NamedTuple):
    """A request, and the token ids of its chat."""

    request: Request
    ids: list[int]

    @property
    def n_needed(self) -> int:
        """Tokens of the prompt and of the longest answer."""
        return len(self.ids) + self.request.most_written


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
        by_id = {request.request_id: request for request in requests}
        fitting = []
        for prompt in _prompts(model, requests):
            if model.max_length is None or prompt.n_needed <= model.max_length:
                fitting.append(prompt)
            else:
                yield [self._too_long(prompt, model.max_length)]
        for answer, is_blank in ((self._answer_group, False), (self._fill_group, True)):
            some = [prompt for prompt in fitting if (prompt.request.blank is not None) == is_blank]
            for group, n_shared in _groups(some, self._pass_cost):
                for answers in answer(model, group, n_shared):
                    yield answers
                    for each in answers:
                        request = by_id[each.request_id]
                        self._only_thought.count(each, request, where=_HERE, thinks=request.thinks)

    def work_of(self, requests: Sequence[Request]) -> Work:
        """The work of answering these requests at maximum length; only the tokenizer is loaded."""
        tokenizer = load_tokenizer(self.subject)
        encoded = (encode_chats(tokenizer, [each.messages], thinks=each.thinks)[0] for each in requests)
        new_tokens = read_tokens = passes = 0
        for group, n_shared in _groups(list(map(_Prompt, requests, encoded)), self._pass_cost):
            new_tokens += n_shared + sum(len(prompt.ids) - n_shared for prompt in group)
            read_tokens += n_shared
            passes += n_shared > 0
            for batch in _batches(group, self._batch_tokens):
                read_tokens += len(batch) * max(len(prompt.ids) - n_shared for prompt in batch)
                passes += 1 + max(prompt.request.most_written for prompt in batch)
        return Work(new_tokens, read_tokens, passes)

    def measure(self, requests: Sequence[Request]) -> Speed:
        """The model's speed on this machine, from a small batch of these requests. Raises SubjectError like
        `answer`."""
        model = load_local_model(self.subject, self._device)
        prompts = _prompts(model, requests[:_MEASURED_ROWS])
        suffixes = [prompt.ids[:_MEASURED_TOKENS] for prompt in prompts]
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

    def _answer_group(self, model: LocalModel, group: Sequence[_Prompt], n_shared: int) -> Iterator[list[Answer]]:
        requested_at, start = now(), time.monotonic()
        prefix = model.read_prefix(group[0].ids[:n_shared])
        for prompts in _batches(group, self._batch_tokens):
            batch = model.start(prefix, [prompt.ids[n_shared:] for prompt in prompts])
            rows = [Row(prompt.request, len(prompt.ids), n_shared) for prompt in prompts]
            choose(model, batch, rows)
            fill_keys(model, batch, rows)
            write(model, batch, rows)
            # Each row's share of its batch's time, so that the shares add up to it.
            duration_ms = round((time.monotonic() - start) * 1000 / len(rows))
            yield [self._answered(row, requested_at, duration_ms) for row in rows]
            requested_at, start = now(), time.monotonic()

    def _fill_group(self, model: LocalModel, group: Sequence[_Prompt], n_shared: int) -> Iterator[list[Answer]]:
        """Answer requests with blanks; their common prefix, up to the first blank of any, is read once."""
        requested_at, start = now(), time.monotonic()
        blanks = [blank_positions_of(model, prompt.request, prompt.ids) for prompt in group]
        n_shared = min([n_shared, *(positions[0] - 1 for positions in blanks if positions)])
        prefix = model.read_prefix(group[0].ids[:n_shared])
        for prompt, positions in zip(group, blanks, strict=True):
            row = Row(prompt.request, len(prompt.ids), n_shared, status="ok")
            if positions:
                filled = read_blanks(model, prefix, n_shared, prompt.request, prompt.ids, positions)
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

    def _too_long(self, prompt: _Prompt, max_length: int) -> Answer:
        return Answer(
            request_id=prompt.request.request_id,
            status="too_long",
            resolved_model=self.subject.model,
            prompt_tokens=len(prompt.ids),
            requested_at=now(),
            error=f"prompt and answer need {prompt.n_needed} tokens, but the model's limit is {max_length}",
        )


def _prompts(model: LocalModel, requests: Sequence[Request]) -> list[_Prompt]:
    """The requests as prompts. Raises ConfigError if they leave a model no room to reason."""
    prompts = [_Prompt(each, model.encode(each.messages, thinks=each.thinks)) for each in requests]
    for request, ids in prompts:
        if not request.thinks and model.opens_thought(ids):
            raise no_room(request.model, _HERE)
    return prompts


def _groups(prompts: Sequence[_Prompt], pass_cost: int) -> Iterator[tuple[list[_Prompt], int]]:
    """Groups of prompts that are read together, and the number of tokens that all of a group begin with."""
    for indices, n_shared in group_by_prefix([prompt.ids for prompt in prompts], pass_cost):
        yield [prompts[index] for index in indices], n_shared


def _batches(prompts: Sequence[_Prompt], most_tokens: int) -> Iterator[list[_Prompt]]:
    """Cut a group into batches of at most so many tokens, with padding and written tokens, or of one prompt."""
    batch: list[_Prompt] = []
    longest = 0
    for prompt in prompts:
        if batch and max(longest, prompt.n_needed) * (len(batch) + 1) > most_tokens:
            yield batch
            batch, longest = [], 0
        batch.append(prompt)
        longest = max(longest, prompt.n_needed)
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
