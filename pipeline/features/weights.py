"""Tables made from an SAE's weights: empty for an SAE whose firings come from a cache, without weights."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import wraps

from pipeline.lake import Lake, Published
from pipeline.tables import TABLES

_log = logging.getLogger(__name__)


def of_weights(write: Callable[[Lake, str], Published]) -> Callable[[Lake, str], Published]:
    """Make `write_<table>` write no row for an SAE without weights, and log that."""
    table = write.__name__.removeprefix("write_")

    @wraps(write)
    def write_if_there(lake: Lake, sae: str) -> Published:
        if lake.config.sae(sae).source is not None:
            return write(lake, sae)
        _log.warning("%s of '%s' is empty: the SAE's weights are not available (saes.source)", table, sae)
        published = lake.write(table, TABLES[table].schema.empty_table(), sae=sae)
        return replace(published, figures={"empty": "the SAE's weights are not available"})

    return write_if_there
