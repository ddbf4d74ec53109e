"""From a chat to the token ids that a model in this process reads."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from pipeline.llm.requests import Message
from pipeline.models.chat_template import template_ids


def encode_chats(tokenizer: PreTrainedTokenizerBase, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
    """The token ids of chats up to where the model's turn begins; the tokenizer is one of `load_tokenizer`."""
    if not chats:
        return []
    if tokenizer.chat_template is None:
        texts = ["\n".join([*(f"{each.role}: {each.content}" for each in chat), "assistant:"]) for chat in chats]
        ids: list[list[int]] = tokenizer(texts).input_ids
        return ids
    return template_ids(tokenizer, chats, asks=True)
