"""Checks of everything that can be wrong with an experiment, before anything is written or computed.

Commands that make tables open the lake with `preflight`, which records what the tables are made from and points
the catalog's views at the versions of this config. Commands that only look, such as `make estimate`, use `look`,
which changes nothing that other readers see.
"""

import logging
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pipeline.asking.roles import check_endpoints
from pipeline.asking.spending import check_prices
from pipeline.config import Config, DelphiRows, FileTexts, PythonTexts, SaeConfig, TextSource
from pipeline.errors import CorpusError, LakeError, SaeError, SubjectError
from pipeline.features.wanted import check_selection
from pipeline.lake import Lake, is_writable
from pipeline.lake.objects import open_objects
from pipeline.lake.trial import columns_of
from pipeline.models.load import load_tokenizer, pick_device, read_positions
from pipeline.models.tokenising import bos_prefix, tokenise
from pipeline.plugins import find_plugin
from pipeline.sae import load_sae
from pipeline.sae.coder import Side
from pipeline.sources import fix_sources, look_at_sources, passed_checks, sources_to_read
from pipeline.sources.contents import digest_of
from pipeline.subject.forward import Hookpoint
from pipeline.subject.hookpoints import (
    find_hookpoint,
    hookpoint_widths,
    is_same_tensor,
    resolve_hookpoint,
    written_hookpoint,
)
from pipeline.tables.stages import own_queries, own_windows
from pipeline.texts.delphi import cache_settings, splits_of
from pipeline.texts.files import source_files
from pipeline.texts.readers import read_texts, source_name

_log = logging.getLogger(__name__)

_LIKE_A_PATH = re.compile(r"[A-Za-z_]+[._]\d+")
"""What a folder's name contains if it names a layer."""


def preflight(config: Config, *, takes_new: bool = False) -> Lake:
    """Check an experiment and open its lake: record its sources, remove remains of a kill, update the catalog.

    With `takes_new`, documents added after the recorded ones become a generation of the corpus. Raises as `check`,
    and LatentlakeError if a recorded source has changed.
    """
    check(config)
    if (objects := open_objects(config)) is not None:
        objects.seal_left_over()
    passed = {sae.name: _facts(config, sae) for sae in config.saes if sae.source is not None}
    lake = Lake(config, fix_sources(config, takes_new=takes_new, passed=passed))
    lake.remove_left_over()
    lake.refresh_catalog()
    return lake


def look(config: Config) -> Lake:
    """Check an experiment and return its lake as it is: nothing is recorded, and the catalog does not change.

    Raises as `preflight`.
    """
    check(config)
    return Lake(config, look_at_sources(config))


def check(config: Config) -> None:
    """Check an experiment; nothing is written.

    What passed before is not loaded again: an SAE while its record and config are unchanged, and a source of the
    corpus once its documents are in the lake. What is odd but may be intended is logged as a warning: rows of a
    feature list that name no feature, contexts longer than those of a rotary model's training, and a hookpoint in
    an SAE's files that the subject model does not have or, with `fit: accept`, that is another one.

    Raises:
        LatentlakeError: One sentence for the first thing that is wrong: the lake's folder, the prices, an
            endpoint, a plug-in, the selection, the corpus, the device, the subject model, a hookpoint, or an SAE
            that is damaged or does not fit.
    """
    if not is_writable(config.lake_folder):
        raise LakeError(
            f"lake folder '{config.lake_folder}' cannot be written; set machine.lake or LATENTLAKE_LAKE"
        )
    if odd := [sign for sign in "?\\," if sign in str(config.lake_folder)]:
        raise LakeError(
            f"lake folder '{config.lake_folder}' contains a '{odd[0]}', which DuckDB cannot open; set "
            "machine.lake or LATENTLAKE_LAKE"
        )
    check_prices(config)
    check_endpoints(config)
    _check_plugins(config)
    check_selection(config)
    if config.corpus.cache is not None:
        _check_cache(config, config.corpus.cache)
    _check_corpus(config, sources_to_read(config))
    pick_device(config.device)
    _check_positions(config)
    passed = passed_checks(config)
    saes = [sae for sae in config.saes if sae.source is not None and passed.get(sae.name) != _facts(config, sae)]
    _check_saes(config, saes)
    load_tokenizer(config.subject)
    bos_prefix(config)


def _check_corpus(config: Config, to_read: Sequence[TextSource]) -> None:
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


def _check_positions(config: Config) -> None:
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
        "corpus.context_length is %d, but '%s' was made for at most %d tokens; its activations beyond may mean "
        "nothing",
        length,
        config.subject.model,
        positions.n,
    )


def _check_cache(config: Config, cache: DelphiRows) -> None:
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
                "delphi's cache '%s' was made with the model '%s', and subject.model is '%s'; if their tokenizers "
                "differ, its tokens will be decoded to the wrong text",
                cache.folder / sae.hookpoint,
                model,
                config.subject.model,
            )


def _check_plugins(config: Config) -> None:
    """Check that every explainer and scorer of the config can be imported and used here, with its files."""
    for explainer in config.explaining.explainers:
        plugin = find_plugin("explainers", explainer)
        plugin.check(config)
        for path in own_queries(plugin):
            columns_of(config, path, "explanations")
    for scorer in config.scoring.scorers:
        plugin, asked = find_plugin("scorers", scorer), config.asked_by(scorer)
        plugin.check(asked)
        for path in own_queries(plugin):
            columns_of(asked, path, "predictions")
        if (windows := own_windows(plugin)) is not None:
            columns_of(asked, windows, "examples")


class _Seen(NamedTuple):
    """What is kept of an SAE after its weights were loaded; the weights of several may not fit into memory."""

    n_features: int
    d_in: int
    d_out: int
    transcodes: bool
    reads: Side
    own_hookpoint: str | None
    target: str | None


def _facts(config: Config, sae: SaeConfig) -> str:
    """A hash of what an SAE is checked against: its section of the config, and that of the subject model."""
    return digest_of([sae.model_dump_json(), config.subject.model_dump_json()])


def _check_saes(config: Config, saes: Sequence[SaeConfig]) -> None:
    """Check that SAEs load, one at a time, have as many features as the config says, and fit their hookpoints."""
    found = {sae.name: _load(sae) for sae in saes}
    read, written = {}, {}
    for sae in saes:
        seen = found[sae.name]
        read[sae.name] = resolve_hookpoint(config.subject, sae.hookpoint, seen.reads)
        written[sae.name] = written_hookpoint(
            config.subject, sae.hookpoint, seen.reads, transcodes=seen.transcodes, target=seen.target
        )
    widths = hookpoint_widths(config.subject, {*read.values(), *written.values()}) if saes else {}
    for sae in saes:
        seen, width, d_out = found[sae.name], widths[read[sae.name]], widths[written[sae.name]]
        if seen.n_features != sae.n_features:
            raise SaeError(
                f"SAE '{sae.name}' has {seen.n_features} features, but the config says "
                f"n_features: {sae.n_features}"
            )
        if seen.d_in != width:
            raise SaeError(
                f"SAE '{sae.name}' expects activations of width {seen.d_in}, but hookpoint '{sae.hookpoint}' of "
                f"'{config.subject.model}' has width {width}"
            )
        if seen.d_out != d_out:
            target = written[sae.name]
            raise SaeError(
                f"SAE '{sae.name}' is a transcoder whose output has width {seen.d_out}, but at hookpoint "
                f"'{sae.hookpoint}' of '{config.subject.model}' it is to reconstruct the {target.reads} of "
                f"'{target.module}', which has width {d_out}; correct saes.hookpoint"
            )
        _check_hookpoint(config, sae, seen, read[sae.name])


def _load(sae: SaeConfig) -> _Seen:
    coder = load_sae(sae)
    d_out = coder.decoder.shape[1]
    return _Seen(coder.n_features, coder.d_in, d_out, coder.transcodes, coder.reads, coder.hookpoint, coder.target)


def _check_hookpoint(config: Config, sae: SaeConfig, seen: _Seen, hookpoint: Hookpoint) -> None:
    """Compare the hookpoint in an SAE's files with the config's: at a wrong one its firings mean nothing."""
    own, target = seen.own_hookpoint, seen.target
    if target is not None and find_hookpoint(config.subject, target) is None:
        _log.warning(
            "SAE '%s' at '%s' names '%s' as the hookpoint that it reconstructs, which '%s' does not have; using "
            "the usual one for a transcoder that reads '%s'",
            sae.name,
            sae.source,
            target,
            config.subject.model,
            sae.hookpoint,
        )
    if own is None:
        return
    named = find_hookpoint(config.subject, own, seen.reads)
    if named is None and _LIKE_A_PATH.search(own):
        _log.warning(
            "SAE '%s' at '%s' names hookpoint '%s', which '%s' does not have; using '%s' from the config",
            sae.name,
            sae.source,
            own,
            config.subject.model,
            sae.hookpoint,
        )
    if named is not None and not is_same_tensor(config.subject, named, hookpoint):
        differs = (
            f"SAE '{sae.name}' at '{sae.source}' names hookpoint '{own}', but the config says '{sae.hookpoint}'"
        )
        if sae.fit == "check":
            raise SaeError(
                f"{differs}; correct saes.hookpoint, or set saes.fit: accept (or rename the SAE's folder) if the "
                "config is right"
            )
        _log.warning("%s; using the config's, because saes.fit is accept", differs)
