"""SQL files run on a connection: each after those that it reads, with its parameters' values from the config."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import duckdb

from pipeline.config import Config
from pipeline.tables.macros import ready_text
from pipeline.tables.sql import config_value, parameters_of, steps_of


def bind(
    connection: duckdb.DuckDBPyConnection, config: Config, name: str | Path, values: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The text of `<name>.sql`, with its macros created, and the values of its parameters.

    A parameter `$name` has its value from `values`, in which a `batch` also gives its range of features, or is
    named `$<section>_<key>` after the config. Values that the text does not name are left out.
    """
    if (batch := values.get("batch")) is not None:
        features = config.selection.features_of(batch)
        values = {"first_feature": features.start, "end_feature": features.stop, **values}
    text = ready_text(connection, name)
    return text, {
        each: values[each] if each in values else config_value(config, each) for each in parameters_of(text)
    }


def create(
    connection: duckdb.DuckDBPyConnection,
    config: Config,
    name: str | Path,
    values: Mapping[str, Any],
    kind: Literal["table", "temp table"] = "table",
) -> None:
    """Create or replace the table `name` from `<name>.sql`; DuckDB refuses to replace a view by a `table`."""
    text, parameters = bind(connection, config, name, values)
    connection.execute(f"create or replace {kind} {name} as {text}", parameters)


def create_steps(
    connection: duckdb.DuckDBPyConnection,
    config: Config,
    name: str | Path,
    given: Collection[str],
    values: Mapping[str, Any],
    kind: Literal["table", "temp table"] = "table",
) -> None:
    """Make tables of the SQL files that `<name>.sql` reads, in order, but for relations that are `given`."""
    for step in steps_of(name, given=given)[:-1]:
        create(connection, config, step, values, kind)
