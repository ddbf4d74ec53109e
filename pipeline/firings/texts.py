"""Firings in texts outside the corpus, typed by a person or written by a model."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.firings.forward import encode_batch, open_reader
from pipeline.lake import Lake
from pipeline.models.load import load_tokenizer
from pipeline.models.tokenising import bos_prefix
from pipeline.subject.contexts import pad_contexts
from pipeline.subject.forward import load_subject

Activations = dict[int, list[NDArray[np.float32]]]
"""By feature, the activation on every token of each text; 0 where it does not fire."""

ReadTexts = Callable[[Lake, str, Sequence[Sequence[int]], Collection[int]], Activations]


def text_tokens(lake: Lake, text: str, max_tokens: int) -> list[int]:
    """A text's first tokens as in a context, after BOS if the corpus has it.

    A control token that is spelled in it is read as ordinary characters.
    """
    token_ids = load_tokenizer(lake.config.subject)(text, add_special_tokens=False).input_ids
    return [*bos_prefix(lake.config), *token_ids][: min(max_tokens, lake.config.corpus.context_length)]


def text_activations(
    lake: Lake, sae: str, texts: Sequence[Sequence[int]], features: Collection[int]
) -> Activations:
    """What an SAE's features are on some texts, of token ids, one or more.

    All texts go through one forward pass: what is read together decides the last digits.
    """
    length = max(map(len, texts))
    subject = load_subject(lake.config.subject, lake.config.device)
    reader = open_reader(lake.config, lake.config.sae(sae), subject.device)
    [(_, firings)] = encode_batch(pad_contexts(list(enumerate(texts)), length), subject, {sae: reader})
    found = {}
    for feature in features:
        is_own = firings.feature == feature
        dense = np.zeros(len(texts) * length, np.float32)
        dense[firings.token_index[is_own]] = firings.activation[is_own]
        found[feature] = [row[: len(text)] for row, text in zip(dense.reshape(-1, length), texts, strict=True)]
    return found
