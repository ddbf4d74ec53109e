"""Checks of everything that can be wrong with an experiment, before anything is written or computed.

Commands that make tables open the lake with `preflight`, which records what the tables are made from and points
the catalog's views at the versions of this config. Commands that only look, such as `make estimate`, use `look`,
which changes nothing that other readers see.
"""

from pipeline.asking.roles import check_endpoints
from pipeline.asking.spending import check_prices
from pipeline.config import Config, SaeConfig
from pipeline.errors import LakeError
from pipeline.features.wanted import check_selection
from pipeline.lake import Lake, is_writable
from pipeline.lake.objects import open_objects
from pipeline.lake.trial import columns_of
from pipeline.models.load import load_tokenizer, pick_device
from pipeline.models.tokenising import bos_prefix
from pipeline.plugins import find_plugin
from pipeline.preflight.corpus import check_cache, check_corpus, check_positions
from pipeline.preflight.saes import check_saes
from pipeline.sources import fix_sources, look_at_sources, passed_checks, sources_to_read
from pipeline.sources.contents import digest_of
from pipeline.tables.stages import own_queries, own_windows


def preflight(config: Config, *, takes_new: bool = False) -> Lake:
    """Check an experiment and open its lake: record its sources, remove remains of a kill, update the catalog.

    With `takes_new`, documents added after the recorded ones become a generation of the corpus. Raises as `check`,
    and LatentlakeError if a recorded source has changed.
    """
    check(config)
    if (objects := open_objects(config)) is not None:
        objects.journals.seal_left_over()
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
        check_cache(config, config.corpus.cache)
    check_corpus(config, sources_to_read(config))
    pick_device(config.device)
    check_positions(config)
    passed = passed_checks(config)
    saes = [sae for sae in config.saes if sae.source is not None and passed.get(sae.name) != _facts(config, sae)]
    check_saes(config, saes)
    load_tokenizer(config.subject)
    bos_prefix(config)


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


def _facts(config: Config, sae: SaeConfig) -> str:
    """A hash of what an SAE is checked against: its section of the config, and that of the subject model."""
    return digest_of([sae.model_dump_json(), config.subject.model_dump_json()])
