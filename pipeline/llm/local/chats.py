"""The token ids of chats, for a model in this process."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from pipeline.llm.requests import Message
from pipeline.models.chat_template import template_ids


def encode_chats(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Sequence[Message]], *, thinks: bool = False
) -> list[list[int]]:
    """The token ids of chats up to where the model continues; the tokenizer is one of `load_tokenizer`.

    The model continues a last message of its own, or begins its turn, with reasoning if it `thinks`.
    """
    if not chats:
        return []
    if tokenizer.chat_template is None:
        lines = [[f"{each.role}: {each.content}" for each in chat] for chat in chats]
        own = ["assistant:" * (chat[-1].role != "assistant") for chat in chats]
        texts = ["\n".join([*each, *filter(None, [turn])]) for each, turn in zip(lines, own, strict=True)]
        ids: list[list[int]] = tokenizer(texts).input_ids
        return ids
    return template_ids(tokenizer, chats, asks=True, thinks=thinks)
