"""From a chat to token ids, as the model's own template writes it.

What is said in a chat has no power: only the template writes control tokens, and one that is spelled in a message
is read as ordinary characters.
"""

import copy
from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from pipeline.llm.requests import Message


def encode_chats(tokenizer: PreTrainedTokenizerBase, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
    """The token ids of chats up to where the model goes on; the tokenizer is one of `load_tokenizer`.

    It goes on behind a last message of its own, or begins its turn.
    """
    if not chats:
        return []
    if tokenizer.chat_template is None:
        lines = [[f"{each.role}: {each.content}" for each in chat] for chat in chats]
        own = ["assistant:" * (chat[-1].role != "assistant") for chat in chats]
        texts = ["\n".join([*each, *filter(None, [turn])]) for each, turn in zip(lines, own, strict=True)]
        ids: list[list[int]] = tokenizer(texts).input_ids
        return ids
    tokenizer = copy.copy(tokenizer)
    tokenizer.split_special_tokens = False  # for what the template writes
    return [_templated(tokenizer, chat) for chat in chats]


def _templated(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Message]) -> list[int]:
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


def _apply_template(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Message]) -> list[int]:
    messages = [message._asdict() for message in chat]
    goes_on = chat[-1].role == "assistant"
    ids: list[int] = tokenizer.apply_chat_template(
        messages,
        add_generation_prompt=not goes_on,
        continue_final_message=goes_on,
        sanitize_control_tokens=True,
        return_dict=False,
    )
    return ids
