"""From a chat to token ids, as the model's own template writes it."""

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from pipeline.llm.requests import Message


def encode_chats(tokenizer: PreTrainedTokenizerBase, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
    """The token ids of chats up to where the model's turn begins."""
    if not chats:
        return []
    if tokenizer.chat_template is None:
        texts = ["\n".join([*(f"{each.role}: {each.content}" for each in chat), "assistant:"]) for chat in chats]
        ids: list[list[int]] = tokenizer(texts).input_ids
        return ids
    # A template writes its own special tokens.
    ids = tokenizer([_templated(tokenizer, chat) for chat in chats], add_special_tokens=False).input_ids
    return ids


def _templated(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Message]) -> str:
    try:
        return _apply_template(tokenizer, chat)
    except TemplateError:
        # Some templates (Gemma's) know no system role: what it says goes before the user's first words.
        system = [message.content for message in chat if message.role == "system"]
        others = [message for message in chat if message.role != "system"]
        if not system or not others:
            raise
        first = others[0]._replace(content="\n\n".join([*system, others[0].content]))
        return _apply_template(tokenizer, [first, *others[1:]])


def _apply_template(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Message]) -> str:
    messages = [message._asdict() for message in chat]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text
