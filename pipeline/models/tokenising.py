"""From texts to tokens: by the subject model's tokenizer, its chat template for chats, or as given."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from jinja2 import TemplateError

from pipeline.config import Config
from pipeline.errors import CorpusError
from pipeline.models.chat_template import template_ids
from pipeline.models.load import load_tokenizer
from pipeline.texts.text import Text

_TEXTS_AT_ONCE = 64


def tokenise(
    texts: Iterable[Text], config: Config, leave_out: Callable[[CorpusError], None] = lambda error: None
) -> Iterator[tuple[Text, list[int]]]:
    """Texts with the subject model's token ids for them, without BOS, in their order.

    The text of a chat, and of a text given as tokens, is decoded from its tokens. A chat that the template rejects
    is passed to `leave_out`.

    Raises:
        CorpusError: The model has no chat template, or lacks a token of a text given as tokens.
    """
    tokenizer = load_tokenizer(config.subject)
    iterator = iter(texts)
    while batch := list(islice(iterator, _TEXTS_AT_ONCE)):
        plain = [text.text for text in batch if not text.turns and not text.token_ids]
        encoded = iter(tokenizer(plain, add_special_tokens=False).input_ids if plain else ())
        for text in batch:
            if text.token_ids:
                yield _as_it_came(tokenizer, text, config)
            elif text.turns:
                try:
                    yield _chat(tokenizer, text, config)
                except TemplateError as error:
                    leave_out(CorpusError(f"chat {text.unit} of '{text.source}': the chat template says: {error}"))
            else:
                yield text, next(encoded)


def bos_prefix(config: Config) -> list[int]:
    """The tokens that begin each context: the BOS token id if the config asks for it, else none.

    Raises CorpusError if the tokenizer has no such token.
    """
    if not config.corpus.prepend_bos:
        return []
    bos = load_tokenizer(config.subject).bos_token_id
    if bos is None:
        raise CorpusError(
            f"corpus.prepend_bos is set, but the tokenizer of '{config.subject.model}' has no BOS token"
        )
    return [bos]


def decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """The text of tokens, including control tokens."""
    words: str = tokenizer.decode(token_ids, clean_up_tokenization_spaces=False)
    return words


def _chat(tokenizer: Any, text: Text, config: Config) -> tuple[Text, list[int]]:
    if tokenizer.chat_template is None:
        raise CorpusError(
            f"corpus source '{text.source}' holds chats (messages_field), and the tokenizer of "
            f"'{config.subject.model}' has no chat template to render them; read a text_field instead"
        )
    ids = _own_bos(tokenizer, template_ids(tokenizer, [text.turns], asks=False)[0], config)
    return text._replace(text=decode(tokenizer, ids)), ids


def _as_it_came(tokenizer: Any, text: Text, config: Config) -> tuple[Text, list[int]]:
    if (largest := max(text.token_ids)) >= len(tokenizer):
        raise CorpusError(
            f"corpus source '{text.source}', {text.unit}: token {largest} is not among the {len(tokenizer):,} "
            f"tokens of '{config.subject.model}'; it was tokenised for another model: use that "
            "model, or read the source's text, if it has one (text_field)"
        )
    ids = _own_bos(tokenizer, list(text.token_ids), config)
    return text._replace(text=decode(tokenizer, ids)), ids


def _own_bos(tokenizer: Any, ids: list[int], config: Config) -> list[int]:
    """Tokens without a leading BOS, if every context gets its own (corpus.prepend_bos)."""
    return ids[1:] if config.corpus.prepend_bos and ids[:1] == [tokenizer.bos_token_id] else ids
