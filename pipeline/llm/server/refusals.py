"""The words in which servers refuse what a request uses.

OpenAI refuses a parameter with HTTP 403, as a firewall refuses a text and any server a bad key: then only the
words tell them apart.
"""

import re
from typing import Literal

Refusable = Literal[
    "max_tokens",
    "schema",
    "prompt_logprobs",
    "logprobs",
    "reasoning_effort",
    "temperature",
    "stop",
    "system",
]
"""What a server may refuse to take."""

_WORDS: dict[Refusable, str] = {
    "max_tokens": "max_completion_tokens|max_tokens",
    "schema": "response_format|json_schema|schema",
    "prompt_logprobs": "prompt_logprobs|continue_final_message|add_generation_prompt|logprobs",
    "logprobs": "top_logprobs|logprobs",
    "reasoning_effort": "reasoning_effort|reasoning",
    "temperature": "temperature",
    "stop": "stop",
    # Chat templates (Gemma, Mistral 7B, Llama 2), OpenAI's o1-mini, and Google's API for Gemma.
    "system": (
        r"[Ss]ystem (role|message|prompt)|'system'|[Rr]oles must alternate|[Oo]nly user and assistant roles"
        r"|Developer instruction"
    ),
}


def refuses(what: Refusable, said: str) -> bool:
    """Whether a refusal's message names this."""
    return re.search(rf"(?<!\w)({_WORDS[what]})(?!\w)", said) is not None


def refuses_anything(said: str) -> bool:
    """Whether a refusal's message names anything that a request could do without."""
    return any(refuses(what, said) for what in _WORDS)
