"""The bytes of a single token, by its tokenizer's own rules.

A token may hold only part of a UTF-8 character, so it cannot always be shown as text by itself. Its bytes can be
joined with those of its neighbours and then decoded.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], bytes]:
    """A function from token id to bytes.

    Byte-level BPE (GPT-2, Llama 3, SmolLM2) spells each byte as one character; SentencePiece (Llama 2,
    Gemma) writes spaces as U+2581 and stray bytes as <0xHH>. Added tokens represent themselves, except tokens that
    are not special and also in the model's own vocabulary, such as Gemma's runs of spaces.
    """
    model = tokenizer.backend_tokenizer.model
    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"]
    literal = {
        token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special or model.token_to_id(token.content) is None
    }
    if "ByteLevel" in _types(decoder):
        byte_of = {character: bytes([byte]) for byte, character in bytes_to_unicode().items()}

        def spell(token: str) -> bytes:
            return b"".join(byte_of.get(character, character.encode()) for character in token)

    else:

        def spell(token: str) -> bytes:
            byte = _BYTE_TOKEN.fullmatch(token)
            return bytes([int(byte[1], 16)]) if byte else token.replace("\u2581", " ").encode()

    def of(token_id: int) -> bytes:
        token = tokenizer.convert_ids_to_tokens(token_id)
        if token is None:  # a hole in the vocabulary
            return b""
        return token.encode() if token_id in literal else spell(token)

    return of


def _types(decoder: Any) -> Iterator[str]:
    """The types of a decoder and of those inside it, from the tokenizer's own JSON."""
    if isinstance(decoder, dict):
        yield str(decoder.get("type"))
        for part in decoder.get("decoders", ()):
            yield from _types(part)
