"""Which features a config wants: a list of them, a condition, or every feature; each tried before a run begins."""

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config, SelectionConfig
from pipeline.errors import ConfigError, nearest
from pipeline.tables import TABLES

_LEAST_SLOTS = 2
_SHOWN_ROWS = 10
_SCHEMA = pa.schema([("sae", pa.string()), ("feature", pa.int32()), ("priority", pa.int32())])
_HOW = "write a CSV, JSON or Parquet file with the columns feature, and sae or hookpoint (priority if you like)"

_log = logging.getLogger(__name__)


class FeatureList(NamedTuple):
    """A list's features, one row per SAE and feature (sae, feature, priority), and its rows that name none.

    `odd_rows` has each such row's place and what stands there: `line 4 (-1)`.
    """

    features: pa.Table
    odd_rows: list[str]


class _Row(NamedTuple):
    place: str
    values: dict[str, Any]


def check_selection(config: Config) -> None:
    """Try the config's list and condition on a row of nulls; a list's rows that name no feature are logged.

    Raises ConfigError if the condition does not work, or no row of the list names a feature.
    """
    listed = read_feature_list(config)
    if listed and listed.odd_rows:
        _log.warning("selection.features: %s; the others are taken", _odd_sentence(config, listed.odd_rows))
    with duckdb.connect() as connection:
        for name in ("feature_stats", "feature_routes"):
            connection.from_arrow(pa.Table.from_pylist([{}], TABLES[name].schema)).create_view(name)
        create_wanted_features(connection, config.selection, listed)


def create_wanted_features(
    connection: duckdb.DuckDBPyConnection, selection: SelectionConfig, listed: FeatureList | None
) -> None:
    """Fill the table `wanted_features` (sae, feature, priority) from feature_stats and feature_routes.

    Raises ConfigError if the config's condition does not work.
    """
    every = connection.view("feature_stats").join(connection.view("feature_routes"), "sae, feature")
    # What hardly fires cannot be explained, nor an explanation of it judged; its batch would never be done.
    every = every.filter(f"least(n_slots_train, n_slots_test) >= {_LEAST_SLOTS:d}")
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
    rows = list(_read_rows(path))
    columns = list(dict.fromkeys(name for row in rows[:1000] for name in row.values))
    by = next((name for name in ("sae", "hookpoint") if name in columns), None)
    if by is None or "feature" not in columns:
        raise ConfigError(f"selection.features: '{path}' has the columns {', '.join(columns) or 'none'}; {_HOW}")
    priorities: dict[tuple[str, int], int] = {}
    odd_rows = []
    for place, values in rows:
        # A feature of several SAEs, where the row names a hookpoint that they share.
        saes = [sae for sae in config.saes if (sae.name if by == "sae" else sae.hookpoint) == values.get(by)]
        feature, priority = (_whole(values.get(name)) for name in ("feature", "priority"))
        known = [sae.name for sae in saes if feature is not None and 0 <= feature < sae.n_features]
        if not values.get("priority"):
            priority = config.selection.priority
        if not known or feature is None:
            odd_rows.append(f"{place} ({values.get('feature' if saes else by)})")
        elif priority is None:
            odd_rows.append(f"{place} (priority {values['priority']})")
        else:
            for sae in known:
                priorities[sae, feature] = max(priority, priorities.get((sae, feature), priority))
    if not priorities:
        raise ConfigError(_no_feature(config, rows, odd_rows, by))
    columns_of = zip(*((*key, priority) for key, priority in sorted(priorities.items())), strict=True)
    return FeatureList(pa.table([list(column) for column in columns_of], schema=_SCHEMA), odd_rows)


def _no_feature(config: Config, rows: list[_Row], odd_rows: list[str], by: str) -> str:
    """The sentence for a list without a feature of the experiment."""
    if not rows:
        return f"selection.features: '{config.selection.features}' has no rows; {_HOW}"
    known = [sae.name if by == "sae" else sae.hookpoint for sae in config.saes]
    named = next((str(row.values.get(by)) for row in rows if row.values.get(by) not in known), None)
    close = f"; nearest {by}: {nearest(named, known)}" if named else ""
    return f"selection.features: {_odd_sentence(config, odd_rows)}, and none is left{close}"


def _odd_sentence(config: Config, odd_rows: list[str]) -> str:
    more = f" and {len(odd_rows) - _SHOWN_ROWS:,} more" if len(odd_rows) > _SHOWN_ROWS else ""
    counted = "1 row names" if len(odd_rows) == 1 else f"{len(odd_rows):,} rows name"
    return f"{counted} no feature: {', '.join(odd_rows[:_SHOWN_ROWS])}{more} of '{config.selection.features}'"


def _whole(value: Any) -> int | None:
    """A whole number, as a number or spelled; None for anything else."""
    try:
        number = int(value)
        return number if isinstance(value, str) or number == value else None
    except (TypeError, ValueError, OverflowError):
        return None


def _read_rows(path: Path) -> Iterator[_Row]:
    """The rows of a list file, each with its place in it. Raises ConfigError if it cannot be read."""
    try:
        match path.suffix.lower():
            case ".csv":
                yield from _csv_rows(path)
            case ".parquet":
                rows = pq.read_table(path).to_pylist()
                yield from (_Row(f"row {number}", row) for number, row in enumerate(rows, start=1))
            case ".json" | ".jsonl" | ".ndjson":
                yield from _json_rows(path)
            case _:
                raise ConfigError(f"selection.features: '{path}' is no .csv, .json, .jsonl or .parquet; {_HOW}")
    except FileNotFoundError:
        raise ConfigError(f"selection.features: no file '{path}'") from None
    except (OSError, ValueError, csv.Error, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"selection.features: '{path}' cannot be read: {reason}") from None


def _csv_rows(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        reader = csv.DictReader(file, delimiter=max(",;\t", key=header.count), skipinitialspace=True)
        for row in reader:
            yield _Row(f"line {reader.line_num}", {name: value for name, value in row.items() if name is not None})


def _json_rows(path: Path) -> Iterator[_Row]:
    """A list of objects, or an object a line."""
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        places = ((f"row {number}", each) for number, each in enumerate(json.loads(text), start=1))
    else:
        lines = enumerate(text.splitlines(), start=1)
        places = ((f"line {number}", json.loads(line)) for number, line in lines if line.strip())
    for place, values in places:
        if not isinstance(values, dict):
            raise ConfigError(f"selection.features: {place} of '{path}' is no object; {_HOW}")
        yield _Row(place, values)
