"""Checks of the corpus: that it has text, and that contexts fit the subject model and a cache's rows."""

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from pipeline.config import Config, DelphiRows, FileTexts, PythonTexts, TextSource
from pipeline.errors import CorpusError, SubjectError
from pipeline.models.load import read_positions
from pipeline.models.tokenising import tokenise
from pipeline.texts.delphi import cache_settings, splits_of
from pipeline.texts.files import source_files
from pipeline.texts.readers import read_texts, source_name

_log = logging.getLogger(__name__)


def check_corpus(config: Config, to_read: Sequence[TextSource]) -> None:
    """Check that the sources still to be read exist and, if these are all, that one of them has some text."""
    has_text = len(to_read) < len(config.corpus.sources)
    unreadable: list[CorpusError] = []
    leave_out = None if config.corpus.unreadable == "stop" else unreadable.append
    for source in to_read:
        if isinstance(source, PythonTexts):
            has_text = True
            continue
        if isinstance(source, FileTexts):
            source_files(source)
        filled = (text for text in read_texts(source, leave_out) if not text.is_empty)
        has_text |= next(tokenise(islice(filled, 1), config), None) is not None
    if not has_text:
        if unreadable:
            raise unreadable[0]
        names = ", ".join(f"'{source_name(source)}'" for source in config.corpus.sources)
        raise CorpusError(f"the corpus is empty: no text in {names}")


def check_positions(config: Config) -> None:
    """Check that the subject model has a position for each token of a context, its BOS included.

    Warn if a model with rotary positions, which have no end, was made for fewer.
    """
    if all(sae.source is None for sae in config.saes):  # the model is not run
        return
    length, positions = config.corpus.context_length, read_positions(config.subject)
    if positions is None or length <= positions.n:
        return
    if not positions.is_rotary:
        raise SubjectError(
            f"corpus.context_length is {length}, but '{config.subject.model}' has only {positions.n} positions; "
            f"set corpus.context_length to {positions.n} or less"
        )
    _log.warning(
        f"corpus.context_length is {length}, but '{config.subject.model}' was made for at most {positions.n} "
        "tokens; its activations beyond may mean nothing"
    )


def check_cache(config: Config, cache: DelphiRows) -> None:
    """Check that a cache has every SAE of the config, with its number of features and rows that fit into contexts.

    Warn if it names another model: a different tokenizer may accept all its tokens but decode them to other text.
    """
    for sae in config.saes:
        splits = splits_of(cache.folder / sae.hookpoint)
        if splits[-1].end != sae.n_features:
            raise CorpusError(
                f"delphi's cache '{splits[0].path.parent}' has {splits[-1].end} features, but the config says "
                f"n_features: {sae.n_features}"
            )
        _, length = splits[0].shape
        if length > config.corpus.context_length:
            raise CorpusError(
                f"rows of delphi's cache '{cache.path}' have {length} tokens; set corpus.context_length: {length}"
            )
        model = cache_settings(cache.folder / sae.hookpoint).get("model_name", config.subject.model)
        if Path(str(model)).name != Path(config.subject.model).name:
            _log.warning(
                f"delphi's cache '{cache.folder / sae.hookpoint}' was made with the model '{model}', and "
                f"subject.model is '{config.subject.model}'; if their tokenizers differ, its tokens will be "
                "decoded to the wrong text"
            )
