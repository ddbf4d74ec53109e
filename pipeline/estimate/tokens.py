"""Counts a prompt's tokens before it is sent, with the model's own tokenizer or an approximation."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from pipeline.llm.local.chats import encode_chats
from pipeline.llm.requests import Message


class TokenCounter(NamedTuple):
    """Counts tokens with a tokenizer, corrected by a factor.

    Attributes:
        tokenizer: The tokenizer.
        factor: Factor by which its counts are multiplied.
        by: A description of the method, for the table `estimate`.
        is_of_texts: Whether prompts are single texts, without a chat template.
    """

    tokenizer: PreTrainedTokenizerBase
    factor: float
    by: str
    is_of_texts: bool = False

    def prompts(self, prompts: Sequence[Sequence[Message]]) -> list[float]:
        """The tokens of each prompt."""
        if self.is_of_texts:
            return self.texts([prompt[0].content for prompt in prompts])
        return [self.factor * len(ids) for ids in encode_chats(self.tokenizer, prompts)]

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
    tokenizer: PreTrainedTokenizerBase,
    recorded: Sequence[tuple[Sequence[Message], int]],
    *,
    is_of_texts: bool,
) -> TokenCounter:
    """Counts with another model's tokenizer, corrected by recorded prompts whose tokens the server has counted."""
    plain = TokenCounter(tokenizer, 1.0, "the subject's tokenizer (nothing is recorded yet)", is_of_texts)
    if not recorded:
        return plain
    counted = sum(plain.prompts([messages for messages, _ in recorded]))
    factor = sum(tokens for _, tokens in recorded) / counted
    by = f"the subject's tokenizer, times {factor:.2f} (from {len(recorded)} recorded prompts)"
    return plain._replace(factor=factor, by=by)
