"""Counting a prompt's tokens before it is sent, with the model's own tokenizer or the nearest thing to it."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from pipeline.llm.local.chats import encode_chats
from pipeline.llm.requests import Message


class TokenCounter(NamedTuple):
    """Counts tokens with a tokenizer, corrected by a factor, and says so."""

    tokenizer: PreTrainedTokenizerBase
    factor: float
    by: str

    def chats(self, chats: Sequence[Sequence[Message]]) -> list[float]:
        """The tokens of each chat."""
        return [self.factor * len(ids) for ids in encode_chats(self.tokenizer, chats)]

    def texts(self, texts: Sequence[str]) -> list[float]:
        """The tokens of each text."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False).input_ids
        return [self.factor * len(ids) for ids in encoded]


def own_counter(tokenizer: PreTrainedTokenizerBase) -> TokenCounter:
    """Counts with the model's own tokenizer."""
    return TokenCounter(tokenizer, 1.0, "its own tokenizer")


def foreign_counter(
    tokenizer: PreTrainedTokenizerBase, recorded: Sequence[tuple[Sequence[Message], int]]
) -> TokenCounter:
    """Counts with another model's tokenizer, corrected by prompts that the server has counted the tokens of."""
    if not recorded:
        return TokenCounter(tokenizer, 1.0, "the subject's tokenizer, as nothing is recorded")
    counted = sum(map(len, encode_chats(tokenizer, [messages for messages, _ in recorded])))
    factor = sum(tokens for _, tokens in recorded) / counted
    by = f"the subject's tokenizer, times {factor:.2f} as {len(recorded)} recorded prompts say"
    return TokenCounter(tokenizer, factor, by)
