"""The features that a config wants: a list, a condition, or every feature; checked before a run begins."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import duckdb
import pyarrow as pa

from pipeline.config import Config, SelectionConfig
from pipeline.config.features import MOST_PRIORITY
from pipeline.errors import ConfigError, nearest, some_of
from pipeline.features.lists import HOW, Entry, check_columns, read_entries, sae_finder, whole
from pipeline.plugins import find_plugin
from pipeline.tables import TABLES
from pipeline.tables.sql import sql_text

LEAST_SLOTS = 2
"""Slots in train and in test documents, each, below which a feature cannot be explained or judged."""

_SHOWN_ROWS = 10
WANTED_SCHEMA = pa.schema([("sae", pa.string()), ("feature", pa.int32()), ("priority", pa.int32())])
_KEY = "selection.features"
_ODD_ROWS_FILE = "rows_without_feature.txt"

_log = logging.getLogger(__name__)


class FeatureList(NamedTuple):
    """A list's features, one row per SAE and feature (sae, feature, priority), and its rows that name none.

    `odd_rows` has the location and content of each such row: `line 4 (-1)`.
    """

    features: pa.Table
    odd_rows: list[str]


def check_selection(config: Config) -> None:
    """Try the config's list and condition on a row of nulls.

    A list's rows that name no feature are logged, and the keys by which a run takes some of its features alone.

    Raises ConfigError if the condition fails or is not deterministic, or no row of the list names a feature.
    """
    listed = read_feature_list(config)
    if listed:
        _warn_of_what_is_left_out(config, listed)
    with duckdb.connect() as connection:
        for name in ("feature_stats", "feature_routes"):
            connection.from_arrow(pa.Table.from_pylist([{}], TABLES[name].schema)).create_view(name)
        create_wanted_features(connection, config.selection, listed)
        where = config.selection.where
        statement = {"statement": f"select 1 where {where}"}
        for (function,) in connection.execute(sql_text("volatile_functions"), statement).fetchall():
            raise ConfigError(
                f"selection.where '{where}': {function}() returns a different value on every run; sample with a "
                "hash instead, as in hash(feature) % 10 = 0"
            )


def _warn_of_what_is_left_out(config: Config, listed: FeatureList) -> None:
    """Warn of rows that name no feature, of quotas, and of `max_features` below the listed features of a batch."""
    named = f"{_KEY}: '{config.selection.features}' names {len(listed.features):,} features"
    if listed.odd_rows:
        _log.warning(f"{_KEY}: {_odd_sentence(config, listed.odd_rows)}; the others are taken")
    if quotas := config.selection.quotas_in_words:
        _log.warning(
            f"{named}, of which selection.quotas ({quotas}) selects some; to take all, set selection.quotas to "
            "null"
        )
    features = zip(*(listed.features[name].to_pylist() for name in ("sae", "feature")), strict=True)
    sizes = Counter((sae, feature // config.selection.batch_size) for sae, feature in features)
    asking: dict[str, tuple[int | None, Literal["explainers", "scorers"], tuple[str, ...]]] = {
        "explaining": (config.explaining.max_features, "explainers", config.explaining.explainers),
        "scoring": (config.scoring.max_features, "scorers", config.scoring.kinds),
    }
    for section, (most, kind, names) in asking.items():
        asks = [name for name in names if find_plugin(kind, name).asks_model]
        if most is not None and asks and most < max(sizes.values()):
            n_asked = sum(min(most, size) for size in sizes.values())
            _log.warning(
                f"{named}, but with {section}.max_features: {most:,} a model is asked about {n_asked:,} of them "
                f"at most, {most:,} in each batch of {config.selection.batch_size:,} (by {', '.join(asks)}); to "
                "ask about all, set it to null"
            )


def create_wanted_features(
    connection: duckdb.DuckDBPyConnection, selection: SelectionConfig, listed: FeatureList | None
) -> None:
    """Fill the table `wanted_features` (sae, feature, priority) from feature_stats and feature_routes.

    Raises ConfigError if the config's condition does not work.
    """
    every = connection.view("feature_stats").join(connection.view("feature_routes"), "sae, feature")
    # Features that hardly fire cannot be explained or judged; their batch would never be done.
    every = every.filter(f"least(n_slots_train, n_slots_test) >= {LEAST_SLOTS}")
    try:
        if selection.where:
            every = every.filter(selection.where)
        if listed:
            every = every.project("sae, feature").join(connection.from_arrow(listed.features), "sae, feature")
        else:
            every = every.project(f"sae, feature, {selection.priority:d} as priority")
        # Into a table: a condition that fails must fail here, where it can be explained.
        every.project("sae, feature, priority::int as priority").to_table("wanted_features")
    except duckdb.Error as error:
        raise ConfigError(
            f"selection.where '{selection.where}' does not work: {' '.join(str(error).split('LINE')[0].split())}"
        ) from None


def read_feature_list(config: Config) -> FeatureList | None:
    """The list that `selection.features` names; None if it names none.

    Raises ConfigError if the file cannot be read, or no row of it names a feature of the experiment.
    """
    if not config.selection.features:
        return None
    path = Path(config.selection.features).expanduser()
    entries = list(read_entries(path, _KEY))
    check_columns(path, _KEY, entries, HOW)
    find_saes = sae_finder(config.subject, config.saes)
    priorities: dict[tuple[str, int], int] = {}
    odd_rows = []
    for entry in entries:
        saes = find_saes(entry)
        feature = whole(entry.feature)
        known = [sae.name for sae in saes if feature is not None and 0 <= feature < sae.n_features]
        priority = config.selection.priority if entry.priority in (None, "") else whole(entry.priority)
        if entry.fault or not known or feature is None:
            found = entry.fault or (entry.feature if saes else " or ".join(entry.names) or "no SAE")
            odd_rows.append(f"{entry.location} ({'nothing' if found in (None, '') else found})")
        elif priority is None or abs(priority) > MOST_PRIORITY:
            odd_rows.append(f"{entry.location} (priority {entry.priority})")
        else:
            for sae in known:
                priorities[sae, feature] = max(priority, priorities.get((sae, feature), priority))
    if not priorities:
        raise ConfigError(_no_feature(config, entries, odd_rows))
    columns_of = zip(*((*key, priority) for key, priority in sorted(priorities.items())), strict=True)
    return FeatureList(pa.table([list(column) for column in columns_of], schema=WANTED_SCHEMA), odd_rows)


def _no_feature(config: Config, entries: Sequence[Entry], odd_rows: list[str]) -> str:
    """The sentence for a list without a feature of the experiment."""
    by = entries[0].by
    known = [getattr(sae, "name" if by == "sae" else "hookpoint") for sae in config.saes]
    find_saes = sae_finder(config.subject, config.saes)
    named = next((entry.names[0] for entry in entries if entry.names and not find_saes(entry)), None)
    close = f"; nearest {by}: {nearest(named, known)}, unless saes.aliases names it" if named else ""
    return f"{_KEY}: {_odd_sentence(config, odd_rows)}, and none is left{close}"


def _odd_sentence(config: Config, odd_rows: list[str]) -> str:
    counted = "1 row names" if len(odd_rows) == 1 else f"{len(odd_rows):,} rows name"
    sentence = f"{counted} no feature: {some_of(odd_rows, _SHOWN_ROWS)} of '{config.selection.features}'"
    if len(odd_rows) <= _SHOWN_ROWS:
        return sentence
    try:
        return f"{sentence}, all listed in '{_write_odd_rows(config, odd_rows)}'"
    except OSError:  # who only reads the lake, say for an estimate, need not be able to write into it
        return sentence


def _write_odd_rows(config: Config, odd_rows: list[str]) -> Path:
    """Write the rows that name no feature into the experiment's folder, one per line; the file."""
    path = config.lake_folder / _ODD_ROWS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{' '.join(row.split())}\n" for row in odd_rows), encoding="utf-8")
    return path
