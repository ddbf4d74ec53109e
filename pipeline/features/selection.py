"""Selecting features: a quota per route in every batch, a list, or a SQL condition."""

from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.features.wanted import LEAST_SLOTS, FeatureList, create_wanted_features, read_feature_list
from pipeline.lake import Lake, Published
from pipeline.make_table import make_table, read_rows


def write_selected_features(lake: Lake, sae: str) -> Published:
    """Name the wanted features of an SAE, as `selection` in the config says.

    Figures, of a list: its rows that name no feature, and its features that are left out because they hardly fire
    or by the config's quotas.

    Raises:
        ConfigError: The feature list or the condition in the config does not work.
        LakeError: An input is not complete.
    """
    wanted = _wanted_features(lake, sae)
    published = make_table(lake, "selected_features", sae=sae, given=wanted, **_quotas(lake))
    listed = read_feature_list(lake.config)
    if listed is None:
        return published
    reasons = left_out_features(lake, sae, listed, select_features(lake, sae))["reason"]
    left_out = {
        "list_rows_without_feature": len(listed.odd_rows),
        "list_features_that_hardly_fire": reasons.to_list().count("hardly_fires"),
        "list_features_beyond_quotas": reasons.to_list().count("quota"),
    }
    return replace(published, figures={**published.figures, **left_out})


def select_features(lake: Lake, sae: str) -> pa.Table:
    """The rows of `selected_features`. Raises ConfigError if the list or the condition does not work."""
    return read_rows(lake, "selected_features", sae=sae, given=_wanted_features(lake, sae), **_quotas(lake))


def left_out_features(lake: Lake, sae: str, listed: FeatureList, selected: pa.Table) -> pl.DataFrame:
    """A list's features of an SAE that are not `selected`, with the reasons; see `left_out_features.sql`."""
    given = {**_wanted_features(lake, sae), "listed_features": listed.features, "selected_features": selected}
    return lake.query("left_out_features", sae=sae, given=given, least_slots=LEAST_SLOTS)


def _quotas(lake: Lake) -> dict[str, Any]:
    """The config's quotas as parameters of `selected_features.sql`."""
    quotas = lake.config.selection.quotas
    return {
        "quota_routes": None if quotas is None else list(quotas),
        "quota_sizes": None if quotas is None else list(quotas.values()),
    }


def _wanted_features(lake: Lake, sae: str) -> dict[str, pa.Table]:
    """The features that the config wants, of its list, its condition, or every one."""
    with lake.connect(sae) as connection:
        create_wanted_features(connection, lake.config.selection, read_feature_list(lake.config))
        return {"wanted_features": connection.table("wanted_features").to_arrow_table()}
