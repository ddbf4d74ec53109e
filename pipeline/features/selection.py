"""Which features are wanted: a quota of each route in every batch, a list, or a condition in SQL."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.lake import Lake, Published
from pipeline.make_table import make_table, read_rows

_LEAST_SLOTS = 2

_READERS = {".csv": "read_csv", ".parquet": "read_parquet", ".json": "read_json"}


def write_selected_features(lake: Lake, sae: str) -> Published:
    """Name the wanted features of an SAE, as `selection` in the config says.

    Raises:
        ConfigError: The feature list or the condition in the config does not work.
        LakeError: An input is not complete.
    """
    given = {"wanted_features": _wanted_features(lake, sae)}
    return make_table(lake, "selected_features", sae=sae, given=given, **_quotas(lake))


def select_features(lake: Lake, sae: str) -> pa.Table:
    """The rows of `selected_features`. Raises ConfigError if the list or the condition does not work."""
    given = {"wanted_features": _wanted_features(lake, sae)}
    return read_rows(lake, "selected_features", sae=sae, given=given, **_quotas(lake))


def _quotas(lake: Lake) -> dict[str, Any]:
    """The config's quotas as parameters of `selected_features.sql`."""
    quotas = lake.config.selection.quotas
    return {
        "quota_routes": None if quotas is None else list(quotas),
        "quota_sizes": None if quotas is None else list(quotas.values()),
    }


def _wanted_features(lake: Lake, sae: str) -> pa.Table:
    """The features (sae, feature, priority) of the config's list, condition, or every feature."""
    selection = lake.config.selection
    with lake.connect(sae) as connection:
        every = connection.view("feature_stats").join(connection.view("feature_routes"), "sae, feature")
        # What hardly fires cannot be explained, nor an explanation of it judged; its batch would never be done.
        every = every.filter(f"least(n_slots_train, n_slots_test) >= {_LEAST_SLOTS:d}")
        try:
            if selection.where:
                every = every.filter(selection.where)
            if selection.features:
                listed = _listed_features(lake, connection, Path(selection.features), sae)
                every = every.project("sae, feature").join(listed, "feature")
            else:
                every = every.project(f"sae, feature, {selection.priority:d} as priority")
            return every.project("sae, feature, priority::int as priority").to_arrow_table()
        except duckdb.Error as error:
            raise ConfigError(f"selection in the config does not work: {str(error).splitlines()[0]}") from None


def _listed_features(
    lake: Lake, connection: duckdb.DuckDBPyConnection, path: Path, sae: str
) -> duckdb.DuckDBPyRelation:
    """The features of a list file that are of this SAE, by `sae` or by `hookpoint`: (feature, priority)."""
    if path.suffix not in _READERS:
        raise ConfigError(f"selection.features: '{path}' is no .csv, .parquet or .json file")
    if not path.is_file():
        raise ConfigError(f"selection.features: no file '{path}'")
    listed: duckdb.DuckDBPyRelation = getattr(connection, _READERS[path.suffix])(str(path))
    names = {"sae": sae, "hookpoint": lake.config.sae(sae).hookpoint}
    by = [column for column in names if column in listed.columns]
    if not by or "feature" not in listed.columns:
        raise ConfigError(
            f"selection.features: '{path}' has columns {', '.join(listed.columns)}; it needs feature, and sae or "
            "hookpoint"
        )
    priority = "priority" if "priority" in listed.columns else f"{lake.config.selection.priority:d} as priority"
    own = listed.filter(duckdb.ColumnExpression(by[0]) == duckdb.ConstantExpression(names[by[0]]))
    return own.project(f"feature::int as feature, {priority}").aggregate("feature, max(priority) as priority")
