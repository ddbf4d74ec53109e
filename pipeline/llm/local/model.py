"""A causal language model in this process: its tokenizer, its chat template, and a forward pass over a batch.

A batch of prompts with a common beginning is laid out as

    the shared prefix, from a key/value cache | padding | the rest of each prompt

so that the last column is every row's next token, and one cache serves all rows. Padding is masked, and
positions are counted without it.
"""

import copy
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError
from pipeline.llm.choices import choice_of, first_word
from pipeline.llm.local.chats import encode_chats
from pipeline.llm.local.precise_head import precise_head
from pipeline.llm.requests import Message
from pipeline.llm.texts import opens_thought, parts_thought
from pipeline.models.causal import load_causal
from pipeline.models.load import load_tokenizer, pick_device
from pipeline.models.token_bytes import token_bytes

_TAG_TOKENS = 8
"""Enough for a tag of reasoning and a line end."""

_READ_LOGITS = 1 << 25
"""Logits per batch of texts (128 MB). Fixed, because the division into batches affects the last digits."""


class LocalModel:
    """A loaded causal language model (with its LM head) and its tokenizer."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:
        self._model = model.eval().to(device)
        self.tokenizer = tokenizer
        self.device = device
        self.end_ids = _end_ids(model, tokenizer)
        self.max_length: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def encode(self, messages: Sequence[Message], *, thinks: bool = False) -> list[int]:
        """The token ids of a chat up to where the model's turn begins, with reasoning if it `thinks`."""
        return encode_chats(self.tokenizer, [messages], thinks=thinks)[0]

    def opens_thought(self, prompt: Sequence[int]) -> bool:
        """Whether a chat's template has opened the reasoning with which the model's turn begins."""
        return opens_thought(self.tokenizer.decode(list(prompt[-_TAG_TOKENS:])))

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of what the model wrote, without special tokens but for those around its reasoning."""
        text: str = self.tokenizer.decode([each for each in token_ids if each not in self._left_out])
        return text

    @cached_property
    def _left_out(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        special = {token_id: str(token) for token_id, token in added if token.special}
        return frozenset(token_id for token_id, token in special.items() if not parts_thought(token))

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The bytes of each token, one character per byte, so that positions survive when they are joined."""
        return [self._bytes_of(token_id).decode("latin-1") for token_id in token_ids]

    def tokens(self, text: str) -> list[int]:
        """The token ids of a plain text."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    @cached_property
    def _bytes_of(self) -> Any:
        return token_bytes(self.tokenizer)

    @cache  # noqa: B019 - models live as long as the process
    def choice_token_ids(self, choices: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        """The tokens that represent each choice, in usual spellings, with or without a space before it.

        Raises ValueError if no token begins only this choice.
        """
        found: dict[str, set[int]] = {choice: set() for choice in choices}
        for choice in choices:
            word = choice.split()[0] if choice.split() else choice
            for spelling in (word, word.lower(), word.upper(), word.capitalize()):
                for text in (spelling, " " + spelling):
                    first = self.tokenizer(text, add_special_tokens=False).input_ids[:1]
                    if first and choice_of(self.tokenizer.decode(first), choices) == choice:
                        found[choice].update(first)
            whole = {each for each in found[choice] if self._word(each) == first_word(choice)}
            found[choice] = whole or found[choice]
            if not found[choice]:
                raise ValueError(f"choice {choice!r} begins with no token of its own among {choices}")
        return tuple(tuple(sorted(found[choice])) for choice in choices)

    @torch.inference_mode()
    def read_prefix(self, token_ids: Sequence[int]) -> DynamicCache | None:
        """The key/value cache of a prefix, one row; None for an empty one."""
        if not token_ids:
            return None
        cache = DynamicCache(config=self._model.config)
        self._model(
            input_ids=torch.tensor([token_ids], device=self.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return cache

    @torch.inference_mode()
    def start(self, prefix: DynamicCache | None, suffixes: Sequence[Sequence[int]]) -> "Batch":
        """Read suffixes (token ids, at least one each) after a shared prefix, which is not changed."""
        if prefix is None:
            cache, n_prefix = DynamicCache(config=self._model.config), 0
        else:
            cache, n_prefix = copy.deepcopy(prefix), prefix.get_seq_length()
            cache.batch_repeat_interleave(len(suffixes))
        longest = max(map(len, suffixes))
        pads = torch.tensor([longest - len(suffix) for suffix in suffixes])
        ids = torch.tensor([[self.end_ids[0]] * (longest - len(suffix)) + list(suffix) for suffix in suffixes])
        columns = torch.arange(longest)
        is_real = columns >= pads[:, None]  # [n_rows, longest]
        mask = torch.cat([torch.ones(len(suffixes), n_prefix, dtype=torch.bool), is_real], dim=1).long()
        positions = n_prefix + (columns - pads[:, None]).clamp(min=0)
        batch = Batch(self._model, cache, mask.to(self.device), positions[:, -1:].to(self.device))
        with precise_head(self._model):
            batch.forward(ids.to(self.device), positions.to(self.device))
        return batch

    @torch.inference_mode()
    def read_behind(
        self, prefix: DynamicCache | None, suffix: Sequence[int], columns: Sequence[int]
    ) -> tuple[Tensor, DynamicCache]:
        """Read one suffix: the log-probabilities after some of its tokens, float32 [n_columns, n_tokens].

        Also returns the cache of everything read; the prefix is not changed.
        """
        cache = copy.deepcopy(prefix) if prefix else DynamicCache(config=self._model.config)
        with precise_head(self._model):
            output = self._model(
                input_ids=torch.tensor([suffix], device=self.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=torch.tensor(columns, device=self.device),
            )
        return output.logits[0].float().log_softmax(dim=-1), cache

    @torch.inference_mode()
    def read_branches(self, cache: DynamicCache, token_id: int, lengths: Sequence[int]) -> Tensor:
        """The log-probabilities after one more token at each of several positions, float32 [n_lengths, n_tokens].

        Each is read as if it directly followed the first `length` tokens of the cache. The cache is changed: the
        tokens are appended to it.
        """
        n, n_read = len(lengths), cache.get_seq_length()
        ends = torch.tensor(lengths, device=self.device)
        is_before = torch.arange(n_read, device=self.device) < ends[:, None]
        is_seen = torch.cat([is_before, torch.eye(n, device=self.device).bool()], dim=1)
        mask = torch.zeros(1, 1, n, n_read + n, dtype=self._model.dtype, device=self.device)
        mask = mask.masked_fill(~is_seen, torch.finfo(self._model.dtype).min)
        with precise_head(self._model):
            output = self._model(
                input_ids=torch.full((1, n), token_id, device=self.device),
                attention_mask=mask,
                position_ids=ends[None],
                past_key_values=cache,
                use_cache=True,
            )
        logits: Tensor = output.logits[0]
        return logits.float().log_softmax(dim=-1)

    @torch.inference_mode()
    def losses(self, prefix: DynamicCache | None, suffixes: Sequence[Sequence[int]]) -> list[float]:
        """The mean loss (nats per token) of each suffix after its first token; the prefix is not changed."""
        means = [0.0] * len(suffixes)
        for rows in self._cut(suffixes):
            cache = copy.deepcopy(prefix) if prefix else DynamicCache(config=self._model.config)
            if prefix:
                cache.batch_repeat_interleave(len(rows))
            said = self._said([suffixes[row] for row in rows], 1, cache)
            for row, logprobs in zip(rows, said, strict=True):
                means[row] = -float(logprobs[: len(suffixes[row]) - 1].mean())
        return means

    @torch.inference_mode()
    def log_probabilities(self, prefixes: Sequence[str], text: str) -> list[float]:
        """log p(text | prefix) in nats for each prefix: the sum over the text's tokens; 0 for only white space."""
        own = self.tokens(text) if text.strip() else []
        if not own:
            return [0.0] * len(prefixes)
        # Including the tokens that the tokenizer puts before every text.
        before: list[list[int]] = self.tokenizer(list(prefixes)).input_ids
        sums = [0.0] * len(prefixes)
        for rows in self._cut(before, len(own)):
            first = min(len(before[row]) for row in rows)
            said = self._said([[*before[row], *own] for row in rows], first)
            for row, logprobs in zip(rows, said, strict=True):
                start = len(before[row]) - first
                sums[row] = float(logprobs[start : start + len(own)].double().sum())
        return sums

    def _cut(self, texts: Sequence[Sequence[int]], n_more: int = 0) -> Iterator[list[int]]:
        """The indices of texts, shorter ones first, in groups whose logits (with n_more tokens per text) fit."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        vocab_size = self._model.config.get_text_config().vocab_size
        rows: list[int] = []
        for index in order:
            if rows and (len(rows) + 1) * (len(texts[index]) + n_more) * vocab_size > _READ_LOGITS:
                yield rows
                rows = []
            rows.append(index)
        if rows:
            yield rows

    def _said(self, texts: Sequence[Sequence[int]], first: int, cache: DynamicCache | None = None) -> Tensor:
        """log p of each token of texts from position `first` (at least 1), float32 [n_texts, longest - first].

        Texts are padded on the right, which a causal model does not see; the values of padding are meaningless.
        """
        longest = max(map(len, texts))
        padded = [[*text, *[self.end_ids[0]] * (longest - len(text))] for text in texts]
        ids = torch.tensor(padded, device=self.device)
        with precise_head(self._model):
            logits = self._model(
                input_ids=ids,
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=torch.arange(first - 1, longest - 1, device=self.device),
            ).logits.float()
        said: Tensor = logits.gather(2, ids[:, first:, None])[..., 0] - logits.logsumexp(dim=-1)
        return said

    def _word(self, token_id: int) -> str:
        return str(self.tokenizer.decode([token_id])).strip().lower()


class Batch:
    """Rows that are being read or written together.

    `logits` are those of each row's next token, float32 [n_rows, n_tokens].
    """

    def __init__(self, model: Any, cache: DynamicCache, mask: Tensor, last_positions: Tensor) -> None:
        self._model = model
        self._cache = cache
        self._mask = mask  # [n_rows, prefix and columns], 0 on padding
        self._last_positions = last_positions  # [n_rows, 1]
        self.logits = torch.empty(0)

    def forward(self, ids: Tensor, positions: Tensor) -> None:
        """Read ids [n_rows, n_columns] at positions of the same shape; the mask already covers them."""
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,  # the LM head is applied to the last column only
        )
        self.logits = output.logits[:, -1].float()

    def append(self, token_ids: Sequence[int]) -> None:
        """Read one more token per row."""
        self.extend([[token_id] for token_id in token_ids])

    @torch.inference_mode()
    def extend(self, token_ids: Sequence[Sequence[int]]) -> None:
        """Read some more tokens per row, at least one each; shorter rows are padded on the left."""
        longest = max(map(len, token_ids))
        pads = torch.tensor([[longest - len(each)] for each in token_ids])
        ids = torch.tensor([[each[-1]] * (longest - len(each)) + list(each) for each in token_ids])
        columns = torch.arange(longest)
        device = self._mask.device
        self._mask = torch.cat([self._mask, (columns >= pads).long().to(device)], dim=1)
        positions = self._last_positions + 1 + (columns - pads).clamp(min=0).to(device)
        self._last_positions = positions[:, -1:]
        self.forward(ids.to(device), positions)

    def part(self, rows: Sequence[int], n_rows: int) -> "Batch":
        """Some of the `n_rows` rows as a batch of their own; continuing it does not change this one."""
        part = copy.copy(self)
        if len(rows) < n_rows:
            part._cache = copy.deepcopy(self._cache)
            part.keep(rows)
        return part

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Continue with some of the rows only."""
        chosen = torch.tensor(rows, device=self._mask.device)
        self._cache.batch_select_indices(chosen)
        self._mask, self._last_positions = self._mask[chosen], self._last_positions[chosen]
        self.logits = self.logits[chosen]


def load_local_model(subject: SubjectConfig, device: str) -> LocalModel:
    """The model in its dtype on a device, loaded once per process. Raises SubjectError if that fails."""
    return _load(subject, str(pick_device(device)))


@cache
def _load(subject: SubjectConfig, device: str) -> LocalModel:
    return LocalModel(load_causal(subject, device), load_tokenizer(subject), torch.device(device))


def _end_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens that end a turn, ascending."""
    given = model.generation_config.eos_token_id if model.generation_config is not None else None
    listed = given if isinstance(given, list) else [given]
    ids = {int(each) for each in [*listed, tokenizer.eos_token_id] if each is not None}
    if not ids:
        raise SubjectError(f"model '{model.name_or_path}' defines no token that ends its turn (eos_token_id)")
    return tuple(sorted(ids))
