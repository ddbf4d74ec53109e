"""The keys under which Dagster knows an experiment's tables."""

import dagster as dg

from pipeline.config import Config


def asset_key(config: Config, table: str) -> dg.AssetKey:
    """The key of a table's asset; it begins with the experiment's name, so that experiments share no history."""
    return dg.AssetKey([config.name, table])
