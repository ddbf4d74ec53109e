"""Token ids of a chat, rendered with the model's template.

Messages cannot inject control tokens: only the template writes these, and one spelled in a message is read as
ordinary characters.
"""

import copy
from collections.abc import Mapping, Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

Chat = Sequence[tuple[str, str]]
"""Turns of role (system, user, assistant) and content."""


def template_ids(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat], *, asks: bool, thinks: bool = False
) -> list[list[int]]:
    """The token ids of chats by the template of a tokenizer of `load_tokenizer`.

    Args:
        tokenizer: A tokenizer with a chat template.
        chats: The chats.
        asks: Whether the chats end where the model's turn begins, or continues if the last turn is its own.
        thinks: Whether that turn may begin with reasoning, for a template that has a switch for it.

    Raises:
        TemplateError: The template rejects the turns.
    """
    tokenizer = copy.copy(tokenizer)
    tokenizer.split_special_tokens = False  # for what the template writes
    # Qwen, SmolLM3 and GLM name the switch the first way, Granite and DeepSeek the second. A text that is only
    # read has no turn to come.
    switches = dict.fromkeys(("enable_thinking", "thinking"), thinks) if asks else {}
    return [_of_chat(tokenizer, chat, asks, switches) for chat in chats]


def _of_chat(
    tokenizer: PreTrainedTokenizerBase, chat: Chat, asks: bool, switches: Mapping[str, bool]
) -> list[int]:
    try:
        return _apply_template(tokenizer, chat, asks, switches)
    except TemplateError:
        # Some templates (Gemma's) have no system role: the system message goes before the user's first message.
        system = [content for role, content in chat if role == "system"]
        others = [turn for turn in chat if turn[0] != "system"]
        if not system or not others:
            raise
        first = others[0][0], "\n\n".join([*system, others[0][1]])
        return _apply_template(tokenizer, [first, *others[1:]], asks, switches)


def _apply_template(
    tokenizer: PreTrainedTokenizerBase, chat: Chat, asks: bool, switches: Mapping[str, bool]
) -> list[int]:
    messages = [{"role": role, "content": content} for role, content in chat]
    goes_on = asks and messages[-1]["role"] == "assistant"
    ids: list[int] = tokenizer.apply_chat_template(
        messages,
        add_generation_prompt=asks and not goes_on,
        continue_final_message=goes_on,
        sanitize_control_tokens=True,
        return_dict=False,
        **switches,
    )
    return ids
